package tenancy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"alcove/tenancy/keyspace"
)

// upgrade is one step of a data folder to the next format.
type upgrade struct {
	what string
	// run makes the records those of the next format. It may be killed at any place and is
	// then run again, on what it had made of them by then; run on what is of the next format
	// already, it changes nothing.
	run func(*Store, context.Context) error
}

// upgrades are the steps: the first is from format 1 to 2, and so on up to keyspace.Format.
// None is ever taken out: a backup may be of any format.
var upgrades = []upgrade{
	{"every audit record is an entry of the log", (*Store).migrateTrail},
}

// bringForward brings a folder of an earlier format forward, before anybody is let in. It
// first writes a backup of everything into the folder, proves it, and only then notes that it
// has begun, from which moment on older releases refuse the folder. A kill leaves the folder
// as it was, or begun: then the next start goes on at the step that was not finished, and the
// backup is of before the first.
func (s *Store) bringForward(ctx context.Context) error {
	from, started, outdated := s.db.Outdated()
	if !outdated {
		return nil
	}
	steps := s.opt.upgrades
	if from < 1 || from > len(steps) {
		return fmt.Errorf("format %d: no step leads from it: %w", from, ErrDamaged)
	}
	if !started {
		name, err := s.backupBefore(ctx, from)
		if err != nil {
			return fmt.Errorf("the backup before the data folder is brought from format %d to %d; nothing was changed: %w", from, len(steps)+1, err)
		}
		s.log.Warn("the data folder is brought forward, a backup of before is kept", "from", from, "to", len(steps)+1, "backup", name)
		if err := s.db.Advance(from); err != nil {
			return err
		}
	}
	for i := from; i <= len(steps); i++ {
		if err := steps[i-1].run(s, ctx); err != nil {
			return fmt.Errorf("bring the data folder from format %d to %d (%s): %w", i, i+1, steps[i-1].what, err)
		}
		// Recorded before it is noted: killed in between, it is recorded twice.
		err := s.db.Commit(ctx, func(tx *keyspace.Tx) error {
			return s.append(ctx, tx, systemChain, event{actor: "server", action: "data_upgraded", resourceType: "server",
				details: map[string]string{"from": strconv.Itoa(i), "to": strconv.Itoa(i + 1)}})
		})
		if err == nil {
			err = s.db.Advance(i + 1)
		}
		if err != nil {
			return err
		}
		s.log.Info("the data folder was brought forward", "format", i+1, "what", steps[i-1].what)
	}
	return nil
}

// backupBefore writes a backup of everything beside the data, under a name that says of which
// format, in the place of one that an earlier try has left. It has no secrets: they are where
// they were. A store in memory has none.
func (s *Store) backupBefore(ctx context.Context, from int) (name string, err error) {
	if s.opt.Dir == "" {
		return "", nil
	}
	name = filepath.Join(s.opt.Dir, fmt.Sprintf("before-format-%d.backup", from+1))
	part := name + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			f.Close()
			err = errors.Join(err, os.Remove(part))
		}
	}()
	info := BackupInfo{StoreID: s.db.StoreID(), Made: s.stamp()}
	if err = s.writeBackup(ctx, f, nil, map[string]string{}, 0, &info); err != nil {
		return "", err
	}
	if err = f.Sync(); err != nil {
		return "", err
	}
	if _, err = f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if _, err = CheckBackup(f); err != nil {
		return "", fmt.Errorf("read back what was written: %w", err)
	}
	if err = f.Close(); err != nil {
		return "", err
	}
	if err = os.Rename(part, name); err != nil {
		return "", err
	}
	return name, syncDir(s.opt.Dir)
}
