package builtin

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine/builtin/wordtable"
)

// The file in the binary is the one the generator wrote, from the package whose
// name and hash it carries, and README.md and the licence notice speak of that one.
func TestWords_AreWhatTheGeneratorMade(t *testing.T) {
	sum := sha256.Sum256([]byte(wordsFile))
	require.Equal(t, wordsSum, hex.EncodeToString(sum[:]), "words.bin changed: so must the model's name")
	w := words()
	require.NoError(t, w.Verify())
	name, sha512 := w.Source()
	require.Equal(t, wordtable.SourcePackage+" "+wordtable.SourceVersion, name)
	require.Equal(t, wordtable.SourceSHA512, sha512)
	require.Equal(t, wordtable.WordCount, w.Len())
	require.Equal(t, wordtable.Dim, w.Dim())
	require.Equal(t, "the", w.Word(0))
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, s := range []string{wordsSum, wordtable.SourceSHA512, wordtable.SourcePackage, wordtable.SourceVersion, "PDDL"} {
		require.Contains(t, string(readme), s)
	}
}

// A stop word is known as one, whether the table has it or not.
func TestStopWords(t *testing.T) {
	require.Less(t, len(stops()), 2000, "the frequent ones")
	for _, s := range stopWords {
		require.LessOrEqual(t, len(s), maxStopBytes)
		id, known := words().Lookup([]byte(s), wordtable.Hash([]byte(s)))
		require.True(t, isStop([]byte(s), id, known), s)
	}
	id, known := words().Lookup([]byte("king"), wordtable.Hash([]byte("king")))
	require.False(t, isStop([]byte("king"), id, known))
}
