package vassal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What linux/sock_diag.h and linux/unix_diag.h call these.
const (
	sockDiagByFamily = 20      // SOCK_DIAG_BY_FAMILY
	unixDiagRqlen    = 4       // UNIX_DIAG_RQLEN
	showRqlen        = 0x10    // UDIAG_SHOW_RQLEN
	listening        = 1 << 10 // a mask of TCP_LISTEN
	unixDiagMsg      = 16      // bytes of struct unix_diag_msg
)

// backlog returns how many connections wait in a listening socket until somebody accepts them.
func backlog(fd int) (int, error) {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return 0, err
	}
	if family != unix.AF_UNIX {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return 0, err
		}
		return int(info.Unacked), nil // of a listening socket: those that wait (tcp_get_info in the kernel)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	answer, err := askDiag(uint32(st.Ino))
	if err != nil {
		return 0, fmt.Errorf("sock_diag(7): %w", err)
	}
	return readDiag(answer)
}

// askDiag asks the kernel about one Unix socket.
func askDiag(inode uint32) ([]byte, error) {
	ask, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	defer unix.Close(ask)
	order := binary.NativeEndian
	q := order.AppendUint32(nil, 40) // struct nlmsghdr
	q = order.AppendUint16(q, sockDiagByFamily)
	q = order.AppendUint16(q, unix.NLM_F_REQUEST)
	q = order.AppendUint64(q, 0)
	q = append(q, unix.AF_UNIX, 0, 0, 0) // struct unix_diag_req
	q = order.AppendUint32(q, listening)
	q = order.AppendUint32(q, inode)
	q = order.AppendUint32(q, showRqlen)
	q = order.AppendUint64(q, ^uint64(0)) // whatever its cookie is
	if err := unix.Sendto(ask, q, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(ask, buf, unix.MSG_DONTWAIT) // the kernel has answered within the call above
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

var errDiag = errors.New("the answer of the kernel is not understood")

// readDiag reads the queue's length from the kernel's answer.
func readDiag(answer []byte) (int, error) {
	order := binary.NativeEndian
	if len(answer) < unix.NLMSG_HDRLEN+4 {
		return 0, errDiag
	}
	body := answer[unix.NLMSG_HDRLEN:]
	switch order.Uint16(answer[4:]) {
	case unix.NLMSG_ERROR:
		return 0, fmt.Errorf("the kernel says %w", unix.Errno(-int32(order.Uint32(body))))
	case sockDiagByFamily:
	default:
		return 0, errDiag
	}
	if len(body) < unixDiagMsg {
		return 0, errDiag
	}
	for rest := body[unixDiagMsg:]; len(rest) >= 4; {
		size := int(order.Uint16(rest))
		if size < 4 || size > len(rest) {
			return 0, errDiag
		}
		if order.Uint16(rest[2:]) == unixDiagRqlen && size >= 8 {
			return int(order.Uint32(rest[4:])), nil
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return 0, errDiag
}
