package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/shell"
)

// Datagrams send each line as a datagram to a UDP address or a Unix socket, as uWSGI does, or to syslog. They belong to one goroutine.
// No write waits: what the other side does not take goes elsewhere.
type Datagrams struct {
	o      DatagramOptions
	fd     int       // -1: not open
	again  time.Time // when opening may be tried next
	reason error     // why lines go elsewhere; nil: all is well
	lost   int       // lines that went elsewhere since
	slow   bool      // the last wait was in vain, so the next line does not wait
	deaf   time.Time // until when lines go elsewhere too, because nobody listened on the UDP port a moment ago
}

// DatagramOptions are where and how to send.
type DatagramOptions struct {
	Address netip.AddrPort // UDP; invalid: Path counts
	Path    string         // of a Unix datagram socket
	Head    *Head          // each line gets the head of syslog; nil: lines are sent with their line feed, as uWSGI's logto does
	Instead io.Writer      // takes the lines that cannot be sent
	Say     func(text string) []byte
}

// A Head is what syslog puts before a line: <PRIORITY>MONTH DAY TIME NAME: (RFC 3164, 4.1), as uWSGI has it.
type Head struct {
	Name     string
	Facility int  // 0 to 23
	Levels   bool // a line that begins with "<0>" to "<7>" names its own severity (sd-daemon(3)); else it is 6, information
}

// SyslogSocket is where syslog listens.
const SyslogSocket = "/dev/log"

// Limits of datagrams.
const (
	maxDatagram = 8 << 10                // bytes of one; what is longer is cut, as rsyslog does by default
	deafness    = 2 * time.Second        // how long a refusal of a UDP port counts
	sendBuffer  = 1 << 20                // bytes that may wait for a syslog that is slow
	patience    = 200 * time.Millisecond // for all lines of one write together, if a Unix socket is full
)

// OpenDatagrams opens the way. The Datagrams are good in any case: where there is an error, lines go elsewhere until there is a way.
func OpenDatagrams(o DatagramOptions) (*Datagrams, error) {
	d := &Datagrams{o: o, fd: -1}
	err := d.open()
	if err != nil {
		d.reason, d.again = err, time.Now().Add(retry)
	}
	return d, err
}

// target names where lines go, for messages.
func (o DatagramOptions) target() string {
	if o.Address.IsValid() {
		return o.Address.String()
	}
	return o.Path
}

func (d *Datagrams) open() error {
	var to unix.Sockaddr = &unix.SockaddrUnix{Name: d.o.Path}
	family := unix.AF_UNIX
	if a := d.o.Address; a.IsValid() && a.Addr().Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	} else if a.IsValid() {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot make a socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	if err := unix.Connect(fd, to); err != nil {
		_ = unix.Close(fd)
		return d.explain(err)
	}
	d.fd = fd
	return nil
}

func (d *Datagrams) explain(err error) error {
	switch {
	case d.o.Address.IsValid():
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w; nobody takes datagrams there: start what shall (for /dev/log: rsyslogd, or systemd-journald)", err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w; uid %d needs the right to write the socket; see: ls -l %s", err, os.Geteuid(), shell.Word(d.o.Path))
	case errors.Is(err, unix.EPROTOTYPE):
		return fmt.Errorf("%w: it is no datagram socket; name another one", err)
	}
	return err
}

// Write sends whole lines. It always takes all of them.
func (d *Datagrams) Write(lines []byte) (int, error) {
	now := time.Now()
	if d.fd < 0 && !now.Before(d.again) {
		if d.reason = d.reopen(now); d.reason == nil && d.lost > 0 {
			d.elsewhere(d.o.Say(fmt.Sprintf("the log is sent to %s again; %d lines went elsewhere", d.o.target(), d.lost)))
			d.lost = 0
		}
	}
	wait := now
	if !d.slow {
		wait = now.Add(patience)
	}
	for text := lines; len(text) > 0; {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		if text = rest; len(line) > 0 {
			d.line(line, now, wait)
		}
	}
	return len(lines), nil
}

func (d *Datagrams) reopen(now time.Time) error {
	err := d.open()
	if d.again = (time.Time{}); err != nil {
		d.again = now.Add(retry)
	}
	return err
}

// line sends one line, or has it go elsewhere.
func (d *Datagrams) line(line []byte, now, wait time.Time) {
	err := d.reason
	if d.fd >= 0 {
		err = d.send(d.o.Head.packet(line, now), wait)
	}
	switch {
	case err == nil:
	case errors.Is(err, unix.ECONNREFUSED) && d.o.Address.IsValid(): // about a line before; this one is sent
		if now.After(d.deaf) {
			d.elsewhere(d.o.Say(fmt.Sprintf("nobody listens on UDP %s, so some lines of the log are lost; they go here too until somebody does", d.o.target())))
		}
		d.deaf = now.Add(deafness)
		_ = d.send(d.o.Head.packet(line, now), wait)
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		d.gone(fmt.Errorf("nobody takes the lines fast enough: %w", err), line)
		return
	default:
		if d.fd >= 0 {
			_ = unix.Close(d.fd)
			d.fd, d.again = -1, now // a syslog that was started again is a new socket
			if err = d.reopen(now); err == nil && d.send(d.o.Head.packet(line, now), wait) == nil {
				return
			}
			err = d.explain(err)
		}
		d.gone(err, line)
		return
	}
	if now.Before(d.deaf) {
		d.elsewhere(append(append([]byte(nil), line...), '\n'))
	} else if d.reason != nil {
		d.elsewhere(d.o.Say(fmt.Sprintf("the log is sent to %s again; %d lines went elsewhere, because: %v", d.o.target(), d.lost, d.reason)))
		d.reason, d.lost = nil, 0
	}
}

// gone has a line go elsewhere, and says why if that is new.
func (d *Datagrams) gone(why error, line []byte) {
	if why == nil {
		why = unix.ENOTCONN
	}
	if d.lost == 0 || d.reason == nil || d.reason.Error() != why.Error() {
		d.elsewhere(d.o.Say(fmt.Sprintf("the log cannot be sent to %s: %v; lines go here until it can be", d.o.target(), why)))
	}
	d.reason = why
	d.lost++
	d.elsewhere(append(append([]byte(nil), line...), '\n'))
}

// send sends one datagram. A full Unix socket is waited for until wait: syslog may be a moment behind.
func (d *Datagrams) send(packet []byte, wait time.Time) error {
	for {
		_, err := unix.SendmsgN(d.fd, packet, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		left := time.Until(wait)
		d.slow = errors.Is(err, unix.EAGAIN)
		if !errors.Is(err, unix.EAGAIN) || left <= 0 {
			return err
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLOUT}}, int(left.Milliseconds())+1)
	}
}

func (d *Datagrams) elsewhere(text []byte) {
	if d.o.Instead != nil {
		_, _ = d.o.Instead.Write(text) // there is nobody else to tell
	}
}

// packet makes a datagram of a line.
func (h *Head) packet(line []byte, now time.Time) []byte {
	line = line[:min(len(line), maxDatagram)]
	if h == nil {
		return append(append(make([]byte, 0, len(line)+1), line...), '\n')
	}
	severity := byte(6)
	if h.Levels && len(line) > 3 && line[0] == '<' && line[1] >= '0' && line[1] <= '7' && line[2] == '>' {
		severity, line = line[1]-'0', line[3:]
	}
	out := append(make([]byte, 0, len(line)+len(h.Name)+32), '<')
	out = append(strconv.AppendInt(out, int64(h.Facility*8)+int64(severity), 10), '>')
	out = now.AppendFormat(out, time.Stamp)
	out = append(append(append(out, ' '), h.Name...), ": "...)
	return append(out, line...)
}

// Close closes the socket.
func (d *Datagrams) Close() {
	if d.fd >= 0 {
		_ = unix.Close(d.fd)
		d.fd = -1
	}
}
