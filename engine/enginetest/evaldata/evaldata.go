// Package evaldata finds and reads the shared evaluation data. It imports no
// room, so that tests inside of engine can use it as those outside do.
package evaldata

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// Path returns the path of a file or folder of the data, as "qa/2wiki". The data
// is no part of the repository: it lies in the folder data under the one that
// ALCOVE_SHARED names, or under shared beside the module. ALCOVE_SHARED may name
// data itself. The test is skipped, and says so, when there is none.
func Path(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("ALCOVE_SHARED")
	if root == "" {
		_, here, _, _ := runtime.Caller(0)
		root = filepath.Join(filepath.Dir(here), "..", "..", "..", "..", "shared")
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

// maxLineBytes is above the longest line there is.
const maxLineBytes = 64 << 20

// Rows reads a file of one JSON object a line.
func Rows[T any](t testing.TB, name string) []T {
	t.Helper()
	f, err := os.Open(Path(t, name))
	require.NoError(t, err)
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, maxLineBytes)
	var out []T
	for s.Scan() {
		var v T
		require.NoError(t, json.Unmarshal(s.Bytes(), &v))
		out = append(out, v)
	}
	require.NoError(t, s.Err())
	return out
}
