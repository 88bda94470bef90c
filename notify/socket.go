package notify

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// MaxQueue is how many messages may wait for a reader that does not read. Beyond it the oldest are dropped.
const MaxQueue = 1 << 16

// A Socket is the way to the one who started this program. It never waits: what cannot be sent now stays in a queue that
// Flush tries again. It belongs to one goroutine. A nil Socket takes everything and says it to nobody.
type Socket struct {
	file  *os.File
	to    unix.Sockaddr
	queue []string
}

// Open finds the socket in an environment: NOTIFY_SOCKET, a path or "@" with an abstract name (sd_notify(3)). It is nil
// where there is none. The socket is not connected: systemd may make its own anew.
func Open(env []string) (*Socket, error) {
	name := variable(env, "NOTIFY_SOCKET")
	switch {
	case name == "":
		return nil, nil
	case len(name) < 2 || name[0] != '/' && name[0] != '@':
		return nil, fmt.Errorf("NOTIFY_SOCKET=%q is neither a path nor an abstract name", Line(name, 200))
	case len(name) > 107: // sun_path has 108 bytes (unix(7))
		return nil, fmt.Errorf("NOTIFY_SOCKET has %d bytes, a socket's name at most 107", len(name))
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot make a socket to notify systemd: %w", err)
	}
	return &Socket{file: os.NewFile(uintptr(fd), "notify"), to: &unix.SockaddrUnix{Name: name}}, nil
}

// Close gives up what is still in the queue.
func (s *Socket) Close() {
	if s != nil {
		s.file.Close()
	}
}

// Say sends assignments, such as READY=1, as one message, after those that wait. No value can bring a line of its own. An
// error says that nobody can be reached; the message is dropped then.
func (s *Socket) Say(assignments ...string) error {
	if s == nil {
		return nil
	}
	lines := make([]string, len(assignments))
	for i, a := range assignments {
		lines[i] = Line(a, maxLine)
	}
	if len(s.queue) >= MaxQueue {
		s.queue = s.queue[1:]
	}
	s.queue = append(s.queue, strings.Join(lines, "\n"))
	return s.Flush()
}

// maxLine bounds one assignment. systemd reads messages of 4096 bytes at most (NOTIFY_BUFFER_MAX).
const maxLine = 1000

// Behind tells whether something waits for Flush.
func (s *Socket) Behind() bool { return s != nil && len(s.queue) > 0 }

// Flush sends what waits, as far as the reader takes it.
func (s *Socket) Flush() error {
	if s == nil {
		return nil
	}
	for len(s.queue) > 0 {
		err := s.send(s.queue[0], nil)
		if full(err) {
			return nil
		}
		s.queue = s.queue[1:]
		if err != nil {
			return err
		}
	}
	s.queue = nil
	return nil
}

// Offer sends assignments and a descriptor, unless something waits or the reader is full: then it returns false, and the
// caller tries again later. The kernel gives the reader a descriptor of its own.
func (s *Socket) Offer(fd int, assignments ...string) (bool, error) {
	if s == nil {
		return true, nil
	}
	if err := s.Flush(); err != nil || s.Behind() {
		return false, err
	}
	err := s.send(strings.Join(assignments, "\n"), unix.UnixRights(fd))
	if full(err) {
		return false, nil
	}
	return err == nil, err
}

func (s *Socket) send(text string, rights []byte) error {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("cannot notify systemd: %w", err)
	}
	e := raw.Control(func(fd uintptr) {
		for {
			if err = unix.Sendmsg(int(fd), []byte(text), rights, s.to, unix.MSG_NOSIGNAL); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	if e != nil || err != nil {
		return fmt.Errorf("cannot notify systemd: %w", errors.Join(e, err))
	}
	return nil
}

// full tells whether an error goes away when the reader reads.
func full(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ETOOMANYREFS)
}

// Line makes text safe for one line of a message or a terminal: control characters and what is no UTF-8 become "?", and what
// is longer than limit bytes is cut.
func Line(text string, limit int) string {
	if len(text) > limit {
		cut := limit - len("…")
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:max(cut, 0)] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError || r == '\u2028' || r == '\u2029' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, text)
}

// variable returns the last value of a variable.
func variable(env []string, name string) (value string) {
	for _, kv := range env {
		if v, found := strings.CutPrefix(kv, name+"="); found {
			value = v
		}
	}
	return value
}
