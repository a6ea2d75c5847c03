package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// watchQuiet is how long a folder must be left alone before a pass: an editor
	// writes a file in several steps.
	watchQuiet = 300 * time.Millisecond
	// watchLongest is how long a pass waits for that: a folder that is never left
	// alone is passed, too.
	watchLongest = 5 * time.Second
	// watchAnyway is how often a pass is made without a sign: some file systems
	// give none, and signs can be lost.
	watchAnyway = time.Minute
)

// watch makes passes until ctx ends: at once, after each change, and now and then.
// A pass that fails is told of and made again, but for a first one that is refused: it
// would be for ever.
func (s *syncer) watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer w.Close()
	for first := true; ; first = false {
		for _, f := range s.folders {
			if err := addTree(w, f.root); err != nil {
				fmt.Fprintf(s.o.progress, "watch %s: %v; it is looked at every %s\n", f.root, err, watchAnyway)
			}
		}
		r, err := s.pass(ctx)
		var refusal *apiError
		switch {
		case ctx.Err() != nil:
			return nil
		case first && errors.As(err, &refusal):
			return err
		case err != nil:
			fmt.Fprintf(s.o.progress, "this pass came to an early end: %v; the next one tries again\n", err)
		case r.Added+r.Changed+r.Retried+r.Deleted+len(r.Failed) > 0 || s.o.json:
			r.print(s.o)
		}
		if !s.quiet(ctx, w) {
			return nil
		}
	}
}

// quiet waits for a change and then for the folder to be left alone; false when ctx
// ended.
func (s *syncer) quiet(ctx context.Context, w *fsnotify.Watcher) bool {
	next := time.NewTimer(watchAnyway)
	defer next.Stop()
	var latest time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-next.C:
			return true
		case e, ok := <-w.Events:
			if !ok || e.Op == fsnotify.Chmod {
				continue
			}
			if latest.IsZero() {
				latest = time.Now().Add(watchLongest)
			}
			next.Reset(min(watchQuiet, time.Until(latest)))
		case err, ok := <-w.Errors:
			if ok { // signs were lost: look at everything
				fmt.Fprintf(s.o.progress, "watch: %v\n", err)
				return true
			}
		}
	}
}

// addTree watches a folder and all below it; one that is watched already stays so.
func addTree(w *fsnotify.Watcher, root string) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, os.ErrNotExist) && p != root: // gone since its parent was read
			return nil
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		}
		return w.Add(p)
	})
}
