package configs

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A LogFile says where a log is written.
type LogFile struct {
	Path     string        // logto, logto2, in a vassal daemonize too: as written; empty: to no file
	Late     bool          // Path is that of logto2, seen from the folder of chdir
	Truncate bool          `option:"log-truncate"`   // emptied at the start
	Max      uint64        `option:"log-maxsize"`    // bytes from which on it is moved away; 0: never
	Backup   string        `option:"log-backupname"` // where it is moved to; empty: its own name and the time
	To       []Destination // where each line is sent; with no Path either the log goes to standard error
}

// A Destination takes each line of a log as a datagram.
type Destination struct {
	Address  netip.AddrPort // logto, log-socket: UDP; invalid: Path or syslog counts
	Path     string         // log-socket: of a Unix socket, as written
	Syslog   string         // log-syslog: the name that lines go to syslog under
	Facility int            // of syslog
}

// Any tells whether the log goes elsewhere than to standard error.
func (l LogFile) Any() bool { return l.Path != "" || len(l.To) > 0 }

// Equal tells whether both say the same.
func (l LogFile) Equal(o LogFile) bool {
	return l.Path == o.Path && l.Late == o.Late && l.Truncate == o.Truncate && l.Max == o.Max && l.Backup == o.Backup && slices.Equal(l.To, o.To)
}

// maxDestinations bounds what a vassal file can have each line copied to.
const maxDestinations = 8

// logto reads logto, logto2 and, in a vassal, daemonize. As in uWSGI the log of logto2 takes the place of the other one, and a value
// such as 127.0.0.1:1717 is a UDP address.
func (p *parser) logto(l *LogFile, s Setting) {
	late := s.Key == "logto2"
	switch {
	case s.Value == "":
		p.say(s, "names no file; the log stays where it is")
	case isUDP(s.Value):
		p.logSocket(l, s)
	case late || !l.Late:
		l.Path, l.Late = s.Value, late
	}
}

// logSocket reads the address of log-socket, or of a logto that is a UDP address.
func (p *parser) logSocket(l *LogFile, s Setting) {
	value, prefix, prefixed := strings.Cut(s.Value, ",")
	if prefixed && prefix != "" {
		p.say(s, "has a text to put before each line, which is not honoured; log-syslog has a name for its lines")
	}
	if !isUDP(value) {
		if path, err := plainPath(Setting{Key: s.Key, Value: value, Place: s.Place}); err != nil || strings.Contains(value, ":") {
			p.say(s, "is neither an address such as 127.0.0.1:1717 nor the path of a Unix socket; the log is not sent there")
		} else {
			p.send(l, s, Destination{Path: path})
		}
		return
	}
	text := strings.TrimPrefix(value, "udp:")
	host, port := text[:strings.LastIndexByte(text, ':')], text[strings.LastIndexByte(text, ':')+1:]
	if host == "" || host == "localhost" {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	number, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || number == 0 || addr.Zone() != "" {
		p.say(s, "is no UDP address that lines can be sent to: a number is wanted for the host, as in uWSGI, and a port from 1 to 65535; see: getent hosts %s", hostWord(host))
		return
	}
	p.send(l, s, Destination{Address: netip.AddrPortFrom(addr.Unmap(), uint16(number))})
}

// hostWord is a name that may stand in a command; others are left to the reader.
func hostWord(host string) string {
	odd := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-", r)
	}
	if host == "" || host[0] == '-' || strings.ContainsFunc(host, odd) {
		return "NAME"
	}
	return host
}

// facilities of syslog, in the order of their numbers (syslog(3)).
var facilities = strings.Fields("kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - local0 local1 local2 local3 local4 local5 local6 local7")

// logSyslog reads log-syslog: NAME, or NAME,FACILITY. Without a name it is uwsgi, and without a facility daemon, as in uWSGI.
func (p *parser) logSyslog(l *LogFile, s Setting) {
	name, facility, _ := strings.Cut(s.Value, ",")
	if name == "" || s.Bare {
		name = "uwsgi"
	}
	if facility == "" {
		facility = "daemon"
	}
	number := slices.Index(facilities, strings.TrimPrefix(strings.ToLower(facility), "log_"))
	if number < 0 || facility == "-" {
		p.say(s, "names no facility of syslog; its lines go to the facility daemon; write for example %s = shop,local0", s.Key)
		number = 3
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '[' || r == ':' }) || len(name) > 48 {
		p.say(s, "names no program as syslog knows them: at most 48 letters and signs, no blank, [ or :; its lines go by the name uwsgi")
		name = "uwsgi"
	}
	p.send(l, s, Destination{Syslog: name, Facility: number})
}

func (p *parser) send(l *LogFile, s Setting, to Destination) {
	switch {
	case slices.Contains(l.To, to):
	case len(l.To) == maxDestinations:
		p.say(s, "is one destination too many for a log; %d are taken", maxDestinations)
	default:
		l.To = append(l.To, to)
	}
}

// isUDP tells whether a log is to be sent to HOST:PORT.
func isUDP(value string) bool {
	i := strings.LastIndexByte(value, ':')
	return i >= 0 && isDigits(value[i+1:]) && !strings.Contains(value[:i], "/")
}
