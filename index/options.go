package index

import (
	"errors"
	"fmt"
	"time"
)

// Backend says how a space that is large enough is searched.
type Backend string

const (
	// Own is the graph of this package (hnsw.go): the default.
	Own Backend = "own"
	// Coder is that graph inside github.com/coder/hnsw: slower, and with more memory.
	Coder Backend = "coder"
	// Exact is no graph: every search is exact, however large the space.
	Exact Backend = "exact"
)

// ErrBackend says that there is no such way to search, or not on this system.
var ErrBackend = errors.New("index: no such vector index")

// Check returns ErrBackend for a backend that this program does not have. The
// empty one is Own.
func (b Backend) Check() error {
	switch b {
	case "", Own, Exact:
		return nil
	case Coder:
		return coderCheck()
	}
	return fmt.Errorf("%w: %q is not %s, %s or %s", ErrBackend, b, Own, Coder, Exact)
}

// Options configure a space. The zero value means the defaults.
type Options struct {
	Backend Backend // Own
	// From is the number of vectors from which a graph is made; below, a scan
	// answers as fast and is exact. 12,000: on 2 processors the graph is not ahead at 8,000
	// by more than its making costs, and ahead by 2.6 times at 16,000.
	From int
	// Rest is how long the space must have been left alone before a graph is made or
	// grown; until then new vectors are scanned. A vector costs some 0.3 ms to link,
	// and one that is soon replaced costs it for nothing. 0: at once. Vectors that
	// wait are linked without a rest once there are 16 times From of them and half as
	// many as the graph has: a scan would be too slow by then.
	Rest time.Duration
	// Recall is the share of the true neighbours that a walk is set to find, measured
	// on the space's own vectors whenever a graph is made: 0.99.
	Recall float64
	// Workers insert into one graph at a time: 1. With more of them the graph is not
	// a function of the order of changes any longer.
	Workers int
	// Pause is called before each vector that is linked, by who links, and may hold it
	// up for a while: a graph is made behind the searches and must not take the
	// processors from them. Nil for no pause.
	Pause func()
	// Made is called, by a goroutine of the space's own, when there is a new graph, or one
	// that has grown by a quarter: when Snapshot is worth while. It must not wait for
	// the space. Nil for nobody.
	Made func()
	// Compact keeps codes alone, a quarter of the memory. Scores are then off by some
	// thousandths: of the true ten nearest 0.98 to 0.99 are found, even by a scan, and
	// of near duplicates any.
	Compact bool
}

func (o Options) withDefaults() Options {
	if o.Backend == "" {
		o.Backend = Own
	}
	if o.From == 0 {
		o.From = 12_000
	}
	if o.Recall == 0 {
		o.Recall = 0.99
	}
	if o.Workers == 0 {
		o.Workers = 1
	}
	return o
}
