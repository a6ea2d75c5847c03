package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine/builtin/wordtable"
)

// list is a package's file of the given words in order.
func list(words ...string) string {
	var b strings.Builder
	b.WriteString(`{"precision":8,"words":["vectors"],"vectors":{`)
	for i, w := range words {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:[%s1.5,%d]", w, strings.Repeat("0.5,", wordtable.Dim), i)
	}
	b.WriteString(`}}`)
	return b.String()
}

// Words that no text asks for are left out and keep their rank to themselves.
func TestReadVectors_KeepsWhatAScannerYields(t *testing.T) {
	var s wordtable.Source
	d := json.NewDecoder(strings.NewReader(list("the", ",", "u.s.", "of", "josé", "film-maker", "1990", "more")))
	require.NoError(t, readVectors(d, 3, &s))
	require.Equal(t, []string{"the", "of", "1990"}, s.Words)
	require.Equal(t, []int{0, 3, 6}, s.Ranks)
	require.Len(t, s.Rows[2], wordtable.Dim)
}

func TestReadVectors_RefusesAnotherFile(t *testing.T) {
	for name, file := range map[string]string{
		"too few words": list("the", "of"),
		"out of order":  strings.Replace(list("the", "of", "and"), "1.5,1]", "1.5,7]", 1),
		"short vector":  `{"vectors":{"the":[1,2,0]}}`,
		"no vectors":    `{"words":[]}`,
		"not JSON":      `PK`,
	} {
		t.Run(name, func(t *testing.T) {
			var s wordtable.Source
			require.Error(t, readVectors(json.NewDecoder(strings.NewReader(file)), 3, &s))
		})
	}
}
