//go:build race

package emperor

// raced tells that the race detector watches.
const raced = true
