package httpapi

import "sync"

// gate counts the requests that are running and lets no more in than may run
// at once, and none once it is closed.
type gate struct {
	mu     sync.Mutex
	max    int
	n      int
	closed bool
	idle   chan struct{} // closed when the gate is closed and nobody is inside
}

func newGate(max int) gate { return gate{max: max, idle: make(chan struct{})} }

func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return errDraining
	case g.n >= g.max:
		return errBusy
	}
	g.n++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.closed {
		close(g.idle)
	}
}

// close lets nobody in from now on. The channel it returns is closed when the
// last one has left.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		if g.n == 0 {
			close(g.idle)
		}
	}
	return g.idle
}

func (g *gate) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

func (g *gate) running() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n
}
