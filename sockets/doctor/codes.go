package doctor

import "fmt"

// The codes of what is wrong with a socket. None changes its meaning; Codes says what each is.
const (
	BadAddress     = "bad-address"
	CannotLook     = "cannot-look"
	FolderMissing  = "folder-missing"
	ListenerOther  = "listener-other"
	MissingLink    = "dangling-link"
	MountOther     = "mount-other"
	NoAnswer       = "no-answer"
	NobodyListens  = "nobody-listens"
	NoWay          = "no-way"
	NotASocket     = "not-a-socket"
	QueueFull      = "queue-full"
	SocketClosed   = "socket-closed"
	SocketMissing  = "socket-missing"
	SpeaksHTTP     = "speaks-http"
	SpeaksOther    = "speaks-other"
	Unreachable    = "unreachable"
	VassalNotReady = "vassal-not-ready"
)

// Codes says what each code of a socket means. A tenant's findings have the codes of package configs/check.
var Codes = []struct{ Code, Meaning string }{
	{BadAddress, "the address is none that anybody could listen on"},
	{CannotLook, "nothing can be said about it: whoever asks may not look there; ask as root"},
	{MissingLink, "a link on the way to the socket leads nowhere"},
	{FolderMissing, "the socket's folder is not there"},
	{ListenerOther, "another process listens there than the vassal's"},
	{MountOther, "the web server sees another file system there (PrivateTmp, a container)"},
	{NoAnswer, "whoever listens does not answer in time: all workers are busy or hang"},
	{NoWay, "a folder on the way does not let the web server through"},
	{NobodyListens, "the socket is there, and no process listens on it"},
	{NotASocket, "something else than a socket is at its path"},
	{QueueFull, "so many connections wait that the kernel takes no more"},
	{SocketClosed, "the socket itself does not let the web server in"},
	{SocketMissing, "the socket is not there"},
	{SpeaksHTTP, "an HTTP server listens where uwsgi is expected"},
	{SpeaksOther, "whoever listens speaks something else than uwsgi"},
	{Unreachable, "no connection comes about: no such address, a firewall"},
	{VassalNotReady, "the socket is fine, and its vassal is not serving"},
}

// What nginx says in its log, and answers.
const (
	denied  = "nginx answers 502: connect() to the socket failed (13: Permission denied)"
	gone    = "nginx answers 502: connect() to the socket failed (2: No such file or directory)"
	refused = "nginx answers 502: connect() to the socket failed (111: Connection refused)"
	full    = "nginx answers 502: connect() to the socket failed (11: Resource temporarily unavailable)"
	cut     = "nginx answers 502: upstream prematurely closed connection while reading response header"
	slow    = "nginx answers 504: upstream timed out (110: Connection timed out)"
)

func (s Socket) subject() string {
	if s.Vassal != "" {
		return s.Vassal
	}
	return s.Address
}

// place is where the socket is asked for.
func (s Socket) place() string {
	switch {
	case s.File == "":
		return s.Address
	case s.Line == 0:
		return s.File
	}
	return fmt.Sprintf("%s:%d", s.File, s.Line)
}

// finding begins a finding about the socket itself.
func (s Socket) finding(code, why, cause string, args ...any) Finding {
	return Finding{Code: code, Subject: s.subject(), Place: s.place(), Cause: fmt.Sprintf(cause, args...), Why: why}
}
