package configs

import "strings"

// A LogFile says where a log is written.
type LogFile struct {
	Path     string // logto, logto2, in a vassal daemonize too: as written; empty: nowhere but to standard error
	Late     bool   // Path is that of logto2, seen from the folder of chdir
	Truncate bool   `option:"log-truncate"`   // emptied at the start
	Max      uint64 `option:"log-maxsize"`    // bytes from which on it is moved away; 0: never
	Backup   string `option:"log-backupname"` // where it is moved to; empty: its own name and the time
}

// logto reads logto, logto2 and, in a vassal, daemonize. As in uWSGI the log of logto2 takes the place of the other one.
func (p *parser) logto(l *LogFile, s Setting) {
	late := s.Key == "logto2"
	switch {
	case s.Value == "":
		p.say(s, "names no file; the log stays where it is")
	case isUDP(s.Value):
		p.say(s, "is a UDP address, and sending the log there is not honoured yet: until then the log stays where it is; journald and rsyslog can send it on")
	case late || !l.Late:
		l.Path, l.Late = s.Value, late
	}
}

// isUDP tells whether a log is to be sent to HOST:PORT.
func isUDP(value string) bool {
	host, port, found := strings.Cut(value, ":")
	return found && isDigits(port) && !strings.Contains(host, "/")
}
