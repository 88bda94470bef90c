package vassal

import (
	"errors"
	"time"
)

// reload starts a second host beside the first one. Where vassald reads the configuration itself, it reads it again.
// asking: a uWSGI emperor is to send emperor://NAME first; where the reload is its own idea, it has.
// A reload that is asked for while another is under way replaces it: the files may have changed again.
func (s *supervisor) reload(now time.Time, asking bool) {
	if s.stopping {
		return
	}
	if s.coming != nil {
		mercy := s.app.Mercy // some of its workers may hold requests already, though their word has not been heard yet
		if s.coming.stage == loading {
			mercy = 0
		}
		s.coming.leave(now, mercy)
		s.coming = nil
	}
	if s.reread != nil {
		app, err := s.again(asking)
		if errors.Is(err, errGivenUp) {
			return
		}
		if err != nil {
			s.refuse(err)
			return
		}
		if !sameSockets(s.app, app) {
			s.say("the sockets have changed in the file; they are only taken at the start: restart vassald")
		}
		s.app = app
		s.openLog()
	}
	if s.current == nil { // between two hosts: the next one is the new one
		return
	}
	h, err := s.start()
	if err != nil {
		s.refuse(err)
		return
	}
	s.say("reloads: the new host (pid %d) loads the application, the old one serves on", h.pid)
	s.hosts, s.coming = append(s.hosts, h), h
}

// refuse says why a reload cannot even begin.
func (s *supervisor) refuse(err error) {
	text := "the reload failed and the old application serves on: " + err.Error()
	s.say("%s", text)
	s.notice(text)
}

func sameSockets(a, b *application) bool {
	if len(a.Sockets) != len(b.Sockets) {
		return false
	}
	for i := range a.Sockets {
		if a.Sockets[i].Address != b.Sockets[i].Address {
			return false
		}
	}
	return true
}
