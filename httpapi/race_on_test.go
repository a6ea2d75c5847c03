//go:build race

package httpapi

// raced: the race detector takes ten to twenty times as long.
const raced = true
