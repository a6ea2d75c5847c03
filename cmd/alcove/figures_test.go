package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/bench"
)

// The README's tables of measured figures are those of the stored report, number for
// number.
func TestReadme_Figures(t *testing.T) {
	const readme, stored = "../../README.md", "../../bench/report.json"
	const begin, end = "<!-- figures: made from bench/report.json by go test ./cmd/alcove -run TestReadme -update, see docs/bench.md -->\n", "<!-- /figures -->"
	b, err := os.ReadFile(stored)
	require.NoError(t, err)
	ms, err := bench.ReadMeasurements(bytes.NewReader(b))
	require.NoError(t, err)
	figures, err := bench.Figures(ms)
	require.NoError(t, err)
	b, err = os.ReadFile(readme)
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(b), begin)
	require.True(t, ok, "the README has no line %s", begin)
	_, after, ok := strings.Cut(rest, end)
	require.True(t, ok, "the README has no line %s", end)
	want := head + begin + "\n" + figures + end + after
	if *update {
		require.NoError(t, os.WriteFile(readme, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(b), "run: go test ./cmd/alcove -run TestReadme -update")
}
