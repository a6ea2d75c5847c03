package engine_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// Every planted fault is reported. The faults are made behind the engine's back,
// in records whose checksums are right.
func TestCheck_FindsPlantedFaults(t *testing.T) {
	first := func(tx *tenancy.Tx, kind byte) (rest, value []byte, err error) {
		err = tx.Scan(kind, tenancy.Scan{Limit: 1}, func(r, v []byte) error {
			rest, value = bytes.Clone(r), bytes.Clone(v)
			return nil
		})
		return rest, value, err
	}
	remove := func(kind byte) func(*tenancy.Tx) error {
		return func(tx *tenancy.Tx) error {
			rest, _, err := first(tx, kind)
			if err != nil {
				return err
			}
			return tx.Delete(kind, rest)
		}
	}
	edit := func(kind byte, f func(rest, value []byte) ([]byte, []byte)) func(*tenancy.Tx) error {
		return func(tx *tenancy.Tx) error {
			rest, value, err := first(tx, kind)
			if err != nil {
				return err
			}
			rest, value = f(rest, value)
			return tx.Set(kind, rest, value)
		}
	}
	flip := func(rest, value []byte) ([]byte, []byte) { value[len(value)-1] ^= 1; return rest, value }
	cut := func(rest, value []byte) ([]byte, []byte) { return rest, value[:len(value)/2] }
	swap := func(old, new string) func(rest, value []byte) ([]byte, []byte) {
		return func(rest, value []byte) ([]byte, []byte) {
			return rest, []byte(strings.Replace(string(value), old, new, 1))
		}
	}
	stray := func(rest, value []byte) ([]byte, []byte) { rest[16+7] ^= 0x40; return rest, value }
	for _, x := range []struct {
		name  string
		plant func(*tenancy.Tx) error
		says  string
	}{
		{"no content", remove('O'), "versions have content"},
		{"other content", edit('O', flip), "not what was sent"},
		{"no chunk", remove('C'), "kind C"},
		{"no vector", remove('V'), "kind V"},
		{"no contribution", remove('X'), "kind X"},
		{"short vector", edit('V', cut), "numbers"},
		{"short contribution", edit('X', cut), "kind X"},
		{"half a document", edit('C', stray), "nothing accounts for"},
		{"stray content", edit('O', stray), "nothing accounts for"},
		{"not shown", remove('S'), "visible by their records"},
		{"other version shown", edit('S', func(r, v []byte) ([]byte, []byte) { v[7]++; return r, v }), "its record says otherwise"},
		{"not listed", remove('L'), "list entries"},
		{"no track", remove('T'), "track entries"},
		{"change forgotten", remove('U'), "list of changes"},
		{"no record", remove('D'), "state counts documents"},
		{"wrong counter", edit('K', swap(`"chunks":2`, `"chunks":3`)), "state counts 3 chunks"},
		{"wrong status", edit('D', swap(`"processed"`, `"pending"`)), "has no job"},
		{"unknown status", edit('D', swap(`"processed"`, `"odd"`)), "unknown status"},
		{"unreadable record", edit('D', cut), "unreadable"},
		{"vector in the other set", func(tx *tenancy.Tx) error {
			rest, value, err := first(tx, 'V')
			if err != nil {
				return err
			}
			return tx.Set('W', rest, value)
		}, "is not used"},
		{"profile in the other set", func(tx *tenancy.Tx) error { return tx.Set('Q', []byte("e"), []byte("p")) }, "is not used"},
	} {
		t.Run(x.name, func(t *testing.T) {
			v := enginetest.New(t, engine.Options{})
			v.Add("k", "a", "Ada wrote to Babbage.", "b", "Babbage answered.")
			v.Wait()
			space := v.Space(enginetest.Tenant, "k", tenancy.PermKBManage)
			require.NoError(t, space.Commit(ctx, x.plant))
			var faults []string
			c, err := engine.Check(ctx, v.Store, space, func(f string) { faults = append(faults, f) })
			require.NoError(t, err)
			require.Equal(t, len(faults), c.Problems)
			require.Contains(t, strings.Join(faults, "\n"), x.says)
			v.Stop() // what is broken is not to be checked again
		})
	}
}
