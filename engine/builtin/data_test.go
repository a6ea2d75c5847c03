package builtin_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// dataFile opens a file of the shared data, which is no part of the repository:
// in the folder that ALCOVE_SHARED names, else beside the module. The test is
// skipped when there is none.
func dataFile(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("ALCOVE_SHARED")
	if dir == "" {
		dir = "../../../shared/data"
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("skipped: shared data is absent (%v); set ALCOVE_SHARED", err)
	}
	return path
}

func readLines[T any](t testing.TB, name string) []T {
	t.Helper()
	f, err := os.Open(dataFile(t, name))
	require.NoError(t, err)
	defer f.Close()
	var out []T
	s := bufio.NewScanner(f)
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		var v T
		require.NoError(t, json.Unmarshal(s.Bytes(), &v))
		out = append(out, v)
	}
	require.NoError(t, s.Err())
	return out
}

type passage struct {
	ID, Title, Text string
}

type question struct {
	ID, Question, Answer string
	Aliases              []string `json:"answer_aliases"`
	Gold                 []string `json:"gold_doc_ids"`
	Candidates           []string `json:"candidate_doc_ids"`
}
