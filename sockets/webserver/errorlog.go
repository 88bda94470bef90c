package webserver

import (
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/sockets/doctor"
	"github.com/emperord/emperord/sockets/nginxconf"
)

// maxTail is how much of the end of an error log is read, in bytes.
const maxTail = 512 << 10

// logged is a line of nginx's error log about an upstream: the time, the worker's process id, what is wrong, and the address.
// A request, which stands in the line before the upstream, is a stranger's text: no more than choosing among
// nginx's own targets is left to it.
var logged = regexp.MustCompile(`^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[\w+\] (\d+)#\d+: (?:\*\d+ )?(upstream sent too big header|recv\(\) failed \(104: Connection reset by peer\) while reading response header from upstream).*, upstream: "[a-z]+://(?:unix:([^":]+)|([^"/ ]+))`)

// A trouble is what a line of the error log tells.
type trouble struct {
	at      time.Time
	pid     int    // of the worker
	address string // of the upstream
	reset   bool   // the connection was reset; else a header was too big
}

// complaint reads a line of the error log.
func complaint(line string) (trouble, bool) {
	m := logged.FindStringSubmatch(line)
	if m == nil {
		return trouble{}, false
	}
	pid, err1 := strconv.Atoi(m[2])
	at, err2 := time.ParseInLocation("2006/01/02 15:04:05", m[1], time.Local)
	return trouble{at: at, pid: pid, address: m[4] + m[5], reset: strings.HasPrefix(m[3], "recv")}, err1 == nil && err2 == nil
}

// headers finds headers that did not fit, into nginx's buffer or into uWSGI's: nothing but the log tells. Only lines of workers
// that run now count, so that a reload with larger buffers ends the finding.
func (x *examination) headers() {
	seen, resets := map[string]bool{}, map[string]time.Time{}
	for _, name := range x.Facts.ErrorLogs {
		for _, line := range tail(under(x.Prefix, name)) {
			switch c, ok := complaint(line); {
			case !ok || !slices.Contains(x.Workers, c.pid):
			case c.reset:
				resets[key(c.address)] = c.at // the last one
			default:
				seen[key(c.address)] = true
			}
		}
	}
	x.resets(resets)
	for address := range seen { // of several locations, those with the smallest buffer are to blame
		var first []*nginxconf.Target
		var at nginxconf.Endpoint
		for i := range x.Facts.Targets {
			t := &x.Facts.Targets[i]
			hit := slices.IndexFunc(t.Endpoints, func(e nginxconf.Endpoint) bool { return key(e.String()) == address })
			if t.Protocol != nginxconf.UWSGI || hit < 0 {
				continue
			}
			if len(first) > 0 && t.Buffer.Size != first[0].Buffer.Size {
				if t.Buffer.Size > first[0].Buffer.Size {
					continue
				}
				first = nil
			}
			first, at = append(first, t), t.Endpoints[hit]
		}
		for _, t := range first {
			x.tooBig(t, at)
		}
	}
}

// page is the size of nginx's buffer where none is set (ngx_pagesize).
var page = os.Getpagesize()

func (x *examination) tooBig(t *nginxconf.Target, e nginxconf.Endpoint) {
	subject := e.String()
	if known := x.byKey[key(subject)]; len(known) > 0 {
		subject = known[0].name()
	}
	size := max(t.Buffer.Size, page)
	f := doctor.Finding{Code: HeaderTooBig, Subject: subject, Place: place(t.File, t.Line), Why: tooBig,
		Cause: fmt.Sprintf("a header of the application was larger than the %d bytes that nginx keeps for it here", size),
		Note:  "large cookies make large headers: look at what the application sets"}
	wanted := max(32, 2*size>>10)
	if t.Buffer.Size == 0 && !t.Buffer.Many {
		change, ok := replace(t.File, t.Line, t.Directive+" "+t.Text, fmt.Sprintf("uwsgi_buffer_size %dk; uwsgi_buffers 8 %dk; %s %s", wanted, wanted, t.Directive, t.Text))
		if ok {
			f.Commands = []string{change, x.Reload()}
		}
	}
	if f.Commands == nil {
		f.Note = fmt.Sprintf("write: uwsgi_buffer_size %dk; uwsgi_buffers 8 %dk; uwsgi_busy_buffers_size %dk; then: %s", wanted, wanted, 2*wanted, x.Reload())
	}
	x.find(f)
}

// tail returns the last lines of a log. One that may not be read has none.
func tail(path string) []string {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	text, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-maxTail), maxTail))
	if err != nil {
		return nil
	}
	return strings.Split(string(text), "\n")
}

// listening tells whether somebody listens at a place of this machine.
func listening(e nginxconf.Endpoint) bool {
	if e.Path == "" {
		return listeningTCP(e.Port)
	}
	return listeningUnix(e.Path)
}

// listeningUnix tells whether a process of this machine listens on the Unix socket of a path. Nobody is connected to.
func listeningUnix(socket string) bool {
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) >= 8 && f[3] == "00010000" && (f[7] == socket || path.Base(f[7]) == path.Base(socket) && strings.HasPrefix(f[7], "/") && key(f[7]) == key(socket)) { // __SO_ACCEPTCON
			return true
		}
	}
	return false
}

// listeningTCP tells whether somebody listens on a port, at any address.
func listeningTCP(port int) bool {
	want := fmt.Sprintf(":%04X", port)
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 3 && f[3] == "0A" && strings.HasSuffix(f[1], want) {
				return true
			}
		}
	}
	return false
}
