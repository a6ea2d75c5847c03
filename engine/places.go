package engine

import (
	"context"
	"slices"
	"sync"
	"time"
)

// urgency orders those who wait for a model.
type urgency int

const (
	forQuery urgency = iota // somebody waits for the answer
	forWork                 // work on documents and profiles
	urgencies
)

// places are how many model calls may run at once. Who waits is served by
// urgency, and first come first served within one: a question waits for one
// call to end, not for the queue of documents. Safe for concurrent use.
type places struct {
	mu      sync.Mutex
	free    int // above 0 only while nobody waits
	waiting [urgencies][]chan struct{}
}

// take waits for a place or for the end of ctx.
func (p *places) take(ctx context.Context, u urgency) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	if p.free > 0 {
		p.free--
		p.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	p.waiting[u] = append(p.waiting[u], turn)
	p.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiting[u], turn)
	if i >= 0 {
		p.waiting[u] = slices.Delete(p.waiting[u], i, i+1)
	}
	p.mu.Unlock()
	if i < 0 { // the place came at the same moment
		p.leave()
	}
	return ctx.Err()
}

// leave hands the place to the next in turn.
func (p *places) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for u := range p.waiting {
		if l := p.waiting[u]; len(l) > 0 {
			p.waiting[u] = l[1:]
			close(l[0])
			return
		}
	}
	p.free++
}

// model runs f in one of the places for model calls.
func (e *Engine) model(ctx context.Context, u urgency, f func() error) error {
	if err := e.models.take(ctx, u); err != nil {
		return err
	}
	defer e.models.leave()
	start := time.Now()
	err := f()
	e.meter.models.observe(time.Since(start))
	if err != nil {
		e.meter.modelErrors.Add(1)
	}
	return err
}
