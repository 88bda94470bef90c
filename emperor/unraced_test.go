//go:build !race

package emperor

const raced = false
