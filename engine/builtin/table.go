package builtin

import (
	_ "embed"
	"sync"

	"alcove/engine/builtin/wordtable"
)

// wordsSum is the SHA-256 of words.bin as the generator wrote it.
const wordsSum = "ee4f5c2c791c633f808fce6d953d0d032e31a64ba11b915d1adf3b289d0c9832"

// A string, so that it stays in the binary's read-only pages.
//
//go:embed words.bin
var wordsFile string

// words opens the table in the binary. It panics if that is not one: the file is
// checked by a test, so only a broken build can do it.
var words = sync.OnceValue(func() *wordtable.Table {
	t, err := wordtable.Open(wordsFile)
	if err != nil {
		panic("builtin: words.bin: " + err.Error())
	}
	return t
})
