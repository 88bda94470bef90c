package doctor

import "fmt"

// The codes of what is wrong with a socket. None changes its meaning.
const (
	BadAddress = "bad-address" // the address is none
	CannotLook = "cannot-look" // nothing can be said: run it as root
	NoAccess   = "no-access"   // a folder on the way, or the socket, does not let the web server in
)

// denied is what nginx says of EACCES.
const denied = "nginx answers 502: connect() failed (13: Permission denied)"

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
