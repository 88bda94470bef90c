package access

import (
	"io/fs"
	"slices"
	"strings"
)

// A Right is what a user wants of a file or folder; several are added up.
type Right uint8

// The rights.
const (
	Run   Right = 1 << iota // run a file: x
	Write                   // write a file, make and remove the names in a folder, connect to a socket: w
	Read                    // read a file, list a folder: r
	Enter                   // go through a folder: x
)

// String says it in words: "read and write".
func (r Right) String() string {
	var words []string
	for _, w := range []struct {
		Right
		word string
	}{{Enter, "enter"}, {Read, "read"}, {Write, "write"}, {Run, "run"}} {
		if r&w.Right != 0 {
			words = append(words, w.word)
		}
	}
	switch n := len(words); n {
	case 0:
		return "find"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// bits are the rights as a mode's digit.
func (r Right) bits() Perm {
	p := Perm(r) & 7
	if r&Enter != 0 {
		p |= mayX
	}
	return p
}

// A Perm is one digit of a mode: r 4, w 2, x 1.
type Perm uint8

// The three bits.
const (
	mayR Perm = 4
	mayW Perm = 2
	mayX Perm = 1
)

// String writes the letters that chmod and setfacl take: "rx".
func (p Perm) String() string {
	var s string
	for i, letter := range "rwx" {
		if p&(4>>i) != 0 {
			s += string(letter)
		}
	}
	return s
}

// An Inode is what the kernel judges by.
type Inode struct {
	Mode     fs.FileMode // type, permission bits, sticky
	UID, GID int
	ACL      ACL // nil: none beyond the mode
}

// A class is which of an inode's rights count for a user.
type class uint8

const (
	owner class = iota
	named       // by an ACL entry of its own
	group       // the owning group, or groups named in an ACL
	other
)

// capabilities that pass file rights (capabilities(7)).
const (
	dacOverride   = 1
	dacReadSearch = 2
)

// has tells whether a user's processes have a capability. Root has all, as far as nothing else is known.
func (u User) has(capability int) bool {
	if u.Caps == nil {
		return u.UID == 0
	}
	return *u.Caps>>capability&1 != 0
}

// in tells whether a user is a member of a group.
func (u User) in(gid int) bool { return u.GID == gid || slices.Contains(u.Groups, gid) }

// judge returns the class that counts for a user, and which of the wanted bits it does not give. The bits of one group
// entry are not added to those of another: lacking is what the best of them lacks.
func (n Inode) judge(u User, want Perm) (c class, lacks Perm) {
	mode := Perm(n.Mode.Perm() >> 3 & 7) // the group's digit, which is the mask where there is an ACL
	switch {
	case u.UID == n.UID:
		return owner, want &^ Perm(n.Mode.Perm()>>6)
	case n.ACL != nil && mode != 0:
		return n.ACL.judge(u, n.GID, want)
	case u.in(n.GID):
		return group, want &^ mode
	}
	return other, want &^ Perm(n.Mode.Perm()&7)
}

// Lacks returns which of the wanted rights the user does not have at this inode. It knows nothing of the way to it, nor of read-only
// file systems.
func (n Inode) Lacks(u User, want Right) Right {
	bits := want.bits()
	_, lacks := n.judge(u, bits)
	if lacks == 0 {
		return 0
	}
	switch {
	case n.Mode.IsDir():
		if u.has(dacOverride) || bits&mayW == 0 && u.has(dacReadSearch) {
			return 0
		}
	case u.has(dacOverride) && (bits&mayX == 0 || n.Mode.Perm()&0o111 != 0):
		return 0
	case bits == mayR && u.has(dacReadSearch):
		return 0
	}
	var missing Right
	for _, one := range []Right{Enter, Read, Write, Run} {
		if want&one != 0 && one.bits()&lacks != 0 {
			missing |= one
		}
	}
	return missing
}
