//go:build race

package parse

// raced: the race detector's own memory does not fit in what a reader's process may
// have.
const raced = true
