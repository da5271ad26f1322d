//go:build !race

package testenv

// Race is whether the race detector watches.
const Race = false
