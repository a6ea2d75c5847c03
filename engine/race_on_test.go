//go:build race

package engine

// Raced: the race detector takes ten to twenty times as long.
const Raced = true
