package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// BackupOptions of Backup.
type BackupOptions struct {
	Binary, Dir string
	Documents   int // of the knowledge base that is compared
	Rounds      int // backups, each restored; the first of everything, the others since
	Flips       int // flipped bits in each kind of file
	Seed        uint64
	Progress    io.Writer
}

// BackupResult is what Backup saw.
type BackupResult struct {
	Rounds       int          `json:"rounds"`
	Questions    int          `json:"questions"` // asked of each restored store and of the live one
	Acknowledged int          `json:"acknowledged"`
	Records      int          `json:"records"` // lines of dumps compared with the live store's at rest
	FirstBytes   int64        `json:"first_bytes"`
	LaterBytes   int64        `json:"later_bytes"` // of all others together
	BackupMS     float64      `json:"backup_ms"`   // mean
	RestoreMS    float64      `json:"restore_ms"`  // mean, verification included
	Flips        []FlipResult `json:"flips"`
}

// FlipResult is what became of stores with one bit flipped in a kind of file.
type FlipResult struct {
	File     string `json:"file"`
	Rounds   int    `json:"rounds"`
	Reported int    `json:"reported"`
	Missed   int    `json:"missed"` // not reported; none may be
}

// storeFiles are the kinds of file in a data folder after a clean stop. Write-ahead files are
// there only after another; what is told of those is tested with the store.
var storeFiles = []string{"*.sst", "*.vlog", "MANIFEST", "MANIFEST.clean", "KEYREGISTRY", "DISCARD", "alcove.state",
	"audit.checkpoints", "audit.key", "audit.sign", "key.pepper", "token.secret", "token.fingerprint"}

// Backup backs a server up while documents come in, restores each backup elsewhere and
// compares it with the live store: the records of a knowledge base at rest bit by bit, the answers to
// questions about it, and of the busy one that every document that was acknowledged before a
// backup began is in it. When no more documents come one more backup is made, of which every
// record of both has to be the live store's, and every answer. Then it flips single bits in the files of
// the stopped store and in a backup. An error says what was not as it has to be.
func Backup(ctx context.Context, o BackupOptions) (r BackupResult, err error) {
	b := backupRun{o: o, live: filepath.Join(o.Dir, "live"), result: &r}
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.fill(ctx); err != nil {
		return r, err
	}
	if err := b.underLoad(ctx); err != nil {
		return r, err
	}
	if err := b.atRest(ctx); err != nil {
		return r, err
	}
	if err := b.stop(); err != nil {
		return r, err
	}
	return r, r.flip(ctx, o, b.live, b.chain)
}

// backupRun is one run of Backup.
type backupRun struct {
	o           BackupOptions
	live        string // the folder of the live store
	server      *Server
	token       string
	still, busy Target // at the server that runs
	corpus      Corpus
	records     string   // of still, from the live store
	want        []string // what still retrieves
	before      []string // documents that busy has acknowledged
	chain       []string // the backups
	since       string   // the moment of the last
	result      *BackupResult
}

// start starts the live server, or starts it again.
func (b *backupRun) start(ctx context.Context) (err error) {
	if b.server, err = StartServer(ctx, b.o.Binary, b.live); err != nil {
		b.server = nil
		return err
	}
	b.still, b.busy = at(b.server, b.token, b.still), at(b.server, b.token, b.busy)
	return nil
}

func (b *backupRun) stop() error {
	if b.server == nil {
		return nil
	}
	s := b.server
	b.server = nil
	return s.Stop()
}

// at is a knowledge base of one server at another that serves the same store.
func at(s *Server, token string, t Target) Target {
	_, path, _ := strings.Cut(t.Base, "/api/v1")
	return Target{Base: "http://" + s.Addr + "/api/v1" + path, Auth: "Bearer " + token, PID: s.PID()}
}

// fill makes the knowledge base at rest, and notes what it holds and answers.
func (b *backupRun) fill(ctx context.Context) (err error) {
	b.corpus = Corpus{Seed: b.o.Seed, Chunks: 1}
	if err := b.start(ctx); err != nil {
		return err
	}
	if b.token, err = b.server.Token(ctx); err != nil {
		return err
	}
	if b.still, err = b.server.NewKB(ctx, b.token, "still"); err != nil {
		return err
	}
	for _, p := range b.corpus.Passages(0, b.o.Documents) {
		if err := b.still.call(ctx, http.DefaultClient, "POST", "/documents/text", map[string]any{"id": p.ID, "text": p.Text}, nil); err != nil {
			return err
		}
	}
	if err := settled(ctx, b.still, b.o.Documents); err != nil {
		return err
	}
	if b.want, err = retrievedBy(ctx, b.still, b.corpus, 0); err != nil {
		return err
	}
	if err := b.stop(); err != nil {
		return err
	}
	dumps, err := dumpsOf(ctx, b.o.Binary, b.live)
	if err != nil {
		return err
	}
	if b.records = dumps[kbOf(b.still)]; b.records == "" {
		return errors.New("the live store has no records of the knowledge base at rest")
	}
	if err := b.start(ctx); err != nil {
		return err
	}
	b.busy, err = b.server.NewKB(ctx, b.token, "busy")
	return err
}

// backup makes the next backup and restores all of them into a fresh folder.
func (b *backupRun) backup(ctx context.Context) (fresh string, err error) {
	i := len(b.chain)
	file := filepath.Join(b.o.Dir, fmt.Sprintf("%d.backup", i))
	start := time.Now()
	out, err := exec.CommandContext(ctx, b.o.Binary, "backup", file, "--since", b.since, "--json", "--data-dir", b.live, "--listen", b.server.Addr).Output()
	if err != nil {
		return "", fmt.Errorf("backup %d: %w", i, err)
	}
	r := b.result
	r.BackupMS += float64(time.Since(start).Milliseconds()) / float64(b.o.Rounds+1)
	var made struct {
		Size   int64
		Backup struct{ Next string }
	}
	if err := json.Unmarshal(out, &made); err != nil {
		return "", err
	}
	if i == 0 {
		r.FirstBytes = made.Size
	} else {
		r.LaterBytes += made.Size
	}
	b.since, b.chain = made.Backup.Next, append(b.chain, file)

	fresh = filepath.Join(b.o.Dir, fmt.Sprintf("restored-%d", i))
	start = time.Now()
	args := append(append([]string{"restore"}, b.chain...), "--data-dir", fresh, "--secrets", b.live)
	if out, err := exec.CommandContext(ctx, b.o.Binary, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("restore %d: %w: %s", i, err, out)
	}
	r.RestoreMS += float64(time.Since(start).Milliseconds()) / float64(b.o.Rounds+1)
	return fresh, nil
}

// underLoad makes the rounds while documents come in.
func (b *backupRun) underLoad(ctx context.Context) error {
	load, stop := context.WithCancel(ctx)
	acknowledged := make(chan string, 1<<20)
	done := make(chan struct{})
	busy := b.busy
	go func() {
		defer close(done)
		for i := 0; load.Err() == nil; i++ {
			p := b.corpus.Passages(busyPassages+i, 1)[0]
			if busy.call(load, http.DefaultClient, "POST", "/documents/text", map[string]any{"id": p.ID, "text": p.Text}, nil) == nil {
				acknowledged <- p.ID
			}
		}
	}()
	defer func() { stop(); <-done }()
	take := func() {
		for len(acknowledged) > 0 {
			b.before = append(b.before, <-acknowledged)
		}
	}
	for i := range b.o.Rounds {
		take()
		fresh, err := b.backup(ctx)
		if err != nil {
			return err
		}
		dumps, err := dumpsOf(ctx, b.o.Binary, fresh)
		if err != nil {
			return err
		}
		if dumps[kbOf(b.still)] != b.records {
			return fmt.Errorf("round %d: the records of the knowledge base at rest are not those of the live store", i)
		}
		if err := b.askRestored(ctx, fresh, nil); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		if err := os.RemoveAll(fresh); err != nil {
			return err
		}
		b.result.Rounds++
		fmt.Fprintf(b.o.Progress, "round %d: restored, equal, %d acknowledged documents are there\n", i+1, len(b.before))
	}
	stop()
	<-done
	take()
	b.result.Questions, b.result.Acknowledged = len(b.want), len(b.before)
	return nil
}

// restTries is how often atRest waits for work behind the scenes to end.
const restTries = 10

// atRest compares a backup with a live store that nobody changes, record by record: with its
// dumps before and after the backup, which are equal once nothing goes on behind the scenes.
func (b *backupRun) atRest(ctx context.Context) error {
	if err := settled(ctx, b.busy, len(b.before)); err != nil {
		return err
	}
	for range restTries {
		before, err := b.dumpLive(ctx)
		if err != nil {
			return err
		}
		wantBusy, err := retrievedBy(ctx, b.busy, b.corpus, busyPassages)
		if err != nil {
			return err
		}
		fresh, err := b.backup(ctx)
		if err != nil {
			return err
		}
		after, err := b.dumpLive(ctx)
		if err != nil {
			return err
		}
		if !maps.Equal(before, after) {
			continue
		}
		got, err := dumpsOf(ctx, b.o.Binary, fresh)
		if err != nil {
			return err
		}
		for kb, records := range after {
			if got[kb] != records {
				return fmt.Errorf("at rest: the records of knowledge base %s are not those of the live store", kb)
			}
			b.result.Records += strings.Count(records, "\n")
		}
		if len(got) != len(after) {
			return fmt.Errorf("at rest: %d knowledge bases restored, the live store has %d", len(got), len(after))
		}
		if err := b.askRestored(ctx, fresh, wantBusy); err != nil {
			return fmt.Errorf("at rest: %w", err)
		}
		fmt.Fprintf(b.o.Progress, "at rest: %d lines of records equal the live store's\n", b.result.Records)
		return os.RemoveAll(fresh)
	}
	return errors.New("the live store does not come to rest")
}

// dumpLive stops the live server for as long as its records are dumped.
func (b *backupRun) dumpLive(ctx context.Context) (map[string]string, error) {
	if err := b.stop(); err != nil {
		return nil, err
	}
	dumps, err := dumpsOf(ctx, b.o.Binary, b.live)
	return dumps, errors.Join(err, b.start(ctx))
}

// settled waits until n documents are processed.
func settled(ctx context.Context, kb Target, n int) error {
	for {
		var c struct {
			Data struct {
				Counts map[string]int `json:"status_counts"`
			}
		}
		if err := kb.call(ctx, http.DefaultClient, "GET", "/status_counts", nil, &c); err != nil {
			return err
		}
		if c.Data.Counts["processed"] >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// backupQuestions is how many questions each restored store is asked.
const backupQuestions = 20

// busyPassages is the number of the first passage of the busy knowledge base.
const busyPassages = 1_000_000

// retrievedBy is what a knowledge base retrieves for the questions of a corpus from one on.
func retrievedBy(ctx context.Context, kb Target, corpus Corpus, from int) (out []string, err error) {
	for i := range backupQuestions {
		var d struct{ Data json.RawMessage }
		if err := kb.call(ctx, http.DefaultClient, "POST", "/query/data", map[string]any{"query": corpus.question(from + i), "mode": "mix"}, &d); err != nil {
			return nil, err
		}
		out = append(out, string(d.Data))
	}
	return out, nil
}

func kbOf(t Target) string { return t.Base[strings.LastIndex(t.Base, "/")+1:] }

// dumpsOf are the canonical dumps of the knowledge bases of a stopped store by id.
func dumpsOf(ctx context.Context, binary, dir string) (map[string]string, error) {
	out, err := exec.CommandContext(ctx, binary, "check", "--dump", "--data-dir", dir).Output()
	if err != nil {
		return nil, fmt.Errorf("dump: %w", err)
	}
	dumps := map[string]string{}
	for _, part := range strings.Split("\n"+string(out), "\n# tenant ")[1:] {
		head, rest, _ := strings.Cut(part, "\n")
		dumps[head[strings.LastIndex(head, " ")+1:]] = strings.TrimRight(rest, "\n") + "\n"
	}
	return dumps, nil
}

// askRestored asks a restored store what the live one was asked, and for what it
// acknowledged; wantBusy is nil where the busy one has gone on since.
func (b *backupRun) askRestored(ctx context.Context, dir string, wantBusy []string) (err error) {
	s, err := StartServer(ctx, b.o.Binary, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	for _, c := range []struct {
		kb   Target
		from int
		want []string
	}{{b.still, 0, b.want}, {b.busy, busyPassages, wantBusy}} {
		if c.want == nil {
			continue
		}
		got, err := retrievedBy(ctx, at(s, b.token, c.kb), b.corpus, c.from)
		if err != nil {
			return err
		}
		for i := range c.want {
			if got[i] != c.want[i] {
				return fmt.Errorf("question %d of knowledge base %s is answered in another way", i, kbOf(c.kb))
			}
		}
	}
	for _, id := range b.before {
		if err := at(s, b.token, b.busy).call(ctx, http.DefaultClient, "GET", "/documents/"+id, nil, nil); err != nil {
			return fmt.Errorf("document %s was acknowledged before the backup: %w", id, err)
		}
	}
	return nil
}

// flip flips bits in copies of a stopped store, and in a backup.
func (r *BackupResult) flip(ctx context.Context, o BackupOptions, dir string, chain []string) error {
	// A store that is whole is told to be.
	if out, err := exec.CommandContext(ctx, o.Binary, "check", "--data-dir", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("check before any flip: %w: %s", err, out)
	}
	rnd := rand.New(rand.NewPCG(o.Seed, 77))
	copied := filepath.Join(o.Dir, "copy")
	for _, kind := range storeFiles {
		f := FlipResult{File: kind}
		for range o.Flips {
			files, err := filepath.Glob(filepath.Join(dir, kind))
			if err != nil {
				return err
			}
			if len(files) == 0 {
				break
			}
			name := files[rnd.IntN(len(files))]
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if len(b) == 0 {
				break
			}
			if err := copyStore(dir, copied); err != nil {
				return err
			}
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
			if err := os.WriteFile(filepath.Join(copied, filepath.Base(name)), b, 0o600); err != nil {
				return err
			}
			// Both commands look; verify takes longer, for it serves the folder.
			look := []string{"check", "--data-dir", copied}
			if f.Rounds == 0 {
				look = []string{"verify", "--data-dir", copied, "--listen", "127.0.0.1:1"}
			}
			f.Rounds++
			if exec.CommandContext(ctx, o.Binary, look...).Run() != nil {
				f.Reported++
			} else {
				f.Missed++
			}
		}
		r.Flips = append(r.Flips, f)
		fmt.Fprintf(o.Progress, "%s: %d flips, %d reported\n", kind, f.Rounds, f.Reported)
	}
	f := FlipResult{File: "backup"}
	for range o.Flips {
		b, err := os.ReadFile(chain[0])
		if err != nil {
			return err
		}
		b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		bad := filepath.Join(o.Dir, "bad.backup")
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			return err
		}
		f.Rounds++
		if exec.CommandContext(ctx, o.Binary, "verify", bad).Run() != nil {
			f.Reported++
		} else {
			f.Missed++
		}
	}
	r.Flips = append(r.Flips, f)
	for _, f := range r.Flips {
		if f.Missed > 0 {
			return fmt.Errorf("%d of %d flipped bits in %s were not reported", f.Missed, f.Rounds, f.File)
		}
	}
	return ctx.Err()
}

// copyStore makes to a copy of a stopped store, without its ballast and as sparse as it is.
func copyStore(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "ballast") || e.Type()&fs.ModeType != 0 {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		name := filepath.Join(to, e.Name())
		if err := os.WriteFile(name, bytes.TrimRight(b, "\x00"), 0o600); err != nil {
			return err
		}
		if err := os.Truncate(name, int64(len(b))); err != nil {
			return err
		}
	}
	return nil
}
