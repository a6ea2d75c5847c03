package bench

import (
	"context"
	"errors"
	"net/http"

	"alcove/engine"
)

// Alcove is the Peer that is this very binary, with the scripted model for everything.
type Alcove struct {
	binary, dir, version string
	args                 []string
	server               *Server
	target               Target
	path                 string // of the knowledge base below the address, once there is one
}

// NewAlcove returns a Peer of the binary with its data in dir. args are more arguments of serve.
func NewAlcove(binary, dir, version string, m *Model, args ...string) *Alcove {
	return &Alcove{binary: binary, dir: dir, version: version, args: append([]string{
		"--llm-binding", "openai", "--llm-binding-host", m.URL, "--llm-model", ModelChat,
		"--embedding-binding", "openai", "--embedding-binding-host", m.URL, "--embedding-model", ModelEmbed,
	}, args...)}
}

// Name is alcove.
func (a *Alcove) Name() string { return "alcove" }

// Version is the one it was made with.
func (a *Alcove) Version() string { return a.version }

// PID is the server's.
func (a *Alcove) PID() int { return a.server.PID() }

// Dir is the data folder.
func (a *Alcove) Dir() string { return a.dir }

// Start starts the server; the first time it makes the knowledge base, too.
func (a *Alcove) Start(ctx context.Context) (err error) {
	if a.server, err = StartServer(ctx, a.binary, a.dir, a.args...); err != nil {
		return err
	}
	host := "http://" + a.server.Addr
	if a.path != "" {
		a.target.Base, a.target.PID = host+a.path, a.server.PID()
		return nil
	}
	token, err := a.server.Token(ctx)
	if err == nil {
		a.target, err = a.server.NewKB(ctx, token, "bench")
	}
	if err != nil {
		return errors.Join(err, a.server.Stop())
	}
	a.path = a.target.Base[len(host):]
	return nil
}

// Stop ends the server.
func (a *Alcove) Stop() error { return a.server.Stop() }

// Add sends documents to POST /documents/texts.
func (a *Alcove) Add(ctx context.Context, c *http.Client, ps []Passage) error {
	return a.target.add(ctx, c, ps)
}

// Done counts what is processed.
func (a *Alcove) Done(ctx context.Context, c *http.Client) (done, failed int, err error) {
	return a.target.processed(ctx, c)
}

// Ask sends a question to POST /query.
func (a *Alcove) Ask(ctx context.Context, c *http.Client, question string) error {
	var r engine.Answer
	if err := a.target.call(ctx, c, "POST", "/query", map[string]any{"query": question, "mode": "mix"}, &r); err != nil {
		return err
	}
	if len(r.References) == 0 || r.Degraded || r.LLM == "none" {
		return errors.New("answered without references or without the model")
	}
	return nil
}
