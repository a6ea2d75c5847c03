//go:build race

package index

// raced: the race detector takes ten to twenty times as long.
const raced = true
