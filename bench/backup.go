package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// BackupOptions of Backup.
type BackupOptions struct {
	Binary, Dir string
	Documents   int // of the knowledge base that is compared
	Rounds      int // backups, each restored; the first of everything, the others since
	Flips       int // flipped bits in each kind of file
	Seed        uint64
	Progress    io.Writer
}

// BackupResult is what Backup saw.
type BackupResult struct {
	Rounds       int          `json:"rounds"`
	Questions    int          `json:"questions"` // asked of each restored store and of the live one
	Acknowledged int          `json:"acknowledged"`
	FirstBytes   int64        `json:"first_bytes"`
	LaterBytes   int64        `json:"later_bytes"` // of all others together
	BackupMS     float64      `json:"backup_ms"`   // mean
	RestoreMS    float64      `json:"restore_ms"`  // mean, verification included
	Flips        []FlipResult `json:"flips"`
}

// FlipResult is what became of stores with one bit flipped in a kind of file.
type FlipResult struct {
	File     string `json:"file"`
	Rounds   int    `json:"rounds"`
	Reported int    `json:"reported"`
	NoEffect int    `json:"no_effect"` // not reported, and every record is as it was
	Wrong    int    `json:"wrong"`     // not reported, and something is not
}

// storeFiles are the kinds of file in a data folder that hold what a store is.
var storeFiles = []string{"*.sst", "*.mem", "*.vlog", "MANIFEST", "MANIFEST.clean", "KEYREGISTRY", "DISCARD", "alcove.state"}

// Backup backs a server up while documents come in, restores each backup elsewhere and
// compares: the records of a knowledge base at rest bit by bit, the answers to questions
// about it, and of the busy one that every document that was acknowledged before a backup
// began is in it. Then it flips single bits in the files of the stopped store and in a
// backup. An error says what was not as it has to be.
func Backup(ctx context.Context, o BackupOptions) (r BackupResult, err error) {
	live := filepath.Join(o.Dir, "live")
	s, err := StartServer(ctx, o.Binary, live)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	token, err := s.Token(ctx)
	if err != nil {
		return r, err
	}
	still, err := s.NewKB(ctx, token, "still")
	if err != nil {
		return r, err
	}
	busy, err := s.NewKB(ctx, token, "busy")
	if err != nil {
		return r, err
	}
	corpus := Corpus{Seed: o.Seed, Chunks: 1}
	for _, p := range corpus.Passages(0, o.Documents) {
		if err := still.call(ctx, http.DefaultClient, "POST", "/documents/text", map[string]any{"id": p.ID, "text": p.Text}, nil); err != nil {
			return r, err
		}
	}
	if err := settled(ctx, still, o.Documents); err != nil {
		return r, err
	}
	want, err := retrievedBy(ctx, still, corpus)
	if err != nil {
		return r, err
	}

	// Documents come in until the last backup is made.
	load, stop := context.WithCancel(ctx)
	acknowledged := make(chan string, 1<<20)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; load.Err() == nil; i++ {
			p := corpus.Passages(1_000_000+i, 1)[0]
			if busy.call(load, http.DefaultClient, "POST", "/documents/text", map[string]any{"id": p.ID, "text": p.Text}, nil) == nil {
				acknowledged <- p.ID
			}
		}
	}()
	defer func() { stop(); <-done }()

	var chain []string
	before, since, records := []string{}, "", ""
	for i := range o.Rounds {
		for len(acknowledged) > 0 {
			before = append(before, <-acknowledged)
		}
		file := filepath.Join(o.Dir, fmt.Sprintf("%d.backup", i))
		start := time.Now()
		out, err := exec.CommandContext(ctx, o.Binary, "backup", file, "--since", since, "--json", "--data-dir", live, "--listen", s.Addr).Output()
		if err != nil {
			return r, fmt.Errorf("backup %d: %w", i, err)
		}
		r.BackupMS += float64(time.Since(start).Milliseconds()) / float64(o.Rounds)
		var made struct {
			Size   int64
			Backup struct{ Next string }
		}
		if err := json.Unmarshal(out, &made); err != nil {
			return r, err
		}
		if i == 0 {
			r.FirstBytes = made.Size
		} else {
			r.LaterBytes += made.Size
		}
		since, chain = made.Backup.Next, append(chain, file)

		fresh := filepath.Join(o.Dir, fmt.Sprintf("restored-%d", i))
		start = time.Now()
		args := append(append([]string{"restore"}, chain...), "--data-dir", fresh, "--secrets", live)
		if out, err := exec.CommandContext(ctx, o.Binary, args...).CombinedOutput(); err != nil {
			return r, fmt.Errorf("restore %d: %w: %s", i, err, out)
		}
		r.RestoreMS += float64(time.Since(start).Milliseconds()) / float64(o.Rounds)
		dumps, err := dumpsOf(ctx, o.Binary, fresh)
		if err != nil {
			return r, err
		}
		got := dumps[kbOf(still)]
		if records == "" {
			records = got
		}
		if got == "" || got != records {
			return r, fmt.Errorf("round %d: the records of the knowledge base at rest are not what they were", i)
		}
		if err := askRestored(ctx, o.Binary, fresh, token, still, busy, corpus, want, before); err != nil {
			return r, fmt.Errorf("round %d: %w", i, err)
		}
		if err := os.RemoveAll(fresh); err != nil {
			return r, err
		}
		r.Rounds++
		fmt.Fprintf(o.Progress, "round %d: restored, equal, %d acknowledged documents are there\n", i+1, len(before))
	}
	stop()
	<-done
	r.Questions, r.Acknowledged = len(want), len(before)
	if err := s.Stop(); err != nil {
		return r, err
	}
	err = r.flip(ctx, o, live, chain)
	// The deferred Stop wants a server.
	if s2, serr := StartServer(ctx, o.Binary, live); serr == nil {
		*s = *s2
	} else {
		err = errors.Join(err, serr)
	}
	return r, err
}

// settled waits until n documents are processed.
func settled(ctx context.Context, kb Target, n int) error {
	for {
		var c struct {
			Data struct {
				Counts map[string]int `json:"status_counts"`
			}
		}
		if err := kb.call(ctx, http.DefaultClient, "GET", "/status_counts", nil, &c); err != nil {
			return err
		}
		if c.Data.Counts["processed"] >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// backupQuestions is how many questions each restored store is asked.
const backupQuestions = 20

// retrievedBy is what a knowledge base retrieves for the questions of a corpus.
func retrievedBy(ctx context.Context, kb Target, corpus Corpus) (out []string, err error) {
	for i := range backupQuestions {
		var d struct{ Data json.RawMessage }
		if err := kb.call(ctx, http.DefaultClient, "POST", "/query/data", map[string]any{"query": corpus.question(i), "mode": "mix"}, &d); err != nil {
			return nil, err
		}
		out = append(out, string(d.Data))
	}
	return out, nil
}

func kbOf(t Target) string { return t.Base[strings.LastIndex(t.Base, "/")+1:] }

// dumpsOf are the canonical dumps of the knowledge bases of a stopped store by id.
func dumpsOf(ctx context.Context, binary, dir string) (map[string]string, error) {
	out, err := exec.CommandContext(ctx, binary, "check", "--dump", "--data-dir", dir).Output()
	if err != nil {
		return nil, fmt.Errorf("dump: %w", err)
	}
	dumps := map[string]string{}
	for _, part := range strings.Split("\n"+string(out), "\n# tenant ")[1:] {
		head, rest, _ := strings.Cut(part, "\n")
		dumps[head[strings.LastIndex(head, " ")+1:]] = rest
	}
	return dumps, nil
}

// askRestored asks a restored store what the live one was asked, and for what it acknowledged.
func askRestored(ctx context.Context, binary, dir, token string, still, busy Target, corpus Corpus, want, before []string) (err error) {
	s, err := StartServer(ctx, binary, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	at := func(t Target) Target {
		_, path, _ := strings.Cut(t.Base, "/api/v1")
		return Target{Base: "http://" + s.Addr + "/api/v1" + path, Auth: "Bearer " + token, PID: s.PID()}
	}
	got, err := retrievedBy(ctx, at(still), corpus)
	if err != nil {
		return err
	}
	for i := range want {
		if got[i] != want[i] {
			return fmt.Errorf("question %d is answered in another way", i)
		}
	}
	for _, id := range before {
		if err := at(busy).call(ctx, http.DefaultClient, "GET", "/documents/"+id, nil, nil); err != nil {
			return fmt.Errorf("document %s was acknowledged before the backup: %w", id, err)
		}
	}
	return nil
}

// flip flips bits in copies of a stopped store, and in a backup.
func (r *BackupResult) flip(ctx context.Context, o BackupOptions, dir string, chain []string) error {
	want, err := exec.CommandContext(ctx, o.Binary, "check", "--dump", "--data-dir", dir).Output()
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	rnd := rand.New(rand.NewPCG(o.Seed, 77))
	copied := filepath.Join(o.Dir, "copy")
	for _, kind := range storeFiles {
		f := FlipResult{File: kind}
		for range o.Flips {
			files, err := filepath.Glob(filepath.Join(dir, kind))
			if err != nil {
				return err
			}
			if len(files) == 0 {
				break
			}
			name := files[rnd.IntN(len(files))]
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			used := len(bytes.TrimRight(b, "\x00")) // the rest is room that was asked for ahead
			if used == 0 {
				break
			}
			if err := copyStore(dir, copied); err != nil {
				return err
			}
			b[rnd.IntN(used)] ^= 1 << rnd.IntN(8)
			if err := os.WriteFile(filepath.Join(copied, filepath.Base(name)), b, 0o600); err != nil {
				return err
			}
			f.Rounds++
			if exec.CommandContext(ctx, o.Binary, "check", "--data-dir", copied).Run() != nil {
				f.Reported++
			} else if got, err := exec.CommandContext(ctx, o.Binary, "check", "--dump", "--data-dir", copied).Output(); err == nil && bytes.Equal(got, want) {
				f.NoEffect++
			} else {
				f.Wrong++
			}
		}
		r.Flips = append(r.Flips, f)
		fmt.Fprintf(o.Progress, "%s: %d flips, %d reported, %d without effect, %d wrong\n", kind, f.Rounds, f.Reported, f.NoEffect, f.Wrong)
	}
	f := FlipResult{File: "backup"}
	for range o.Flips {
		b, err := os.ReadFile(chain[0])
		if err != nil {
			return err
		}
		b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		bad := filepath.Join(o.Dir, "bad.backup")
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			return err
		}
		f.Rounds++
		if exec.CommandContext(ctx, o.Binary, "verify", bad).Run() != nil {
			f.Reported++
		} else {
			f.Wrong++
		}
	}
	r.Flips = append(r.Flips, f)
	for _, f := range r.Flips {
		if f.Wrong > 0 {
			return fmt.Errorf("%d of %d flipped bits in %s were not reported and changed what is read", f.Wrong, f.Rounds, f.File)
		}
	}
	return ctx.Err()
}

// copyStore makes to a copy of a stopped store, without its ballast and as sparse as it is.
func copyStore(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "ballast") || e.Type()&fs.ModeType != 0 {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		name := filepath.Join(to, e.Name())
		if err := os.WriteFile(name, bytes.TrimRight(b, "\x00"), 0o600); err != nil {
			return err
		}
		if err := os.Truncate(name, int64(len(b))); err != nil {
			return err
		}
	}
	return nil
}
