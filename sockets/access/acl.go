package access

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// An ACL is a POSIX access control list: the entries in the order in which the kernel keeps and asks them.
type ACL []Entry

// An Entry is one line of an ACL.
type Entry struct {
	Tag  Tag
	Perm Perm
	ID   int // uid of a User entry, gid of a Group entry
}

// A Tag says whom an entry is for. The numbers are those of the extended attribute (linux/posix_acl.h).
type Tag uint16

// The tags.
const (
	TagOwner       Tag = 0x01 // the file's owner
	TagUser        Tag = 0x02 // a user by number
	TagOwningGroup Tag = 0x04 // the file's group
	TagGroup       Tag = 0x08 // a group by number
	TagMask        Tag = 0x10 // the most that TagUser, TagOwningGroup and TagGroup give
	TagOther       Tag = 0x20
)

// maxACL bounds an ACL in bytes: the kernel keeps no extended attribute that is larger (XATTR_SIZE_MAX, xattr(7)).
const maxACL = 64 << 10

// aclVersion begins the attribute (linux/posix_acl_xattr.h).
const aclVersion = 2

// ParseACL reads the extended attribute system.posix_acl_access: a version in four bytes, then 8 bytes for each entry (tag,
// rights, id), all little endian. What the kernel could not have written (acl_valid(3)) is an error: it is what a
// file system of somebody else's (FUSE, a network) has made up.
func ParseACL(raw []byte) (ACL, error) {
	switch {
	case len(raw) > maxACL:
		return nil, fmt.Errorf("the ACL has %d bytes, and at most %d are read", len(raw), maxACL)
	case len(raw) < 4 || (len(raw)-4)%8 != 0:
		return nil, fmt.Errorf("the ACL has %d bytes, which is no whole number of entries", len(raw))
	}
	if v := binary.LittleEndian.Uint32(raw); v != aclVersion {
		return nil, fmt.Errorf("the ACL has the version %d; only %d is known", v, aclVersion)
	}
	var list ACL
	for at := 4; at < len(raw); at += 8 {
		e := Entry{Tag: Tag(binary.LittleEndian.Uint16(raw[at:]))}
		bits := binary.LittleEndian.Uint16(raw[at+2:])
		if bits > 7 {
			return nil, fmt.Errorf("an entry of the ACL has the rights %#x; there are r, w and x", bits)
		}
		e.Perm = Perm(bits)
		if e.Tag == TagUser || e.Tag == TagGroup {
			e.ID = int(binary.LittleEndian.Uint32(raw[at+4:]))
		}
		list = append(list, e)
	}
	return list, list.valid()
}

// valid tells whether the kernel would keep this list: one owner, one owning group, one other, in the order of the tags; a mask if
// anybody is named, and never two. Ids may repeat (the kernel does not look; the first counts).
func (a ACL) valid() error {
	var seen [TagOther + 1]int
	last := Tag(0)
	for _, e := range a {
		switch e.Tag {
		case TagOwner, TagUser, TagOwningGroup, TagGroup, TagMask, TagOther:
		default:
			return fmt.Errorf("the ACL has an entry with the unknown tag %#x", uint16(e.Tag))
		}
		if e.Tag < last {
			return errors.New("the entries of the ACL are not in order")
		}
		last = e.Tag
		seen[e.Tag]++
	}
	switch {
	case seen[TagOwner] != 1 || seen[TagOwningGroup] != 1 || seen[TagOther] != 1 || seen[TagMask] > 1:
		return errors.New("the ACL does not have one entry each for owner, group and others")
	case seen[TagMask] == 0 && seen[TagUser]+seen[TagGroup] > 0:
		return errors.New("the ACL names users or groups and has no mask")
	}
	return nil
}

// mask is the most that entries of users and groups give.
func (a ACL) mask() Perm {
	for _, e := range a {
		if e.Tag == TagMask {
			return e.Perm
		}
	}
	return 7
}

// judge asks the entries in their order, as posix_acl_permission of the kernel does. The owner is not asked here.
func (a ACL) judge(u User, gid int, want Perm) (class, Perm) {
	member, best := false, want
	mask := a.mask()
	for _, e := range a {
		switch e.Tag {
		case TagUser:
			if e.ID == u.UID {
				return named, want &^ (e.Perm & mask)
			}
		case TagOwningGroup, TagGroup:
			if e.Tag == TagOwningGroup && !u.in(gid) || e.Tag == TagGroup && !u.in(e.ID) {
				continue
			}
			// The first entry that holds all that is wanted decides, and the mask is asked after that; an entry that does not
			// is passed over.
			member = true
			if lacks := want &^ (e.Perm & mask); lacks == 0 || fewer(lacks, best) {
				best = lacks
			}
		case TagOther:
			if !member {
				return other, want &^ e.Perm
			}
		}
	}
	return group, best
}

// fewer tells whether a has fewer bits than b.
func fewer(a, b Perm) bool {
	count := func(p Perm) (n int) {
		for ; p != 0; p &= p - 1 {
			n++
		}
		return n
	}
	return count(a) < count(b)
}
