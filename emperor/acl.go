package emperor

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// A writer is a user or a group that may write a file beside its owner and everybody.
type writer struct {
	group bool
	id    int
	acl   bool // the file has an ACL, and so is mended with setfacl
}

// The entries of a POSIX ACL as the kernel keeps them (linux/posix_acl_xattr.h): a version, then tag, rights and number
// of each.
const (
	aclVersion  = 2
	aclHeader   = 4
	aclEntry    = 8
	aclUser     = 0x02
	aclOwnGroup = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclWrite    = 0x02
)

// maxACL bounds what is read of an ACL: the most that an extended attribute may have (XATTR_SIZE_MAX).
const maxACL = 64 << 10

// writersOf returns who else may write the file that fd has open and st describes. With an ACL the group's bits of the
// mode are its mask: they say nothing of the group, and nobody whom the ACL names has more.
func writersOf(fd int, st *unix.Stat_t) ([]writer, error) {
	if st.Mode&0o020 == 0 {
		return nil, nil
	}
	plain := []writer{{group: true, id: int(st.Gid)}}
	buf := make([]byte, 1<<10)
	n, err := unix.Fgetxattr(fd, "system.posix_acl_access", buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, maxACL)
		n, err = unix.Fgetxattr(fd, "system.posix_acl_access", buf)
	}
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.EOPNOTSUPP) {
		return plain, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeACL(buf[:n], int(st.Gid))
}

// decodeACL lists who may write by an ACL of a file whose group is gid.
func decodeACL(text []byte, gid int) ([]writer, error) {
	if len(text) < aclHeader || (len(text)-aclHeader)%aclEntry != 0 || binary.LittleEndian.Uint32(text) != aclVersion {
		return nil, errors.New("its ACL is not one that is understood here")
	}
	var all []writer
	masked := false
	for rest := text[aclHeader:]; len(rest) > 0; rest = rest[aclEntry:] {
		tag, may, id := binary.LittleEndian.Uint16(rest), binary.LittleEndian.Uint16(rest[2:])&aclWrite != 0, int(binary.LittleEndian.Uint32(rest[4:]))
		switch {
		case tag == aclMask:
			masked = !may
		case !may:
		case tag == aclUser:
			all = append(all, writer{id: id, acl: true})
		case tag == aclOwnGroup:
			all = append(all, writer{group: true, id: gid, acl: true})
		case tag == aclGroup:
			all = append(all, writer{group: true, id: id, acl: true})
		}
	}
	if masked {
		return nil, nil
	}
	return all, nil
}
