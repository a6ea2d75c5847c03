package engine

import (
	"math"
	"slices"
	"strings"
	"time"
)

// Filter says which documents a query or a look at the graph may see. What it
// does not permit takes no part in anything: the answer is that of a knowledge
// base which holds the permitted documents alone, but for the scores of an
// embedder's profile vectors, which rank what is shown and are made of every
// contribution.
//
// A Filter comes from ParseFilter or from JSON (see docs/handbook/asking.md for
// the grammar), so one that exists is valid; the zero Filter permits everything.
// It does not change and may be shared.
type Filter struct {
	root   predicate // nil permits everything
	source []byte    // as it was written, without white space
}

// predicate is a part of a filter that says yes or no to a document.
type predicate interface {
	permits(d *residentDoc) bool
}

type (
	allOf  []predicate
	anyOf  []predicate
	noneOf struct{ of predicate }

	// idsOf is kept apart from metadata: documents are found by id without a scan.
	oneOfIDs   map[string]bool
	onePath    []glob
	madeWithin interval
	// field is a condition on one entry of the metadata.
	field struct {
		name string
		cond condition
	}
)

func (l allOf) permits(d *residentDoc) bool {
	for _, p := range l {
		if !p.permits(d) {
			return false
		}
	}
	return true
}

func (l anyOf) permits(d *residentDoc) bool {
	return slices.ContainsFunc(l, func(p predicate) bool { return p.permits(d) })
}

func (n noneOf) permits(d *residentDoc) bool { return !n.of.permits(d) }

func (m oneOfIDs) permits(d *residentDoc) bool { return m[d.id] }

func (l onePath) permits(d *residentDoc) bool {
	return slices.ContainsFunc(l, func(g glob) bool { return g.matches(d.filePath) })
}

func (s madeWithin) permits(d *residentDoc) bool { return interval(s).holds(instant(d.created)) }

func (f field) permits(d *residentDoc) bool { return f.cond.holds(entryOf(d.metadata, f.name)) }

// entryOf is the entry of metadata with a name: one called just that, else, for
// a name with dots, the member of an object. null is no entry: nil.
func entryOf(m map[string]any, name string) any {
	for {
		if v, ok := m[name]; ok {
			return v
		}
		head, rest, ok := strings.Cut(name, ".")
		if !ok {
			return nil
		}
		if m, ok = m[head].(map[string]any); !ok {
			return nil
		}
		name = rest
	}
}

// condition is what a filter asks of one entry of the metadata; nil is no entry.
// But for exists, an entry that is a list holds what one of its items holds.
type condition interface {
	holds(v any) bool
}

type (
	allHold    []condition
	notHold    struct{ of condition }
	exists     bool
	equalsOne  map[any]bool // keys are strings, float64 and bool
	hasAll     map[any]int  // the wanted values, numbered
	inInterval struct {
		interval
		dates bool // of dates, else of numbers
	}
)

func (l allHold) holds(v any) bool {
	for _, c := range l {
		if !c.holds(v) {
			return false
		}
	}
	return true
}

func (n notHold) holds(v any) bool { return !n.of.holds(v) }

func (e exists) holds(v any) bool { return (v != nil) == bool(e) }

func (m equalsOne) holds(v any) bool { return anyItem(v, func(x any) bool { return m[x] }) }

func (m hasAll) holds(v any) bool {
	seen := newBits(len(m))
	left := len(m)
	return anyItem(v, func(x any) bool {
		if i, ok := m[x]; ok && !seen.has(uint32(i)) {
			seen.set(uint32(i))
			left--
		}
		return left == 0
	})
}

func (s inInterval) holds(v any) bool {
	return anyItem(v, func(x any) bool {
		switch x := x.(type) {
		case float64:
			return !s.dates && s.interval.holds(x)
		case string:
			if !s.dates {
				return false
			}
			from, _, ok := readDate(x)
			return ok && s.interval.holds(from)
		}
		return false
	})
}

// anyItem reports whether f says yes to a value or to an item of a list. Objects
// and lists in lists are no values that a filter compares.
func anyItem(v any, f func(any) bool) bool {
	scalar := func(v any) bool {
		switch v.(type) {
		case string, float64, bool:
			return f(v)
		}
		return false
	}
	if l, ok := v.([]any); ok {
		return slices.ContainsFunc(l, scalar)
	}
	return scalar(v)
}

// interval is a range of numbers, or of dates as seconds. Nothing is outside of the
// zero interval's missing ends.
type interval struct {
	low, high         float64
	hasLow, hasHigh   bool
	openLow, openHigh bool // the end itself is outside
}

func (s interval) holds(x float64) bool {
	if s.hasLow && (x < s.low || s.openLow && x == s.low) {
		return false
	}
	return !s.hasHigh || x < s.high || !s.openHigh && x == s.high
}

// instant is a time as a number: seconds since 1970, to the microsecond.
func instant(t time.Time) float64 {
	return float64(t.Unix()) + math.Trunc(float64(t.Nanosecond())/1000)/1e6
}

// readDate reads a date or a time (RFC 3339). A date is the whole day in UTC: end
// is the beginning of the next one. The end of a time is the time itself.
func readDate(s string) (from, end float64, ok bool) {
	if len(s) < len(time.DateOnly) || len(s) > 64 || s[4] != '-' {
		return 0, 0, false // most texts are no dates
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return instant(t), instant(t.AddDate(0, 0, 1)), true
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return instant(t), instant(t), true
	}
	return 0, 0, false
}

// glob is a pattern cut at its stars: a star is any run of characters, slashes too.
type glob []string

func newGlob(pattern string) glob { return strings.Split(pattern, "*") }

// matches takes time in the length of s alone, whatever the stars.
func (g glob) matches(s string) bool {
	first, last := g[0], g[len(g)-1]
	if len(g) == 1 {
		return s == first
	}
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range g[1 : len(g)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}
