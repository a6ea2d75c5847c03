package engine

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// dataRows reads a file of one JSON object a line from the evaluation data. The
// data is not part of the repository: without it the test is skipped.
func dataRows[T any](t testing.TB, name string) []T {
	t.Helper()
	root := os.Getenv("ALCOVE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "shared")
	}
	f, err := os.Open(filepath.Join(root, "data", filepath.FromSlash(name)))
	if os.IsNotExist(err) {
		t.Skipf("no evaluation data: %v", err)
	}
	require.NoError(t, err)
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	var out []T
	for s.Scan() {
		var v T
		require.NoError(t, json.Unmarshal(s.Bytes(), &v))
		out = append(out, v)
	}
	require.NoError(t, s.Err())
	return out
}
