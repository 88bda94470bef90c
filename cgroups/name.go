package cgroups

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// A vassal's group is called plain + its name where the name is harmless, else hashed + a hash of the name + as much of it as is
// harmless. No name can begin with both, so no vassal can take the group of another one by a clever name.
const (
	plain  = "vassal-"
	hashed = "vassal~"
)

// maxName is how many bytes of a vassal's name a group's name carries.
const maxName = 64

// groupName makes the name of a vassal's group. Vassals of globs are called by their path, and a file's name may hold anything but
// a slash and NUL; the kernel refuses newlines, and an operator's shell should survive the rest.
func groupName(vassal string) string {
	safe := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, vassal)
	if safe == vassal && len(safe) <= maxName && safe != "" {
		return plain + safe
	}
	sum := sha256.Sum256([]byte(vassal))
	if len(safe) > maxName {
		safe = safe[len(safe)-maxName:] // the end of a path says more
	}
	return hashed + hex.EncodeToString(sum[:16]) + "-" + safe
}

// isVassal tells whether a folder's name is that of a vassal's group.
func isVassal(name string) bool {
	return strings.HasPrefix(name, plain) || strings.HasPrefix(name, hashed)
}
