//go:build race

package tenancy

// raced: the race detector takes ten to twenty times as long.
const raced = true
