package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Server is a running alcove binary with a data folder of its own.
type Server struct {
	Binary, Dir string
	Addr        string        // host:port it listens on
	Ready       time.Duration // from start to the first 200 of /readyz
	cmd         *exec.Cmd
	done        chan error
	log         *tail
}

// startTimeout bounds the start of a server.
const startTimeout = 60 * time.Second

// StartServer starts the binary on a free port of the loopback and waits until
// it is ready. extra are more arguments of serve.
func StartServer(ctx context.Context, binary, dir string, extra ...string) (*Server, error) {
	s := &Server{Binary: binary, Dir: dir, done: make(chan error, 1), log: &tail{}}
	s.cmd = exec.Command(binary, append([]string{"serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--log-level", "INFO", "--log-format", "json"}, extra...)...)
	out, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	addr := make(chan string, 1)
	go func() {
		sc := bufio.NewScanner(out)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			s.log.add(sc.Text())
			var line struct{ Msg, Address string }
			if json.Unmarshal(sc.Bytes(), &line) == nil && line.Msg == "serving" {
				addr <- line.Address
			}
		}
		io.Copy(io.Discard, out) //nolint:errcheck // nothing is left to read
		s.done <- s.cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case s.Addr = <-addr:
	case err := <-s.done:
		s.done <- err
		return nil, fmt.Errorf("the server ended before it listened: %v: %s", err, s.log)
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), s.Kill())
	}
	for {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.Addr+"/readyz", nil)
		if err != nil {
			return nil, err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				s.Ready = time.Since(start)
				return s, nil
			}
		}
		select {
		case err := <-s.done:
			s.done <- err
			return nil, fmt.Errorf("the server ended before it was ready: %v: %s", err, s.log)
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), s.Kill())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// PID is the process id of the server.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends the server with SIGKILL and waits for it.
func (s *Server) Kill() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	<-s.done
	return nil
}

// Stop asks the server to end and waits for a clean exit.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("the server had ended by itself: %v: %s", <-s.done, s.log)
		}
		return err
	}
	if err := <-s.done; err != nil {
		return fmt.Errorf("%w: %s", err, s.log)
	}
	return nil
}

// Token asks the binary for an administrator's token.
func (s *Server) Token(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, s.Binary, "token", "--data-dir", s.Dir).Output()
	return strings.TrimSpace(string(out)), err
}

// NewKB makes a tenant with one knowledge base and returns it as a target.
func (s *Server) NewKB(ctx context.Context, token, name string) (Target, error) {
	api := Target{Base: "http://" + s.Addr + "/api/v1", Auth: "Bearer " + token, PID: s.PID()}
	var t struct {
		Data struct {
			TenantID string `json:"tenant_id"`
		} `json:"data"`
	}
	if err := api.call(ctx, http.DefaultClient, "POST", "/tenants", map[string]any{"tenant_name": name}, &t); err != nil {
		return api, err
	}
	// What is measured is the server and not its quotas: 100,000 chunks have more names.
	if err := api.call(ctx, http.DefaultClient, "PUT", "/tenants/"+t.Data.TenantID, map[string]any{
		"quota": map[string]any{"max_documents": 0, "max_entities_per_kb": 0, "max_relationships_per_kb": 0},
	}, nil); err != nil {
		return api, err
	}
	var k struct {
		Data struct {
			KBID string `json:"kb_id"`
		} `json:"data"`
	}
	if err := api.call(ctx, http.DefaultClient, "POST", "/tenants/"+t.Data.TenantID+"/knowledge-bases", map[string]any{"kb_name": name}, &k); err != nil {
		return api, err
	}
	api.Base += "/tenants/" + t.Data.TenantID + "/knowledge-bases/" + k.Data.KBID
	return api, nil
}

// tail keeps the last lines of a log.
type tail struct{ lines []string }

func (t *tail) add(s string) {
	t.lines = append(t.lines, s)
	if len(t.lines) > 20 {
		t.lines = t.lines[1:]
	}
}

// String is read only after the process has ended.
func (t *tail) String() string { return strings.Join(t.lines, "\n") }
