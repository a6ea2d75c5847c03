package tenancy

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"alcove/sealed"
	"alcove/tenancy/keyspace"
)

// A backup is a sealed file whose body is, encrypted with age if somebody is named who
// can read it, a zstd stream of
//
//	length (4, big endian) | JSON: the files with the store's secrets, {} where it is not encrypted
//	the records, as keyspace writes them

// BackupKind is the kind of sealed file that Backup writes.
const BackupKind = "backup"

// backupWindow bounds what packing and unpacking a backup hold in memory.
const backupWindow = 4 << 20

// secretFiles are what a store cannot be used with in full and is not in its database.
var secretFiles = []string{tokenSecretFile, keyPepperFile, auditKeyFile, auditSignFile}

// BackupRequest asks for a backup.
type BackupRequest struct {
	// Since is the Next of an earlier backup: only what changed since has its values.
	// Empty is all.
	Since string
	// Recipients are age public keys (age1…); none leaves the backup readable by all,
	// and the secrets out of it.
	Recipients []string
}

// BackupInfo is what a backup says of itself.
type BackupInfo struct {
	StoreID   string    `json:"store_id"`
	Since     string    `json:"since,omitempty"` // "" is a backup of all
	Made      time.Time `json:"made_at"`
	Encrypted bool      `json:"encrypted"`
	Secrets   bool      `json:"secrets"` // the files with secrets are in it

	// Known at the end of the file.
	Next    string `json:"next"` // what to give as since to the next one
	Records int64  `json:"records"`
	Changed int64  `json:"changed"` // of them, with their values
	Bytes   int64  `json:"bytes"`   // of those
}

const maxRecipients = 20

// mark is a moment of a store as callers are given it.
func mark(epoch string, version uint64) string { return epoch + "." + strconv.FormatUint(version, 10) }

func (s *Store) parseMark(since string) (uint64, error) {
	if since == "" {
		return 0, nil
	}
	epoch, digits, ok := strings.Cut(since, ".")
	n, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || n == 0 {
		return 0, badField("since", "is not the next of an earlier backup")
	}
	if epoch != s.db.Epoch() {
		return 0, badField("since", "is of another life of this store: it was restored from a backup since; make one of all")
	}
	return n, nil
}

// Backup writes one moment of the whole store, beside readers and writers, to what open
// returns, which is called when nothing can be refused any more. It takes system:admin
// and is recorded. An error after open means that what was written is no backup, and no
// reader will take it for one; ErrDamaged that the store has to be looked at.
func (s *Store) Backup(ctx context.Context, p Principal, q BackupRequest, open func() io.Writer) (BackupInfo, error) {
	if err := s.AllowServer(p, PermSystemAdmin); err != nil {
		return BackupInfo{}, err
	}
	since, err := s.parseMark(q.Since)
	if err != nil {
		return BackupInfo{}, err
	}
	if len(q.Recipients) > maxRecipients {
		return BackupInfo{}, badField("recipient", fmt.Sprintf("names more than %d", maxRecipients))
	}
	var readers []age.Recipient
	for _, r := range q.Recipients {
		x, err := age.ParseX25519Recipient(r)
		if err != nil {
			return BackupInfo{}, badField("recipient", "is not an age public key (age1…)")
		}
		readers = append(readers, x)
	}
	info := BackupInfo{StoreID: s.db.StoreID(), Since: q.Since, Made: s.stamp(), Encrypted: len(readers) > 0}
	secrets := map[string]string{}
	if info.Encrypted && s.opt.Dir != "" {
		if secrets, err = readSecrets(s.opt.Dir); err != nil {
			return info, err
		}
		info.Secrets = len(secrets) > 0
	}
	err = s.db.Commit(ctx, func(tx *keyspace.Tx) error {
		return s.append(ctx, tx, systemChain, event{actor: p.Name(), action: "backup", resourceType: "server",
			details: map[string]string{"since": q.Since, "encrypted": strconv.FormatBool(info.Encrypted)}})
	})
	if errors.Is(err, ErrDiskFull) { // the very moment to have one
		s.log.Warn("a backup could not be recorded", "err", err)
	} else if err != nil {
		return info, fmt.Errorf("backup: %w", err)
	}
	if err := s.writeBackup(ctx, open(), readers, secrets, since, &info); err != nil {
		return info, fmt.Errorf("backup: %w", err)
	}
	return info, nil
}

func (s *Store) writeBackup(ctx context.Context, w io.Writer, readers []age.Recipient, secrets map[string]string, since uint64, info *BackupInfo) error {
	file, err := sealed.NewWriter(w, BackupKind, info, nil)
	if err != nil {
		return err
	}
	var body io.WriteCloser = unclosed{file}
	if len(readers) > 0 {
		if body, err = age.Encrypt(file, readers...); err != nil {
			return err
		}
	}
	packed, err := zstd.NewWriter(body, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(backupWindow))
	if err != nil {
		return err
	}
	kept, err := json.Marshal(secrets)
	if err == nil {
		_, err = packed.Write(binary.BigEndian.AppendUint32(nil, uint32(len(kept))))
	}
	if err == nil {
		_, err = packed.Write(kept)
	}
	var b keyspace.Backup
	if err == nil {
		b, err = s.db.Backup(ctx, packed, since)
	}
	if cerr := packed.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = body.Close()
	}
	if err != nil {
		return err
	}
	info.Next, info.Records, info.Changed, info.Bytes = mark(b.Epoch, b.Upto), b.Records, b.Changed, b.Bytes
	if err := file.Close(info); err != nil {
		return err
	}
	last := *info
	s.lastBackup.Store(&last)
	return nil
}

// StoreSummary is how the store is, from counters alone.
type StoreSummary struct {
	StoreID    string `json:"store_id"`
	CleanStart bool   `json:"clean_start"` // the stop before was no crash
	Tenants    int64  `json:"tenants"`
	// LastBackup is the last one since the start that was written to its end; absent if none was.
	LastBackup *BackupInfo `json:"last_backup,omitempty"`
}

// Summary takes system:admin and reads nothing but counters.
func (s *Store) Summary(ctx context.Context, p Principal) (StoreSummary, error) {
	if err := s.AllowServer(p, PermSystemAdmin); err != nil {
		return StoreSummary{}, err
	}
	out := StoreSummary{StoreID: s.db.StoreID(), CleanStart: s.db.CleanStart(), LastBackup: s.lastBackup.Load()}
	err := s.view(ctx, func(tx *keyspace.Tx) error {
		n, err := number(tx, kindSequence, []byte(seqTenants))
		out.Tenants = int64(n)
		return err
	})
	return out, err
}

// unclosed is a writer whose end somebody else writes.
type unclosed struct{ io.Writer }

// Close does nothing.
func (unclosed) Close() error { return nil }

func readSecrets(dir string) (map[string]string, error) {
	out := map[string]string{}
	for _, name := range secretFiles {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // one that is configured elsewhere
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		out[name] = string(b)
	}
	return out, nil
}

// CheckBackup reads a backup through and returns what it says of itself once every byte
// of it is as it was written. It needs no key.
func CheckBackup(r io.Reader) (BackupInfo, error) {
	var info BackupInfo
	in, err := sealed.Check(r, BackupKind, nil)
	if err != nil {
		return info, err
	}
	return info, in.Trailer(&info)
}

// RestoreRequest asks for a store to be made of backups.
type RestoreRequest struct {
	Dir string // is made, or is empty
	// Files are one backup of all and those since, each since the one before, in any
	// order; each stands at its beginning.
	Files []io.ReadSeeker
	// Identities are age secret keys (AGE-SECRET-KEY-…), for encrypted ones.
	Identities []string
}

// Restored is what was restored: the moment of the last backup, and which of the files
// with secrets came with it.
type Restored struct {
	BackupInfo
	SecretFiles []string
}

// Restore makes a store of backups in an empty folder. Every file is read through before
// the first byte is written. It returns sealed's errors, ErrNotBackup for files that make no chain, and
// leaves what it began in Dir where it fails after that.
func Restore(ctx context.Context, q RestoreRequest) (Restored, error) {
	if there, err := os.ReadDir(q.Dir); err == nil && len(there) > 0 {
		return Restored{}, fmt.Errorf("%s is not empty: a store is restored into an empty folder", q.Dir)
	}
	var keys []age.Identity
	for _, k := range q.Identities {
		x, err := age.ParseX25519Identity(k)
		if err != nil {
			return Restored{}, errors.New("an identity is not an age secret key (AGE-SECRET-KEY-…)")
		}
		keys = append(keys, x)
	}
	type link struct {
		info BackupInfo
		file io.ReadSeeker
	}
	var chain []link
	for i, f := range q.Files {
		info, err := CheckBackup(f)
		if err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err == nil && info.Encrypted && len(keys) == 0 {
			err = errors.New("it is encrypted and no identity is given")
		}
		if err != nil {
			return Restored{}, fmt.Errorf("backup file %d: %w", i+1, err)
		}
		chain = append(chain, link{info, f})
	}
	slices.SortStableFunc(chain, func(a, b link) int {
		return a.info.Made.Compare(b.info.Made)
	})
	next := ""
	for _, l := range chain {
		if l.info.Since != next || l.info.StoreID != chain[0].info.StoreID {
			return Restored{}, fmt.Errorf("the backup of %s is since %q, the one before it ends at %q: %w", l.info.Made.Format(time.RFC3339), l.info.Since, next, ErrNotBackup)
		}
		next = l.info.Next
	}
	if len(chain) == 0 {
		return Restored{}, fmt.Errorf("no file: %w", ErrNotBackup)
	}
	out := Restored{BackupInfo: chain[len(chain)-1].info}
	var secrets map[string]string
	var streams []io.Reader
	for _, l := range chain {
		r, kept, done, err := openBackup(l.file, keys)
		if err != nil {
			return Restored{}, fmt.Errorf("the backup of %s: %w", l.info.Made.Format(time.RFC3339), err)
		}
		defer done()
		streams, secrets = append(streams, r), kept
	}
	if err := keyspace.Restore(ctx, keyspace.Options{Dir: q.Dir}, streams); err != nil {
		return Restored{}, fmt.Errorf("restore: %w", err)
	}
	for _, name := range secretFiles {
		if text, ok := secrets[name]; ok {
			if err := replaceFile(q.Dir, name, []byte(text)); err != nil {
				return Restored{}, err
			}
			out.SecretFiles = append(out.SecretFiles, name)
		}
	}
	return out, nil
}

// maxSecretsBytes bounds the files with secrets in a backup.
const maxSecretsBytes = 64 << 10

// openBackup returns the records of a backup as a stream, and the secrets in it.
func openBackup(f io.Reader, keys []age.Identity) (r io.Reader, secrets map[string]string, done func(), err error) {
	in, err := sealed.NewReader(f, BackupKind)
	if err != nil {
		return nil, nil, nil, err
	}
	var info BackupInfo
	if err := in.Note(&info); err != nil {
		return nil, nil, nil, err
	}
	body := io.Reader(in)
	if info.Encrypted {
		if body, err = age.Decrypt(in, keys...); err != nil {
			return nil, nil, nil, errors.New("none of the identities opens it")
		}
	}
	packed, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(2*backupWindow))
	if err != nil {
		return nil, nil, nil, err
	}
	var n [4]byte
	if _, err = io.ReadFull(packed, n[:]); err == nil && binary.BigEndian.Uint32(n[:]) > maxSecretsBytes {
		err = ErrNotBackup
	}
	kept := make([]byte, min(maxSecretsBytes, binary.BigEndian.Uint32(n[:])))
	if err == nil {
		_, err = io.ReadFull(packed, kept)
	}
	if err == nil {
		err = json.Unmarshal(kept, &secrets)
	}
	if err != nil {
		packed.Close()
		return nil, nil, nil, fmt.Errorf("%w: it does not unpack", ErrNotBackup)
	}
	return packed, secrets, packed.Close, nil
}

// SecretFiles are the names of the files in a data folder that hold its secrets: what to
// keep apart from backups that are not encrypted. The slice is the caller's.
func SecretFiles() []string { return slices.Clone(secretFiles) }
