package configs

import (
	"bytes"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Version is what %V says: the version of uWSGI whose dialect is read.
const Version = "2.0.21"

// names are the magic variables of one file. Those that ask the file system are made when first wanted.
type names struct {
	reader *reader
	file   string // as it was opened
	o, x   string // name as given, section asked for
	p      string // absolute; empty: not yet asked for
}

// path is %p: the real path; but if the file itself is a symbolic link, its name as given behind the working folder.
func (n *names) path() string {
	if n.p != "" || n.reader == nil {
		return n.p
	}
	n.p = n.reader.path(n.file)
	if fi, err := os.Lstat(n.p); err == nil && fi.Mode()&os.ModeSymlink != 0 {
		return n.p
	}
	if real, err := filepath.EvalSymlinks(n.p); err == nil {
		n.p = real
	}
	return n.p
}

// folder is %d, with the slash at its end.
func (n *names) folder() string {
	p := n.path()
	return p[:strings.LastIndexByte(p, '/')+1]
}

// base is %s.
func (n *names) base() string {
	p := n.path()
	return p[strings.LastIndexByte(p, '/')+1:]
}

// component is %0 to %9: the parts of %d, the first is 0.
func (n *names) component(i int) string {
	parts := strings.Split(strings.Trim(n.folder(), "/"), "/")
	if i < len(parts) {
		return parts[i]
	}
	return ""
}

// inode is %i: of the link, if the file is one.
func (n *names) inode() string {
	if n.path() == "" {
		return ""
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(n.p, &st); err != nil {
		return ""
	}
	return strconv.FormatUint(st.Ino, 10)
}

// hash is %j: h = h·33 xor byte from 5381, its four bytes low first.
func (n *names) hash() string {
	if n.path() == "" {
		return ""
	}
	h := uint32(5381)
	for i := 0; i < len(n.p); i++ {
		h = h*33 ^ uint32(n.p[i])
	}
	return fmt.Sprintf("%02X%02X%02X%02X", byte(h), byte(h>>8), byte(h>>16), byte(h>>24))
}

// letter returns the value of a magic variable of the file, by its lower-case letter.
func (n *names) letter(c byte) string {
	switch c {
	case 'o':
		return n.o
	case 'p':
		return n.path()
	case 's':
		return n.base()
	case 'd':
		return n.folder()
	case 'c':
		d := strings.TrimRight(n.folder(), "/")
		return d[strings.LastIndexByte(d, '/')+1:]
	case 'e':
		if s := n.base(); strings.IndexByte(s, '.') >= 0 {
			return s[strings.LastIndexByte(s, '.')+1:]
		}
		return ""
	case 'n':
		s := n.base()
		if i := strings.LastIndexByte(s, '.'); i >= 0 {
			return s[:i]
		}
		return s
	case 'x':
		return n.x
	case 'i':
		return n.inode()
	case 'j':
		return n.hash()
	}
	return ""
}

// magic replaces the magic variables in the bytes of a file, before there are lines: uWSGI replaces them in keys, section
// names and comments too, and a "%" before any other byte goes with that byte, be it a newline. lines gives for
// each line of the result the line of the file it began on.
// nil is what would become too long: the name of a section is as long as its writer likes.
func (r *reader) magic(raw []byte) (text []byte, lines []int) {
	line := 1
	lines = append(make([]int, 0, bytes.Count(raw, []byte{'\n'})+1), line)
	if bytes.IndexByte(raw, '%') < 0 {
		for _, b := range raw {
			if b == '\n' {
				line++
				lines = append(lines, line)
			}
		}
		return raw, lines
	}
	text = make([]byte, 0, len(raw)+len(raw)/4)
	for i := 0; i < len(raw); i++ {
		b := raw[i]
		if b == '\n' {
			line++
			lines = append(lines, line)
		}
		if b != '%' {
			text = append(text, b)
			continue
		}
		if i++; i == len(raw) {
			break
		}
		if raw[i] == '\n' {
			line++
			continue
		}
		value := r.variable(raw[i])
		for range strings.Count(value, "\n") {
			lines = append(lines, line)
		}
		if r.work += len(value); r.work > maxWork {
			return nil, nil
		}
		text = append(text, value...)
	}
	return text, lines
}

// variable is what "%" and one byte stand for.
func (r *reader) variable(c byte) string {
	switch {
	case c >= '0' && c <= '9':
		return r.names.component(int(c - '0'))
	case strings.IndexByte("opsdcenxij", c) >= 0:
		return r.names.letter(c)
	case strings.IndexByte("OPSDCENXIJ", c) >= 0:
		if r.first == nil {
			return ""
		}
		return r.first.letter(c + 'a' - 'A')
	}
	switch c {
	case '%':
		return "%"
	case '(':
		return "%("
	case '[':
		return "\x1b"
	case 'v':
		return r.Dir
	case 'V':
		return Version
	case 'h':
		return r.hostname()
	case 't':
		return strconv.FormatInt(r.Now.Unix(), 10)
	case 'T':
		return strconv.FormatInt(r.Now.UnixMicro(), 10)
	case 'k':
		return strconv.Itoa(runtime.NumCPU())
	case 'u':
		return strconv.Itoa(os.Getuid())
	case 'g':
		return strconv.Itoa(os.Getgid())
	case 'U':
		if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil {
			return u.Username
		}
		return strconv.Itoa(os.Getuid())
	case 'G':
		if g, err := user.LookupGroupId(strconv.Itoa(os.Getgid())); err == nil {
			return g.Name
		}
		return strconv.Itoa(os.Getgid())
	case 'b':
		return r.binary()
	}
	return ""
}

func (r *reader) hostname() string {
	if r.Hostname == "" {
		r.Hostname, _ = os.Hostname()
	}
	return r.Hostname
}

func (r *reader) binary() string {
	if r.Binary == "" {
		r.Binary, _ = os.Executable()
	}
	return r.Binary
}
