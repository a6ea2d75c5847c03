package tenancy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/audit"
	"alcove/tenancy/keyspace"
)

// entry is one record of the log as an attacker holds it.
type entry struct {
	chain  uint64
	sealed []byte
}

// trailImage is all that the store holds of the audit log: kind and rest -> value.
type trailImage map[string]string

var trailKinds = []byte{kindTrail, kindTrailHead, kindTrailBase, kindTrailEntry, kindTrailLog, kindTrailSign}

func imageOf(t testing.TB, s *Store) trailImage {
	t.Helper()
	img := trailImage{}
	require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
		for _, kind := range trailKinds {
			if err := tx.Scan(keyspace.System, kind, keyspace.Scan{}, func(rest, value []byte) error {
				img[string(kind)+string(rest)] = string(value)
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}))
	return img
}

// put makes the store hold img instead of from, as somebody with the database in hand
// would: checksums are right.
func (img trailImage) put(t testing.TB, s *Store, from trailImage) {
	t.Helper()
	require.NoError(t, s.db.Commit(context.Background(), func(tx *keyspace.Tx) error {
		for k := range from {
			if _, stays := img[k]; !stays {
				if err := tx.Delete(keyspace.System, k[0], []byte(k[1:])); err != nil {
					return err
				}
			}
		}
		for k, v := range img {
			if old, is := from[k]; !is || old != v {
				if err := tx.Set(keyspace.System, k[0], []byte(k[1:]), []byte(v)); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// entriesOf reads the log in its order.
func (img trailImage) entries(t testing.TB) []entry {
	t.Helper()
	size := beU64([]byte(img[string(rune(kindTrailLog))+logSize]))
	out := make([]entry, size)
	for i := range out {
		l, err := audit.DecodeLeaf(uint64(i), []byte(img[string(rune(kindTrailEntry))+string(u64(uint64(i)))]))
		require.NoError(t, err)
		out[i] = entry{l.Chain, []byte(img[string(rune(kindTrail))+string(u64s(l.Chain, l.Seq))])}
	}
	return out
}

// forgeTrail is the best that somebody without the keys can make of a list of records: the
// numbers, the heads, the tree and the log's size agree with it, and of the store's
// checkpoints those go that tell of more.
func forgeTrail(t testing.TB, base trailImage, list []entry) trailImage {
	t.Helper()
	img := trailImage{}
	for k, v := range base {
		if k[0] == kindTrailSign && beU64([]byte(k[1:])) <= uint64(len(list)) {
			img[k] = v
		}
	}
	leavesSoFar := []audit.Leaf{}
	seqs := map[uint64]uint64{}
	for i, e := range list {
		seqs[e.chain]++
		seq := seqs[e.chain]
		img[string(rune(kindTrail))+string(u64s(e.chain, seq))] = string(e.sealed)
		l, err := audit.Grow(uint64(i), e.chain, seq, e.sealed, func(n uint64) (audit.Leaf, error) { return leavesSoFar[n], nil })
		require.NoError(t, err)
		leavesSoFar = append(leavesSoFar, l)
		img[string(rune(kindTrailEntry))+string(u64(uint64(i)))] = string(l.Encode())
		h := audit.Head{Seq: seq}
		copy(h.MAC[:], e.sealed[max(0, len(e.sealed)-len(h.MAC)):])
		img[string(rune(kindTrailHead))+string(u64(e.chain))] = string(h.Encode())
	}
	img[string(rune(kindTrailLog))+logSize] = string(u64(uint64(len(list))))
	return img
}

// resealed continues list from at on under key: what a store with that key would have
// written of other acts.
func resealed(t testing.TB, key []byte, list []entry, at int, act string) []entry {
	t.Helper()
	heads := map[uint64]audit.Head{}
	for _, e := range list[:at] {
		_, h, err := audit.Unsealed(e.sealed)
		require.NoError(t, err)
		heads[e.chain] = h
	}
	out := slices.Clone(list[:at])
	for _, e := range list[at:] {
		r, _, err := audit.Unsealed(e.sealed)
		require.NoError(t, err)
		if act != "" {
			r.Action = act
		}
		c := audit.NewChain(key, e.chain, heads[e.chain])
		_, b := c.Seal(r)
		heads[e.chain] = c.Head()
		out = append(out, entry{e.chain, b})
	}
	return out
}

// auditedHouse is a store with some 120 records in three chains, signed every now and
// then into a checkpoint file, and images of what it held at each checkpoint.
func auditedHouse(t *testing.T) (s *Store, outside []audit.Mark, images map[uint64]trailImage) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "checkpoints")
	s, err := Open(Options{CheckpointFile: file})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	found(t, s, "acme/main", "beta/main")
	images = map[uint64]trailImage{}
	p := admin(t, s)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 110 {
		tenant := []string{"acme", "beta", ""}[rnd.IntN(3)]
		require.NoError(t, s.RecordAct(ctxOf(t), p, tenant, Act{Action: "act", ResourceType: "thing", ResourceID: fmt.Sprint(rnd.IntN(1000))}))
		if rnd.IntN(10) == 0 {
			require.NoError(t, s.notary.sign(t.Context()))
			img := imageOf(t, s)
			images[s.notary.signed.Load()] = img
		}
	}
	require.NoError(t, s.notary.sign(t.Context()))
	notes, err := readCheckpointFile(file)
	require.NoError(t, err)
	outside, err = outsideMarks(notes, s.notary.signer.VerifierKey(), "file")
	require.NoError(t, err)
	require.Greater(t, len(outside), 8)
	rep, err := s.verifyTrails(t.Context(), outside)
	require.NoError(t, err)
	require.Equal(t, len(outside), rep.Outside)
	require.Equal(t, len(outside), rep.Checkpoints)
	require.Equal(t, 3, rep.Chains)
	return s, outside, images
}

// markBefore is the size of the last outside checkpoint at or before entry at.
func markBefore(marks []audit.Mark, at int) (size uint64) {
	for _, m := range marks {
		if m.Size <= uint64(at) {
			size = max(size, m.Size)
		}
	}
	return size
}

// Nine attacks, each at 100 random places (fewer under the race detector), each crude (the
// record alone is touched) and as good as it can be made without the keys: all are found,
// and the first bad record is named. Where the attacker's records are good ones, from an older store, what is
// named is the stretch between the checkpoints that they lie in.
func TestAudit_AttacksAreFound(t *testing.T) {
	s, outside, images := auditedHouse(t)
	s.notary.stop() // on a slow machine its minute comes in the middle of an attack, and it signs that
	good := imageOf(t, s)
	list := good.entries(t)
	n := len(list)
	size := uint64(n)
	acme, beta := s.cat.tenant("acme").number, s.cat.tenant("beta").number
	otherKey := bytes.Repeat([]byte("x"), 32)
	seqOf := func(at int) (seq uint64) {
		for _, e := range list[:at+1] {
			if e.chain == list[at].chain {
				seq++
			}
		}
		return seq
	}
	recordKey := func(at int) string { return string(rune(kindTrail)) + string(u64s(list[at].chain, seqOf(at))) }
	swapped := func(at int) []entry {
		out := slices.Clone(list)
		for i := at; i < n; i++ {
			switch out[i].chain {
			case acme:
				out[i].chain = beta
			case beta:
				out[i].chain = acme
			}
		}
		return out
	}
	firstOf := func(at int, of func(entry) bool) int {
		for i := at; i < n; i++ {
			if of(list[i]) {
				return i
			}
		}
		return -1
	}
	flip := func(b []byte, r *rand.Rand) []byte {
		b = bytes.Clone(b)
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		return b
	}

	// Each attack returns the forged store and the log's entry that must be named; exact
	// says that the record itself is, by chain and number.
	attacks := map[string]func(at int, r *rand.Rand) (img trailImage, want int, exact bool){
		"change, crude": func(at int, r *rand.Rand) (trailImage, int, bool) {
			img := maps.Clone(good)
			img[recordKey(at)] = string(flip(list[at].sealed, r))
			return img, at, true
		},
		"change": func(at int, r *rand.Rand) (trailImage, int, bool) {
			l := slices.Clone(list)
			l[at].sealed = flip(l[at].sealed, r)
			return forgeTrail(t, good, l), at, true
		},
		"drop, crude": func(at int, _ *rand.Rand) (trailImage, int, bool) {
			img := maps.Clone(good)
			delete(img, recordKey(at))
			return img, at, true
		},
		"drop": func(at int, _ *rand.Rand) (trailImage, int, bool) {
			// The next record of that chain stands where the dropped one stood.
			next := firstOf(at+1, func(e entry) bool { return e.chain == list[at].chain })
			img := forgeTrail(t, good, slices.Delete(slices.Clone(list), at, at+1))
			if next < 0 {
				next = n // it was the last of its chain: what is missing shows in the tree alone
			}
			if slices.ContainsFunc(outside, func(m audit.Mark) bool { return m.Size > uint64(at) && m.Size < uint64(next) }) {
				return img, int(markBefore(outside, at)), false
			}
			return img, next - 1, false
		},
		"insert, crude": func(at int, _ *rand.Rand) (trailImage, int, bool) {
			img := maps.Clone(good)
			head, err := audit.DecodeHead([]byte(good[string(rune(kindTrailHead))+string(u64(list[at].chain))]))
			require.NoError(t, err)
			img[string(rune(kindTrail))+string(u64s(list[at].chain, head.Seq+1))] = string(list[at].sealed)
			return img, n, false
		},
		"insert": func(at int, r *rand.Rand) (trailImage, int, bool) {
			forged := resealed(t, otherKey, list[:at+1], at, "forged")[at]
			return forgeTrail(t, good, slices.Insert(slices.Clone(list), at, forged)), at, true
		},
		"swap, crude": func(at int, _ *rand.Rand) (trailImage, int, bool) {
			with := (at + 1) % n
			img := maps.Clone(good)
			img[recordKey(at)], img[recordKey(with)] = good[recordKey(with)], good[recordKey(at)]
			return img, min(at, with), true
		},
		"swap": func(at int, _ *rand.Rand) (trailImage, int, bool) {
			at = min(at, n-2)
			next := firstOf(at+1, func(e entry) bool { return e.chain == list[at].chain })
			if next < 0 {
				next = at + 1 // of another chain: the order of the log is what is wrong
				l := slices.Clone(list)
				l[at], l[next] = l[next], l[at]
				return forgeTrail(t, good, l), int(markBefore(outside, at)), false
			}
			l := slices.Clone(list)
			l[at], l[next] = l[next], l[at]
			return forgeTrail(t, good, l), at, true
		},
		"cut the tail, crude": func(at int, _ *rand.Rand) (trailImage, int, bool) {
			img := maps.Clone(good)
			for i := at; i < n; i++ {
				delete(img, recordKey(i))
			}
			return img, at, true
		},
		"cut the tail": func(at int, _ *rand.Rand) (trailImage, int, bool) {
			return forgeTrail(t, good, list[:at]), at, false
		},
		"replay an old tail": func(at int, _ *rand.Rand) (trailImage, int, bool) {
			// The store once went on otherwise from here, under the same keys.
			return forgeTrail(t, good, resealed(t, s.auditKey, list, at, "older")), int(markBefore(outside, at)), false
		},
		"restore an old store": func(at int, r *rand.Rand) (trailImage, int, bool) {
			sizes := slices.Sorted(maps.Keys(images))
			old := sizes[r.IntN(len(sizes)-1)]
			return images[old], int(old), false
		},
		"swap two chains, crude": func(at int, _ *rand.Rand) (trailImage, int, bool) {
			img := maps.Clone(good)
			for k := range good {
				if k[0] != kindTrail && k[0] != kindTrailHead {
					continue
				}
				chain := beU64([]byte(k[1:9]))
				if chain == acme || chain == beta {
					delete(img, k)
				}
			}
			for k, v := range good {
				if k[0] != kindTrail && k[0] != kindTrailHead {
					continue
				}
				switch beU64([]byte(k[1:9])) {
				case acme:
					img[k[:1]+string(u64(beta))+k[9:]] = v
				case beta:
					img[k[:1]+string(u64(acme))+k[9:]] = v
				}
			}
			return img, firstOf(0, func(e entry) bool { return e.chain != systemChain }), true
		},
		"swap two chains": func(at int, _ *rand.Rand) (trailImage, int, bool) {
			first := firstOf(at, func(e entry) bool { return e.chain != systemChain })
			if first < 0 {
				at = 0
				first = firstOf(0, func(e entry) bool { return e.chain != systemChain })
			}
			return forgeTrail(t, good, swapped(at)), first, false
		},
		"another key of the chain": func(at int, _ *rand.Rand) (trailImage, int, bool) {
			return forgeTrail(t, good, resealed(t, otherKey, list, at, "")), at, true
		},
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			for try := range rounds(100) {
				r := rand.New(rand.NewPCG(uint64(try), 7))
				at := r.IntN(n)
				img, want, exact := attack(at, r)
				img.put(t, s, good)
				_, err := s.verifyTrails(t.Context(), outside)
				good.put(t, s, img)
				var b *audit.BreakError
				require.ErrorAs(t, err, &b, "try %d at %d: %v", try, at, err)
				if name == "swap, crude" && list[at].chain != list[(at+1)%n].chain {
					want = min(at, (at+1)%n)
				}
				require.EqualValues(t, want, b.Entry, "try %d at %d of %d: %v", try, at, n, err)
				if exact {
					require.Equal(t, list[want].chain, b.Chain, "try %d at %d: %v", try, at, err)
					require.Equal(t, seqOf(want), b.Seq, "try %d at %d: %v", try, at, err)
				}
			}
		})
	}
	t.Run("the key file of the chains changed", func(t *testing.T) {
		v := trailVerifier{db: s.db, key: otherKey, verifierKey: s.notary.signer.VerifierKey(), outside: outside}
		_, err := v.run(t.Context())
		var b *audit.BreakError
		require.ErrorAs(t, err, &b)
		require.Zero(t, b.Entry)
		require.EqualValues(t, 1, b.Seq)
	})
	t.Run("the signing key changed and everything signed again", func(t *testing.T) {
		for try := range rounds(100) {
			r := rand.New(rand.NewPCG(uint64(try), 8))
			at := r.IntN(n)
			signer, err := audit.NewSigner(bytes.Repeat([]byte{byte(try)}, 32))
			require.NoError(t, err)
			img := forgeTrail(t, good, resealed(t, s.auditKey, list, at, "forged"))
			for k := range img {
				if k[0] == kindTrailSign {
					delete(img, k)
				}
			}
			img.put(t, s, good)
			c := audit.Checkpoint{Size: size, Time: s.now()}
			require.NoError(t, s.db.View(func(tx *keyspace.Tx) error {
				c.Root, err = audit.Root(size, leaves(tx))
				return err
			}))
			note, err := signer.Checkpoint(c)
			require.NoError(t, err)
			signed := maps.Clone(img)
			signed[string(rune(kindTrailSign))+string(u64(size))] = string(note)
			signed.put(t, s, img)
			// With the key that was kept: the store's checkpoint is not by it.
			_, err = s.verifyTrails(t.Context(), outside)
			require.ErrorIs(t, err, audit.ErrSignature)
			require.ErrorContains(t, err, fmt.Sprint(size))
			// With the new key alone nothing is wrong with the store, but it signed none of
			// the checkpoints outside.
			v := trailVerifier{db: s.db, key: s.auditKey, verifierKey: signer.VerifierKey()}
			_, err = v.run(t.Context())
			require.NoError(t, err)
			notes, err := readCheckpointFile(s.notary.file)
			require.NoError(t, err)
			_, err = outsideMarks(notes, signer.VerifierKey(), "file")
			require.ErrorIs(t, err, audit.ErrSignature)
			require.ErrorContains(t, err, "checkpoint 1 of file")
			good.put(t, s, signed)
		}
	})
	_, err := s.verifyTrails(t.Context(), outside)
	require.NoError(t, err, "everything was put back")
}

// The same over a stopped store in a folder, with the checkpoint file at its side: as
// alcove audit verify does it.
func TestVerifyAudit_OfAStoppedStore(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s, err := Open(o)
	require.NoError(t, err)
	found(t, s, "acme/main")
	require.NoError(t, s.NoteStart(t.Context(), "v1"))
	key := s.notary.signer.VerifierKey()
	require.NoError(t, s.Close())
	kept := filepath.Join(t.TempDir(), "kept")
	b, err := os.ReadFile(filepath.Join(o.Dir, checkpointFile))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(kept, b, 0o600))

	rep, err := VerifyAudit(t.Context(), o, AuditCheck{Outside: []string{kept}, VerifierKey: key})
	require.NoError(t, err)
	require.Equal(t, 1, rep.Outside)
	require.Zero(t, rep.BehindOutside)
	require.EqualValues(t, rep.Entries, 4, "tenant_created twice, kb_created, server_started")

	_, err = VerifyAudit(t.Context(), o, AuditCheck{Outside: []string{filepath.Join(o.Dir, "none")}})
	require.ErrorIs(t, err, os.ErrNotExist)

	// The signing key in the folder is swapped: the store's checkpoints are not by it.
	_, err = replaceSecret(o.Dir, auditSignFile)
	require.NoError(t, err)
	_, err = VerifyAudit(t.Context(), o, AuditCheck{})
	require.ErrorIs(t, err, audit.ErrSignature)
	require.False(t, errors.Is(err, audit.ErrBroken))
}
