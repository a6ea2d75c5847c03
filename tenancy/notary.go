package tenancy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"alcove/tenancy/audit"
	"alcove/tenancy/keyspace"
)

const (
	// checkpointEntries and checkpointEvery say how much of the log a thief of the whole
	// folder could rewrite unnoticed: what came after the last checkpoint that lies elsewhere.
	checkpointEntries = 1000
	checkpointEvery   = time.Minute
	auditSignFile     = "audit.sign"
	// checkpointFile is where checkpoints are appended in Options.Dir, unless
	// Options.CheckpointFile names another place.
	checkpointFile = "audit.checkpoints"
	// maxCheckpointFile bounds a checkpoint file that is read whole: some 200,000 notes.
	maxCheckpointFile = 64 << 20
)

// AuditStats are counts since Open, and sizes now.
type AuditStats struct {
	Entries       uint64 // of the log, those that retention has cut among them
	Dropped       int64  // acts that were not recorded, see NoteAct
	Checkpoints   int64  // signed since Open
	Unchecked     uint64 // entries behind the last checkpoint
	FileFailures  int64  // checkpoints that could not be appended to the checkpoint file
	BehindOutside bool   // at Open the checkpoint file told of more entries than there are
}

// AuditStats reads the counters; it waits for nothing and reads no records.
func (s *Store) AuditStats() AuditStats {
	n := s.notary
	size, signed := n.size.Load(), n.signed.Load()
	st := AuditStats{
		Entries: size, Dropped: s.clerk.dropped.Load(), Checkpoints: n.count.Load(),
		FileFailures: n.fileFailures.Load(), BehindOutside: n.behind.Load(),
	}
	if size > signed {
		st.Unchecked = size - signed
	}
	return st
}

// notary signs checkpoints of the log, appends them to the checkpoint file, and cuts
// what is older than the retention.
type notary struct {
	store  *Store
	signer *audit.Signer
	file   string // "" keeps none
	wake   chan struct{}
	quit   chan struct{}
	ended  sync.Once
	done   chan struct{}

	busy         sync.Mutex // one checkpoint or cut at a time
	lastCut      string     // the day that was last looked at for a cut
	size         atomic.Uint64
	signed       atomic.Uint64
	count        atomic.Int64
	fileFailures atomic.Int64
	behind       atomic.Bool
}

func newNotary(s *Store, seed []byte) (*notary, error) {
	signer, err := audit.NewSigner(seed)
	if err != nil {
		return nil, err
	}
	n := &notary{store: s, signer: signer, file: s.opt.CheckpointFile, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	if n.file == "" && s.opt.Dir != "" {
		n.file = filepath.Join(s.opt.Dir, checkpointFile)
	}
	return n, nil
}

// start compares the log with the checkpoint file and begins to sign.
func (n *notary) start(ctx context.Context) error {
	var size uint64
	var last audit.Checkpoint
	err := n.store.view(ctx, func(tx *keyspace.Tx) error {
		var err error
		if size, err = trailSize(tx); err != nil {
			return err
		}
		last, err = n.latest(tx)
		return err
	})
	if err != nil {
		return err
	}
	n.size.Store(size)
	n.signed.Store(last.Size)
	if outside, err := readCheckpointFile(n.file); err != nil {
		n.store.log.Warn("the audit checkpoint file cannot be read", "err", err)
	} else if len(outside) > 0 {
		c, err := audit.Longest(outside, n.signer.VerifierKey())
		switch {
		case err != nil:
			n.store.log.Error("the audit checkpoint file is not of this server's key", "file", n.file, "err", err)
			n.behind.Store(true)
		case c.Size > size:
			n.store.log.Error("the audit log is shorter than its checkpoint file tells: an older store was put in place, or records were cut off",
				"file", n.file, "entries", size, "checkpoint", c.Size)
			n.behind.Store(true)
		}
	}
	go n.run()
	return nil
}

// grown is told by the committer that the log has size entries; the transaction may
// still be undone, so it is a hint and no more.
func (n *notary) grown(size uint64) {
	n.size.Store(size)
	if size >= n.signed.Load()+checkpointEntries {
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
}

func (n *notary) run() {
	defer close(n.done)
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { // a cut that is under way ends when the store closes
		select {
		case <-n.quit:
			stop()
		case <-ctx.Done():
		}
	}()
	for {
		select {
		case <-n.quit:
			n.report(n.sign(context.Background()))
			return
		case <-n.wake:
			n.report(n.sign(ctx))
		case <-tick.C:
			n.report(n.sign(ctx))
			n.report(n.retain(ctx))
		}
	}
}

// stop signs what is left and returns when that is done. It may be called again.
func (n *notary) stop() {
	n.ended.Do(func() { close(n.quit) })
	<-n.done
}

func (n *notary) report(err error) {
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
		n.store.log.Error("audit log", "err", err)
	}
}

// sign makes a checkpoint of the log as it is now, unless there is one.
func (n *notary) sign(ctx context.Context) error {
	_, err := n.checkpoint(ctx)
	return err
}

// checkpoint returns a signed checkpoint of the whole log: the one there is, or a new
// one, stored and appended to the checkpoint file. An empty log has none.
func (n *notary) checkpoint(ctx context.Context) ([]byte, error) {
	n.busy.Lock()
	defer n.busy.Unlock()
	var c audit.Checkpoint
	var known []byte
	err := n.store.view(ctx, func(tx *keyspace.Tx) error {
		var err error
		if c.Size, err = trailSize(tx); err != nil || c.Size == 0 {
			return err
		}
		known, err = tx.Get(keyspace.System, kindTrailSign, u64(c.Size))
		if !isNotFound(err) {
			return err
		}
		c.Root, err = audit.Root(c.Size, leaves(tx))
		return err
	})
	if err != nil || known != nil || c.Size == 0 {
		return known, err
	}
	c.Time = n.store.stamp()
	signed, err := n.signer.Checkpoint(c)
	if err != nil {
		return nil, err
	}
	err = n.store.db.Commit(ctx, func(tx *keyspace.Tx) error {
		return tx.Set(keyspace.System, kindTrailSign, u64(c.Size), signed)
	})
	if errors.Is(err, ErrDiskFull) { // nothing grows then, and the signature is good without being kept
		return signed, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store audit checkpoint: %w", err)
	}
	n.signed.Store(c.Size)
	n.count.Add(1)
	if err := n.appendOutside(signed); err != nil {
		n.fileFailures.Add(1)
		return signed, fmt.Errorf("append to the audit checkpoint file: %w", err)
	}
	return signed, nil
}

// latest is the newest checkpoint in the store, or the zero one.
func (n *notary) latest(tx *keyspace.Tx) (audit.Checkpoint, error) {
	var c audit.Checkpoint
	err := tx.Scan(keyspace.System, kindTrailSign, keyspace.Scan{Reverse: true, Limit: 1}, func(rest, value []byte) error {
		if len(rest) != 8 {
			return fmt.Errorf("%w: audit checkpoint key of %d bytes", ErrDamaged, len(rest))
		}
		c.Size = beU64(rest)
		return nil
	})
	return c, err
}

// appendOutside adds a note to the checkpoint file and has it on disk when it returns.
func (n *notary) appendOutside(signed []byte) error {
	if n.file == "" {
		return nil
	}
	f, err := os.OpenFile(n.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(audit.AppendToFile(nil, signed))
	return errors.Join(err, f.Sync(), f.Close())
}

// readCheckpointFile returns the notes of a checkpoint file; none if there is no file.
func readCheckpointFile(path string) ([][]byte, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxCheckpointFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxCheckpointFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: keep it elsewhere and begin a new one", path, maxCheckpointFile)
	}
	return audit.SplitFile(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))), nil
}

// Checkpoint returns a signed checkpoint of the audit log as it is now, and the public
// key that it can be checked with. It takes a system admin. The log is never empty
// then: the call itself is recorded first.
func (s *Store) Checkpoint(ctx context.Context, p Principal) (signed, verifierKey string, err error) {
	if !p.holds("", "", PermSystemAdmin) {
		return "", "", denied(PermSystemAdmin)
	}
	if err := s.RecordAct(ctx, p, "", Act{Action: "audit_checkpoint", ResourceType: "audit"}); err != nil && !errors.Is(err, ErrDiskFull) {
		return "", "", err
	}
	b, err := s.notary.checkpoint(ctx)
	if b == nil && err == nil {
		err = fmt.Errorf("audit checkpoint: the log is empty: %w", ErrNotFound)
	}
	if b == nil {
		return "", "", err
	}
	if err != nil { // signed and stored, but not in the file: the caller has it now
		s.log.Error("audit log", "err", err)
	}
	return string(b), s.notary.signer.VerifierKey(), nil
}
