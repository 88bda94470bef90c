package emperor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/dictionary"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/sockets"
)

// Limits of the command socket.
const (
	maxCommand        = 8 << 10          // bytes of a datagram
	maxCommandEntries = 32               // names in it
	maxMessage        = 1 << 10          // bytes of the message of log
	commandRest       = time.Millisecond // between two datagrams; the kernel keeps those that wait, and then their senders
)

// A command is what one datagram of emperor-command-socket asks for. uWSGI has that socket from 2.1 on; there, and here, nothing is
// answered: what became of a command, the log says.
type command struct {
	verb    string // spawn, respawn, stop, log
	vassal  string
	message string
	foreign string // a key that is not obeyed here
}

// readCommand reads a datagram. Of a name that comes twice the last one counts, as in uWSGI.
func readCommand(packet []byte) (command, error) {
	entries, err := dictionary.Datagram(packet, maxCommandEntries)
	if err != nil {
		return command{}, fmt.Errorf("this is not a command: %w", err)
	}
	var c command
	for _, e := range entries {
		switch e.Name {
		case "cmd":
			c.verb = e.Value
		case "vassal":
			c.vassal = e.Value
		case "msg":
			c.message = e.Value
		default:
			c.foreign = e.Name
		}
	}
	switch c.verb {
	case "log":
		if c.message == "" {
			return c, errors.New("the command log has no msg")
		}
	case "spawn", "respawn", "stop":
		if c.vassal == "" {
			return c, fmt.Errorf("the command %s names no vassal", c.verb)
		}
	case "":
		return c, errors.New("this is not a command: cmd is missing")
	default:
		return c, fmt.Errorf("there is no command %q; there are spawn, respawn, stop and log", pipe.Clean(c.verb, 40))
	}
	return c, nil
}

// listenCommands makes emperor-command-socket. The kernel says with each datagram who sends it, so an address without
// such a thing is a mistake. As with the control socket, the emperor governs without one that it cannot have.
func (e *Emperor) listenCommands() (*sockets.Datagram, error) {
	if e.c.CommandSocket == "" {
		return nil, nil
	}
	address, err := sockets.ParseAddress(e.c.CommandSocket)
	if err != nil {
		return nil, mistake("emperor-command-socket: %w", err)
	}
	if address.Kind == sockets.TCP {
		return nil, mistake("emperor-command-socket = %s: nobody could tell who sends a command to a port; write a path or @name", e.c.CommandSocket)
	}
	if address.Kind == sockets.Unix && !filepath.IsAbs(address.Path) {
		address.Path = filepath.Join(e.o.Dir, address.Path)
	}
	mode := fs.FileMode(0o600)
	if e.c.SocketMode != nil {
		mode = *e.c.SocketMode
	}
	d, err := sockets.BindDatagram(address, mode)
	if err == nil {
		err = errors.Join(d.SetMode(mode), askForSenders(d))
	}
	if err != nil {
		if d != nil {
			_ = d.Remove()
		}
		e.log.Error("no commands are taken from this address; mend it and start emperord again", zap.String("option", "emperor-command-socket"), zap.Error(err))
		return nil, nil
	}
	return d, nil
}

// askForSenders has the kernel say who sends a datagram (SO_PASSCRED, unix(7)).
func askForSenders(d *sockets.Datagram) error {
	u, ok := d.PacketConn.(*net.UnixConn)
	if !ok {
		return errors.New("it is not a Unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	if failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) }); failed != nil {
		return failed
	}
	return err
}

// takeCommands reads datagrams until the socket is closed.
func (e *Emperor) takeCommands(d *sockets.Datagram) {
	u := d.PacketConn.(*net.UnixConn)
	buf, more := make([]byte, maxCommand), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	for ; ; time.Sleep(commandRest) {
		n, extra, flags, _, err := u.ReadMsgUnix(buf, more)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		sender := senderOf(more[:extra])
		if sender == nil {
			continue // the kernel always says it
		}
		var c command
		if flags&unix.MSG_TRUNC != 0 {
			err = fmt.Errorf("this is not a command: it has more than %d bytes", maxCommand)
		} else {
			c, err = readCommand(buf[:n])
		}
		e.tell(func() { e.command(sender, c, err) })
	}
}

// senderOf reads the kernel's word on who has sent a datagram. Descriptors that came along are closed by the kernel: there was
// no room for them.
func senderOf(control []byte) *unix.Ucred {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for i := range messages {
		if sender, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			return sender
		}
	}
	return nil
}

// command does what a datagram asks for, or says why not.
func (e *Emperor) command(sender *unix.Ucred, c command, err error) {
	say := func(text string, fields ...zap.Field) {
		if may, _ := e.lines.take(sender.Uid, time.Now()); may || mayAll(sender) {
			e.log.Info(text, append(fields, zap.String("command", pipe.Clean(c.verb, 40)), zap.Uint32(fieldUID, sender.Uid), zap.Int32(fieldPID, sender.Pid))...)
		}
	}
	refuse := func(text string, args ...any) {
		say("command refused", zap.String(fieldVassal, pipe.Clean(c.vassal, 255)), zap.String(fieldReason, fmt.Sprintf(text, args...)))
	}
	v := e.vassals[c.vassal]
	switch {
	case err != nil:
		refuse("%v", err)
	case e.leaving:
		refuse("the emperor is stopping")
	case c.verb == "log" && mayAll(sender):
		say("a message", zap.String("message", pipe.Clean(c.message, maxMessage)))
	case c.verb == "log":
		refuse("the emperor's log is for root")
	case v == nil && mayAll(sender) && c.foreign != "":
		refuse("there is no vassal of this name, and %s does not make one: vassals are files; write one into %s", pipe.Clean(c.foreign, 40), e.patterns[0])
	case v == nil, !e.mayVassal(sender, v): // whether there is one, only those who may see it are told
		refuse("there is no vassal of this name, or it is not the sender's")
	case v.life.State == Stopping && v.life.Then == Absent:
		refuse("it is being removed")
	case c.verb == "spawn" && v.life.Serving != 0:
		say("vassal runs already", zap.String(fieldVassal, v.name))
	default:
		say("operator asks", zap.String(fieldVassal, v.name))
		v.caller = tenant
		if mayAll(sender) {
			v.caller = operator
		}
		e.step(v, map[string]Event{"spawn": AskStart{}, "respawn": AskReload{}, "stop": AskStop{}}[c.verb])
		v.caller = nobody
	}
}
