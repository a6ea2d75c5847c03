package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// CrashOptions configure the crash workload.
type CrashOptions struct {
	Binary   string
	Dir      string // data folder; the caller's to remove
	Rounds   int
	Tenants  int           // 3
	Clients  int           // 8 in all
	MinLife  time.Duration // 50 ms: shortest life of a round's server under load
	MaxLife  time.Duration // 3 s
	Seed     uint64
	Progress io.Writer
}

// CrashResult is what the rounds left. Lost, Half, Undead and Problems must be 0.
type CrashResult struct {
	Rounds       int           `json:"rounds"`
	Acknowledged int           `json:"acknowledged_documents"`
	Deleted      int           `json:"acknowledged_deletes"`
	Queries      int           `json:"answered_queries"`
	Lost         int           `json:"lost"`           // acknowledged and not there
	Half         int           `json:"half"`           // there with missing chunks or other text
	Undead       int           `json:"undead"`         // deleted and still there
	Problems     int           `json:"check_problems"` // lines of alcove check
	ReadyMax     time.Duration `json:"ready_max_ns"`   // slowest start after a kill
	ReadyMedian  time.Duration `json:"ready_median_ns"`
	Details      []string      `json:"details,omitempty"`
}

// Crash uploads, deletes and asks with several clients in several tenants,
// kills the server with SIGKILL at a random moment, starts it again, compares
// what is there with what was acknowledged, stops it and runs alcove check; and
// so on for the rounds. Each client owns the ids it writes, so the model of what
// must be there needs no guess but for the call that the kill interrupted.
func Crash(ctx context.Context, o CrashOptions) (CrashResult, error) {
	if o.Tenants == 0 {
		o.Tenants = 3
	}
	if o.Clients == 0 {
		o.Clients = 8
	}
	if o.MinLife == 0 {
		o.MinLife = 50 * time.Millisecond
	}
	if o.MaxLife == 0 {
		o.MaxLife = 3 * time.Second
	}
	c := &crash{o: o, rng: rand.New(rand.NewPCG(o.Seed, 1))}
	err := c.run(ctx)
	c.acknowledged()
	return c.r, err
}

type crash struct {
	o       CrashOptions
	rng     *rand.Rand
	r       CrashResult
	paths   []string // of the knowledge bases, below /api/v1
	clients []*crashClient
	ready   []time.Duration
}

// crashDoc is what a client knows of one of its documents. sure is false after
// a call that got no answer: either state is right then.
type crashDoc struct {
	text        string
	there, sure bool
}

type crashClient struct {
	id                      int
	kb                      int
	rng                     *rand.Rand
	next                    int
	docs                    map[string]*crashDoc
	acked, deleted, queries int
}

func (c *crash) run(ctx context.Context) error {
	for i := range c.o.Clients {
		c.clients = append(c.clients, &crashClient{
			id: i, kb: i % c.o.Tenants, docs: map[string]*crashDoc{},
			rng: rand.New(rand.NewPCG(c.o.Seed, uint64(100+i))),
		})
	}
	for round := range c.o.Rounds {
		if err := c.round(ctx, round); err != nil {
			return fmt.Errorf("round %d (seed %d): %w", round, c.o.Seed, err)
		}
		c.r.Rounds++
		if c.o.Progress != nil {
			fmt.Fprintf(c.o.Progress, "round %d: %d documents and %d deletes acknowledged so far; lost %d, half %d, undead %d, problems %d\n",
				round+1, c.acknowledged(), c.r.Deleted, c.r.Lost, c.r.Half, c.r.Undead, c.r.Problems)
		}
	}
	return nil
}

func (c *crash) acknowledged() int {
	c.r.Acknowledged, c.r.Deleted, c.r.Queries = 0, 0, 0
	for _, k := range c.clients {
		c.r.Acknowledged += k.acked
		c.r.Deleted += k.deleted
		c.r.Queries += k.queries
	}
	return c.r.Acknowledged
}

func (c *crash) targets(s *Server, token string) []Target {
	out := make([]Target, len(c.paths))
	for i, p := range c.paths {
		out[i] = Target{Base: "http://" + s.Addr + p, Auth: "Bearer " + token, PID: s.PID()}
	}
	return out
}

func (c *crash) round(ctx context.Context, round int) error {
	s, err := StartServer(ctx, c.o.Binary, c.o.Dir)
	if err != nil {
		return err
	}
	token, err := s.Token(ctx)
	if err != nil {
		return errors.Join(err, s.Kill())
	}
	for len(c.paths) < c.o.Tenants {
		t, err := s.NewKB(ctx, token, fmt.Sprintf("tenant %d", len(c.paths)))
		if err != nil {
			return errors.Join(err, s.Kill())
		}
		c.paths = append(c.paths, strings.TrimPrefix(t.Base, "http://"+s.Addr))
	}
	targets := c.targets(s, token)
	load, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, k := range c.clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			k.work(load, targets[k.kb])
		}()
	}
	life := c.o.MinLife + time.Duration(c.rng.Int64N(int64(c.o.MaxLife-c.o.MinLife)+1))
	select {
	case <-time.After(life):
	case <-ctx.Done():
	}
	err = s.Kill()
	stop()
	wg.Wait()
	if err != nil {
		return err
	}

	if s, err = StartServer(ctx, c.o.Binary, c.o.Dir); err != nil {
		return fmt.Errorf("start after the kill: %w", err)
	}
	c.ready = append(c.ready, s.Ready)
	c.r.ReadyMax = max(c.r.ReadyMax, s.Ready)
	c.r.ReadyMedian = median(c.ready)
	if err := c.compare(ctx, c.targets(s, token)); err != nil {
		return errors.Join(err, s.Kill())
	}
	if err := s.Stop(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	out, err := exec.CommandContext(ctx, c.o.Binary, "check", "--data-dir", c.o.Dir).CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		c.r.Problems += len(lines)
		c.note("check after round %d: %s", round, lines[0])
	}
	return nil
}

// maxDetails bounds the list of what went wrong.
const maxDetails = 20

func (c *crash) note(format string, a ...any) {
	if len(c.r.Details) < maxDetails {
		c.r.Details = append(c.r.Details, fmt.Sprintf(format, a...))
	}
}

var crashWords = strings.Fields(`harbour lantern bridge Ada Babbage engine London river glass winter Oslo letter
	ship copper garden Turin machine number paper clock Vienna summer bell tower library Grace Hopper compiler`)

// text makes one to twelve hundred words of sentences from the client's own seed.
func (k *crashClient) text() string {
	var b strings.Builder
	n := 10 + k.rng.IntN(120)
	if k.rng.IntN(20) == 0 {
		n *= 30 // several chunks
	}
	for i := range n {
		w := crashWords[k.rng.IntN(len(crashWords))]
		if i%11 == 0 {
			w = strings.ToUpper(w[:1]) + w[1:]
		}
		b.WriteString(w)
		if i%11 == 10 {
			b.WriteString(".\n")
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// work calls the server until it is gone.
func (k *crashClient) work(ctx context.Context, t Target) {
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: 30 * time.Second}
	for ctx.Err() == nil {
		var err error
		switch n := k.rng.IntN(10); {
		case n < 6:
			err = k.put(ctx, c, t)
		case n < 8:
			err = k.remove(ctx, c, t)
		default:
			err = t.call(ctx, c, "POST", "/query", map[string]any{"query": "Where is the " + crashWords[k.rng.IntN(len(crashWords))] + "?"}, nil)
			if err == nil {
				k.queries++
			}
		}
		var se *StatusError
		if err != nil && !errors.As(err, &se) {
			return // the server is gone
		}
	}
}

func (k *crashClient) put(ctx context.Context, c *http.Client, t Target) error {
	k.next++
	id := fmt.Sprintf("c%d-%d", k.id, k.next)
	d := &crashDoc{text: k.text()}
	k.docs[id] = d
	err := t.call(ctx, c, "POST", "/documents/text", map[string]any{"text": d.text, "id": id}, nil)
	var se *StatusError
	switch {
	case err == nil:
		d.there, d.sure = true, true
		k.acked++
	case errors.As(err, &se):
		d.sure = true // refused
	}
	return err
}

func (k *crashClient) remove(ctx context.Context, c *http.Client, t Target) error {
	for id, d := range k.docs {
		if !d.there || !d.sure {
			continue
		}
		d.sure = false
		err := t.call(ctx, c, "DELETE", "/documents/"+id, nil, nil)
		var se *StatusError
		switch {
		case err == nil:
			d.there, d.sure = false, true
			k.deleted++
		case errors.As(err, &se):
			d.sure = true
		}
		return err
	}
	return nil
}

// settle waits until no document is on its way.
func settle(ctx context.Context, t Target) error {
	for {
		var out struct {
			Data struct {
				Counts map[string]int `json:"status_counts"`
			} `json:"data"`
		}
		if err := t.call(ctx, http.DefaultClient, "GET", "/status_counts", nil, &out); err != nil {
			return err
		}
		n := out.Data.Counts
		if n["pending"]+n["processing"] == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (c *crash) compare(ctx context.Context, targets []Target) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for _, t := range targets {
		if err := settle(ctx, t); err != nil {
			return fmt.Errorf("accepted documents do not come to an end: %w", err)
		}
	}
	there := make([]map[string]crashSeen, len(targets))
	for i, t := range targets {
		var err error
		if there[i], err = list(ctx, t); err != nil {
			return err
		}
	}
	for _, k := range c.clients {
		for id, d := range k.docs {
			seen, ok := there[k.kb][id]
			switch {
			case d.sure && d.there && !ok:
				c.r.Lost++
				c.note("%s was acknowledged and is gone", id)
			case d.sure && !d.there && ok:
				c.r.Undead++
				c.note("%s was deleted and is there", id)
			}
			if !ok {
				d.there, d.sure = false, true
				continue
			}
			d.there, d.sure = true, true
			if seen.status != "processed" {
				c.r.Half++
				c.note("%s ended %s: %s", id, seen.status, seen.err)
				continue
			}
			if err := c.whole(ctx, targets[k.kb], id, d.text, seen.chunks); err != nil {
				return err
			}
		}
	}
	return nil
}

type crashSeen struct {
	status, err string
	chunks      int
}

func list(ctx context.Context, t Target) (map[string]crashSeen, error) {
	out := map[string]crashSeen{}
	for cursor := ""; ; {
		var page struct {
			Data struct {
				Documents []struct {
					DocID  string `json:"doc_id"`
					Status string `json:"status"`
					Chunks int    `json:"chunks_count"`
					Error  string `json:"error_msg"`
				} `json:"documents"`
				Next string `json:"next_cursor"`
			} `json:"data"`
		}
		if err := t.call(ctx, http.DefaultClient, "GET", "/documents?limit=200&cursor="+cursor, nil, &page); err != nil {
			return nil, err
		}
		for _, d := range page.Data.Documents {
			out[d.DocID] = crashSeen{d.Status, d.Error, d.Chunks}
		}
		if cursor = page.Data.Next; cursor == "" {
			return out, nil
		}
	}
}

// sampleOf is how many documents of a round are read back whole: all that fit,
// every one in the end, since rounds sample by chance.
const sampleOf = 4

// whole reads a document's chunks back and compares them with what was sent.
func (c *crash) whole(ctx context.Context, t Target, id, text string, chunks int) error {
	if c.rng.IntN(sampleOf) != 0 {
		return nil
	}
	var page struct {
		Data struct {
			Chunks []struct {
				Content    string `json:"content"`
				Start, End int
			} `json:"chunks"`
		} `json:"data"`
	}
	if err := t.call(ctx, http.DefaultClient, "GET", "/documents/"+id+"/chunks?limit=200", nil, &page); err != nil {
		return err
	}
	ok := len(page.Data.Chunks) == chunks && chunks > 0
	for _, ch := range page.Data.Chunks {
		ok = ok && ch.End <= len(text) && ch.Start <= ch.End && text[ch.Start:ch.End] == ch.Content
	}
	if !ok {
		c.r.Half++
		c.note("%s has %d of %d chunks, or other text", id, len(page.Data.Chunks), chunks)
	}
	return nil
}
