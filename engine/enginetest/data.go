package enginetest

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Data returns the path of a file of the shared evaluation data, as
// "qa/2wiki/dev.json". The data is no part of the repository: it lies in the
// folder data under the one that ALCOVE_SHARED names, or under shared beside the
// module. ALCOVE_SHARED may name data itself. The test is skipped, and says so, when there is none.
func Data(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("ALCOVE_SHARED")
	if root == "" {
		_, here, _, _ := runtime.Caller(0)
		root = filepath.Join(filepath.Dir(here), "..", "..", "..", "shared")
	}
	path := filepath.Join(root, filepath.FromSlash(name))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	path = filepath.Join(root, "data", filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Skipf("skipped: no evaluation data (%v); ALCOVE_SHARED names the folder that holds data/", err)
	}
	return path
}
