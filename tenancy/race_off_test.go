//go:build !race

package tenancy

const raced = false
