package tenancy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"alcove/tenancy/audit"
	"alcove/tenancy/keyspace"
)

// trailPage is how many entries one read transaction walks.
const trailPage = 2048

// AuditCheck says what VerifyAudit compares a log with, beside itself.
type AuditCheck struct {
	// Outside are checkpoint files that were kept apart from the store.
	Outside []string
	// VerifierKey is the public key that signed them, as it was kept apart. Empty: the
	// store's own, which shows less, since who has the folder has that key too.
	VerifierKey string
}

// AuditReport says what VerifyAudit walked and found to be good.
type AuditReport struct {
	Entries        uint64 `json:"entries"` // the size of the log
	Cut            uint64 `json:"cut"`     // entries before it that retention took away
	Chains         int    `json:"chains"`
	Checkpoints    int    `json:"checkpoints"` // in the store, met
	Outside        int    `json:"outside_checkpoints"`
	OutsideTooOld  int    `json:"outside_checkpoints_before_the_cut"`
	BehindOutside  uint64 `json:"entries_after_the_last_outside_checkpoint"`
	VerifierKey    string `json:"verifier_key"`
	FirstBadTenant string `json:"first_bad_tenant,omitempty"`
}

// VerifyAudit verifies the audit log of a stopped store: every record against its
// chain, every chain against its head, the tree against every checkpoint in the store
// and in c.Outside. It changes nothing. The first record or entry that is not what was
// written comes back as an *audit.BreakError; a checkpoint that another key signed is an
// audit.ErrSignature that names it. Any other error says that it could not look.
func VerifyAudit(ctx context.Context, o Options, c AuditCheck) (AuditReport, error) {
	o = o.withDefaults()
	var keys [2][]byte
	for i, name := range []string{auditKeyFile, auditSignFile} {
		var err error
		if keys[i], err = readSecret(filepath.Join(o.Dir, name)); err != nil {
			return AuditReport{}, fmt.Errorf("the key of the audit log: %w", err)
		}
	}
	signer, err := audit.NewSigner(keys[1])
	if err != nil {
		return AuditReport{}, err
	}
	var marks []audit.Mark
	key := c.VerifierKey
	if key == "" {
		key = signer.VerifierKey()
	}
	for _, path := range c.Outside {
		if _, err := os.Stat(path); err != nil {
			return AuditReport{}, err
		}
		notes, err := readCheckpointFile(path)
		if err != nil {
			return AuditReport{}, err
		}
		if len(notes) == 0 {
			return AuditReport{}, fmt.Errorf("%s holds no checkpoint", path)
		}
		more, err := outsideMarks(notes, key, filepath.Base(path))
		if err != nil {
			return AuditReport{}, err
		}
		marks = append(marks, more...)
	}
	db, err := keyspace.Open(o.Keyspace)
	if err != nil {
		return AuditReport{}, err
	}
	v := trailVerifier{db: db, key: keys[0], verifierKey: signer.VerifierKey(), outside: marks}
	rep, err := v.run(ctx)
	return rep, errors.Join(err, db.Close())
}

// outsideMarks reads the notes of a checkpoint file.
func outsideMarks(notes [][]byte, verifierKey, source string) ([]audit.Mark, error) {
	marks := make([]audit.Mark, 0, len(notes))
	for i, b := range notes {
		c, err := audit.OpenCheckpoint(b, verifierKey)
		if err != nil {
			return nil, fmt.Errorf("checkpoint %d of %s: %w", i+1, source, err)
		}
		marks = append(marks, audit.Mark{Checkpoint: c, Source: "outside"})
	}
	return marks, nil
}

// trailVerifier walks the log of a store.
type trailVerifier struct {
	db          *keyspace.DB
	key         []byte
	verifierKey string
	outside     []audit.Mark
}

// run walks a log that nobody is writing to.
func (t *trailVerifier) run(ctx context.Context) (AuditReport, error) {
	rep := AuditReport{VerifierKey: t.verifierKey}
	err := t.walk(ctx, &rep)
	if b, ok := errors.AsType[*audit.BreakError](err); ok && b.Chain != systemChain {
		_ = t.db.View(func(tx *keyspace.Tx) error {
			rep.FirstBadTenant, _ = tenantOf(tx, b.Chain, map[uint64]string{}) // a tenant that is gone has no name
			return nil
		})
	}
	return rep, err
}

func (t *trailVerifier) walk(ctx context.Context, rep *AuditReport) error {
	var cut audit.Cut
	var size uint64
	var from audit.Frontier
	var bases map[uint64]audit.Head
	var marks []audit.Mark
	err := t.db.View(func(tx *keyspace.Tx) error {
		var err error
		if cut, err = readCut(tx, t.verifierKey); err != nil {
			return err
		}
		if size, err = trailSize(tx); err != nil {
			return err
		}
		if bases, err = trailHeads(tx, kindTrailBase); err != nil {
			return err
		}
		if from, err = audit.FrontierAt(cut.Size, leaves(tx)); err != nil {
			return &audit.BreakError{Entry: cut.Size, Reason: fmt.Sprintf("what must stay of the entries before the cut is not there: %v", err)}
		}
		marks, err = t.stored(tx, cut.Size)
		return err
	})
	if err != nil {
		return err
	}
	rep.Entries, rep.Cut = size, cut.Size
	if cut.Size > 0 {
		if from.Root() != cut.Root {
			return &audit.BreakError{Entry: cut.Size, Reason: "the tree before the cut is not the one that was signed"}
		}
		if audit.HeadsDigest(bases) != cut.Heads {
			return &audit.BreakError{Entry: cut.Size, Reason: "the heads of the chains at the cut are not those that were signed"}
		}
	} else if len(bases) > 0 {
		return &audit.BreakError{Entry: 0, Reason: "there are heads of a cut that nobody signed"}
	}
	newest := uint64(0)
	for _, m := range t.outside {
		newest = max(newest, m.Size)
		if m.Size < cut.Size {
			rep.OutsideTooOld++
		}
	}
	if len(t.outside) > 0 && newest < cut.Size {
		return &audit.BreakError{Entry: cut.Size, Reason: fmt.Sprintf("the log is cut at entry %d, behind the last outside checkpoint (%d entries): nothing outside vouches for what is left", cut.Size, newest)}
	}
	v := audit.NewVerifier(t.key, from, bases, append(marks, t.outside...))
	if err := v.Begin(); err != nil {
		return err
	}
	for v.Size() < size {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := v.Size()
		if err := t.page(v, size); err != nil {
			return err
		}
		if v.Size() == at {
			return &audit.BreakError{Entry: at, Reason: "the entry is missing"}
		}
	}
	var heads map[uint64]audit.Head
	err = t.db.View(func(tx *keyspace.Tx) error {
		var err error
		heads, err = trailHeads(tx, kindTrailHead)
		return err
	})
	if err != nil {
		return err
	}
	rep.Chains = len(heads)
	rep.Checkpoints, rep.Outside = v.Met("the store"), v.Met("outside")
	if len(t.outside) > 0 && size > newest {
		rep.BehindOutside = size - newest
	}
	if err := v.End(size, heads); err != nil {
		return err
	}
	return t.extras(v.Heads(), size)
}

// stored reads the store's own checkpoints at or behind the cut.
func (t *trailVerifier) stored(tx *keyspace.Tx, cut uint64) (marks []audit.Mark, err error) {
	err = tx.Scan(keyspace.System, kindTrailSign, keyspace.Scan{}, func(rest, value []byte) error {
		if len(rest) != 8 {
			return fmt.Errorf("%w: audit checkpoint key of %d bytes", ErrDamaged, len(rest))
		}
		size := beU64(rest)
		if size < cut {
			return nil // about to be swept
		}
		c, err := audit.OpenCheckpoint(value, t.verifierKey)
		if err != nil {
			return fmt.Errorf("the store's checkpoint of %d entries: %w", size, err)
		}
		if c.Size != size {
			return &audit.BreakError{Entry: size, Reason: fmt.Sprintf("the checkpoint of %d entries stands in the place of that of %d", c.Size, size)}
		}
		marks = append(marks, audit.Mark{Checkpoint: c, Source: "the store"})
		return nil
	})
	return marks, err
}

// page walks the next entries.
func (t *trailVerifier) page(v *audit.Verifier, size uint64) error {
	return t.db.View(func(tx *keyspace.Tx) error {
		scan := keyspace.Scan{Limit: trailPage}
		if at := v.Size(); at > 0 {
			scan.After = u64(at - 1)
		}
		return tx.Scan(keyspace.System, kindTrailEntry, scan, func(rest, value []byte) error {
			at := v.Size()
			if at == size {
				return &audit.BreakError{Entry: at, Reason: fmt.Sprintf("there are entries behind the end of the log at %d", size)}
			}
			if len(rest) != 8 || beU64(rest) != at {
				return &audit.BreakError{Entry: at, Reason: "the entry is missing"}
			}
			l, err := audit.DecodeLeaf(at, value)
			if err != nil {
				return &audit.BreakError{Entry: at, Reason: err.Error()}
			}
			sealed, err := tx.Get(keyspace.System, kindTrail, u64s(l.Chain, l.Seq))
			switch {
			case errors.Is(err, ErrDamaged):
				return &audit.BreakError{Chain: l.Chain, Seq: l.Seq, Entry: at, Reason: "its checksum does not match"}
			case err != nil && !isNotFound(err):
				return err
			}
			_, err = v.Entry(l, sealed)
			return err
		})
	})
}

// extras looks for what a walk from entry to entry does not meet: records behind a
// chain's head or of a chain without one, and entries behind the end.
func (t *trailVerifier) extras(last map[uint64]audit.Head, size uint64) error {
	var after []byte
	if size > 0 {
		after = u64(size - 1)
	}
	err := t.db.View(func(tx *keyspace.Tx) error {
		return tx.Scan(keyspace.System, kindTrailEntry, keyspace.Scan{After: after, Limit: 1, KeysOnly: true}, func([]byte, []byte) error {
			return &audit.BreakError{Entry: size, Reason: fmt.Sprintf("there are entries behind the end of the log at %d", size)}
		})
	})
	if err != nil {
		return err
	}
	after = nil
	for more := true; more; {
		err := t.db.View(func(tx *keyspace.Tx) error {
			n := 0
			// From chain to chain: behind its last record each has none.
			err := tx.Scan(keyspace.System, kindTrail, keyspace.Scan{After: after, Limit: 1, KeysOnly: true}, func(rest, _ []byte) error {
				n++
				if len(rest) != 16 {
					return fmt.Errorf("%w: audit key of %d bytes", ErrDamaged, len(rest))
				}
				chain, seq := beU64(rest[:8]), beU64(rest[8:])
				if seq > last[chain].Seq {
					return &audit.BreakError{Chain: chain, Seq: seq, Entry: size, Reason: "the log has no entry for it"}
				}
				after = u64s(chain, last[chain].Seq)
				return nil
			})
			more = n > 0
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// verifyTrails is VerifyAudit on an open store that nobody is writing to.
func (s *Store) verifyTrails(ctx context.Context, outside []audit.Mark) (AuditReport, error) {
	v := trailVerifier{db: s.db, key: s.auditKey, verifierKey: s.notary.signer.VerifierKey(), outside: outside}
	return v.run(ctx)
}

// AuditBroken reports whether err, of VerifyAudit or VerifyAuditExport, says that the
// log is not what was written, and not that it could not be looked at.
func AuditBroken(err error) bool {
	return errors.Is(err, audit.ErrBroken) || errors.Is(err, audit.ErrSignature)
}

// ExportReport says what VerifyAuditExport found to be good.
type ExportReport = audit.ExportReport

// VerifyAuditExport is audit.VerifyExport.
func VerifyAuditExport(r io.Reader, verifierKey string) (ExportReport, error) {
	return audit.VerifyExport(r, verifierKey)
}
