package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
)

// model is what a base should hold after a sequence of calls.
type model struct {
	visible, wanted map[string]string // id -> text
	cancelled       map[string]bool
}

// Any sequence of calls leaves what inserting its outcome into an empty base
// gives, and a base without a fault.
func TestRandomSequences(t *testing.T) {
	v := enginetest.New(t, small(engine.Options{Workers: 2}))
	for seed := range uint64(engine.Rounds(50)) {
		r := rand.New(rand.NewPCG(seed, 2))
		name := fmt.Sprintf("seq-%d", seed)
		m := model{map[string]string{}, map[string]string{}, map[string]bool{}}
		for range 12 {
			step(t, v, name, r, &m)
		}
		var pairs []string
		for id, text := range m.visible {
			pairs = append(pairs, id, text)
		}
		if len(pairs) > 0 {
			v.Add(name+"-fresh", pairs...)
			v.Wait()
			require.Equal(t, v.Dump(name+"-fresh"), v.Dump(name), "seed %d", seed)
		} else {
			require.Empty(t, v.Dump(name), "seed %d", seed)
		}
	}
}

func step(t *testing.T, v *enginetest.Env, name string, r *rand.Rand, m *model) {
	id := string(rune('a' + r.IntN(5)))
	text := long(strings.ToUpper(string(rune('a'+r.IntN(3)))), 1+r.IntN(3))
	kb := v.KB(name)
	in := engine.DocumentInput{ID: id, FilePath: id + ".txt", Content: []byte(text)}
	done := func() { v.Wait(); m.visible[id], m.wanted[id] = text, text; delete(m.cancelled, id) }
	old, known := m.wanted[id]
	switch op := r.IntN(10); {
	case op < 3:
		_, err := kb.Add(ctx, []engine.DocumentInput{in}, "insert")
		if known && old != text {
			require.ErrorIs(t, err, engine.ErrConflict)
			return
		}
		require.NoError(t, err)
		if !known {
			done()
		}
	case op < 7:
		_, err := kb.Update(ctx, id, in)
		if !known {
			require.ErrorIs(t, err, engine.ErrNotFound)
			return
		}
		require.NoError(t, err)
		if old == text {
			return
		}
		if op < 5 {
			done()
			return
		}
		// Cancelled at once: it may have been too late for that.
		m.wanted[id] = text
		delete(m.cancelled, id)
		if _, err := kb.Cancel(ctx, id); err != nil {
			require.ErrorIs(t, err, engine.ErrState)
			done()
			return
		}
		v.Wait()
		m.cancelled[id] = true
	case op == 7:
		_, err := kb.Retry(ctx, id)
		if !known {
			require.ErrorIs(t, err, engine.ErrNotFound)
			return
		}
		if !m.cancelled[id] {
			require.ErrorIs(t, err, engine.ErrState)
			return
		}
		require.NoError(t, err)
		text = old
		done()
	default:
		_, err := kb.Delete(ctx, []string{id}, false)
		if !known {
			require.ErrorIs(t, err, engine.ErrNotFound)
			return
		}
		require.NoError(t, err)
		delete(m.visible, id)
		delete(m.wanted, id)
		delete(m.cancelled, id)
	}
}

// Many at once on the same few ids: whatever comes out, it is whole.
func TestConcurrentChanges(t *testing.T) {
	v := enginetest.New(t, small(engine.Options{Workers: 4}))
	kb := v.KB("k")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 3))
			for range 25 {
				id := string(rune('a' + r.IntN(4)))
				in := engine.DocumentInput{ID: id, Content: []byte(long(fmt.Sprint("W", r.IntN(3), "x"), 1+r.IntN(3)))}
				var err error
				switch r.IntN(5) {
				case 0, 1:
					_, err = kb.Add(ctx, []engine.DocumentInput{in}, "insert")
				case 2:
					_, err = kb.Update(ctx, id, in)
				case 3:
					_, err = kb.Delete(ctx, []string{id}, false)
				default:
					if _, err = kb.Cancel(ctx, id); err == nil {
						_, err = kb.Retry(ctx, id)
					}
				}
				for _, fine := range []error{engine.ErrConflict, engine.ErrNotFound, engine.ErrState} {
					if err != nil && errors.Is(err, fine) {
						err = nil
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	v.Wait()
}
