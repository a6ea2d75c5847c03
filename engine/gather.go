package engine

import (
	"context"
	"reflect"
	"sync"
	"time"
)

// gatherWait bounds how long chunks wait for those of other documents to share an
// embedding call with, before they ask for a place among the calls of models. A model
// that reads a chunk takes longer.
const gatherWait = 200 * time.Millisecond

// gatherer lets documents that are worked on at once share embedding calls: short
// documents would take one each. A vector is a function of its text alone, so who
// shares a call changes nothing but their number. A call that fails is made again by
// each for itself: no document fails for the text of another. Nothing is locked
// while a model is asked. Safe for concurrent use; the zero value is ready.
type gatherer struct {
	mu   sync.Mutex
	open map[sharing]*gathered // calls that still take texts
}

// sharing is who may share a call: documents of one tenant, which pays for it.
type sharing struct {
	m      Embedder
	tenant string
}

// gathered is one call to come.
type gathered struct {
	texts   []string
	sharers int
	full    chan struct{} // closed when nobody more is waited for
	waited  bool          // it is closed
	done    chan struct{} // closed when vectors and err are there
	vectors [][]float32
	err     error
}

// embedShared is embedTexts for work on a document, of which the texts of others may
// be part: batch texts a call at the most, coming documents being on their way to one, it among them.
func (e *Engine) embedShared(ctx context.Context, m Embedder, texts []string, batch, coming int) ([][]float32, error) {
	if m.Pure() || coming < 2 || len(texts) >= batch || !reflect.TypeOf(m).Comparable() {
		return e.embedTexts(ctx, m, forWork, texts)
	}
	who := sharing{m: m}
	if s := payer(ctx); s != nil {
		who.tenant = s.TenantID()
	}
	vectors, err := e.gather.embed(ctx, who, texts, batch, coming, func(all func() []string) ([][]float32, error) {
		return e.embedLate(ctx, m, forWork, all)
	})
	if err != nil && ctx.Err() == nil {
		return e.embedTexts(ctx, m, forWork, texts)
	}
	return vectors, err
}

// embed puts texts into the call that is open for who shares it, or opens one and
// makes it with call as soon as it is full, nobody is missing, or gatherWait is over.
// Others may still join while call waits for its turn, until it takes the texts.
func (g *gatherer) embed(ctx context.Context, who sharing, texts []string, batch, coming int, call func(func() []string) ([][]float32, error)) ([][]float32, error) {
	g.mu.Lock()
	c := g.open[who]
	if c != nil && len(c.texts)+len(texts) > batch {
		g.shut(who, c)
		c = nil
	}
	if c != nil {
		at := len(c.texts)
		c.texts = append(c.texts, texts...)
		if c.sharers++; len(c.texts) == batch {
			g.shut(who, c)
		} else if c.sharers >= coming {
			c.enough()
		}
		g.mu.Unlock()
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if c.err != nil {
			return nil, c.err
		}
		return c.vectors[at : at+len(texts)], nil
	}
	c = &gathered{texts: append([]string(nil), texts...), sharers: 1, full: make(chan struct{}), done: make(chan struct{})}
	if g.open == nil {
		g.open = map[sharing]*gathered{}
	}
	g.open[who] = c
	g.mu.Unlock()
	t := time.NewTimer(gatherWait)
	defer t.Stop()
	select {
	case <-c.full:
	case <-t.C:
	case <-ctx.Done(): // the call fails at once, and the others ask for themselves
	}
	take := func() []string {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.shut(who, c)
		return c.texts
	}
	c.vectors, c.err = call(take)
	take() // where it has not come to that
	close(c.done)
	if c.err != nil {
		return nil, c.err
	}
	return c.vectors[:len(texts)], nil
}

// shut ends the gathering for a call: nobody joins any more. g.mu is held.
func (g *gatherer) shut(who sharing, c *gathered) {
	if g.open[who] == c {
		delete(g.open, who)
	}
	c.enough()
}

// enough ends the wait for others. The gatherer's mu is held.
func (c *gathered) enough() {
	if !c.waited {
		c.waited = true
		close(c.full)
	}
}
