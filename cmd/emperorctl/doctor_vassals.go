package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets"
	"github.com/emperord/emperord/sockets/access"
	"github.com/emperord/emperord/sockets/doctor"
	"github.com/emperord/emperord/sockets/nginxconf"
)

// usualFolders are where distributions and uWSGI's documentation keep vassal files.
var usualFolders = []string{"/etc/uwsgi-emperor/vassals", "/etc/emperord/vassals", "/etc/uwsgi/vassals", "/etc/uwsgi/apps-enabled", "/etc/uwsgi.d"}

// maxVassals bounds the vassal files of one folder, maxSockets the sockets of one file: the emperor takes no more.
const (
	maxVassals = 20000
	maxSockets = 64
)

// A patient is one vassal, or a socket of which no vassal is known.
type patient struct {
	name    string // empty: no vassal
	file    string
	user    access.User // who it runs as; no Name: not known
	sockets []listener
}

func (p *patient) vassal() string {
	if p.name == "" && len(p.sockets) > 0 {
		return p.sockets[0].Address
	}
	return p.name
}

// A listener is a socket with what is spoken there.
type listener struct {
	doctor.Socket
	protocol nginxconf.Protocol // empty: not known
}

// A gathering is everything that is there to be examined.
type gathering struct {
	*doctor.Examiner
	d        *diagnosis
	patients []*patient
	users    map[int]access.User      // by uid, since each look-up runs a program
	webs     map[string][]access.User // who connects to a socket
}

func (g *gathering) add(p *patient) { g.patients = append(g.patients, p) }

// patientOf is a vassal as the emperor knows it, with what its file says of sockets.
func (g *gathering) patientOf(v api.Vassal) *patient {
	p := &patient{name: v.Name, file: v.File}
	if v.UID >= 0 {
		u, known := g.users[v.UID]
		if !known {
			u, _ = access.Lookup(strconv.Itoa(v.UID)) // no Name: told by the file
			if g.users == nil {
				g.users = make(map[int]access.User)
			}
			g.users[v.UID] = u
		}
		p.user = u
	}
	p.read()
	for _, s := range v.Sockets {
		if !slices.ContainsFunc(p.sockets, func(l listener) bool { return l.Address == s.Address }) {
			p.sockets = append(p.sockets, listener{doctor.Socket{Address: s.Address, Vassal: p.name, File: p.file}, nginxconf.UWSGI})
		}
	}
	for i := range p.sockets {
		p.sockets[i].Owner = p.user
	}
	return p
}

// folders reads the vassal files of folders: those named, or the usual ones where no emperor tells.
func (g *gathering) folders(named []string) {
	if len(named) == 0 && !g.Asked {
		named = usualFolders
	}
	for _, folder := range named {
		dir, err := os.Open(folder)
		if err != nil {
			continue
		}
		names, err := dir.Readdirnames(maxVassals)
		dir.Close()
		if err != nil && !errors.Is(err, io.EOF) {
			continue
		}
		slices.Sort(names)
		for _, name := range names {
			file, err := filepath.Abs(filepath.Join(folder, name))
			if err != nil || slices.ContainsFunc(g.patients, func(p *patient) bool { return p.file == file }) {
				continue
			}
			if p := patientFile(file); p != nil {
				g.add(p)
			}
		}
	}
}

// patientFile reads a vassal file; nil where it is none.
func patientFile(name string) *patient {
	if !configs.HasFormat(name) {
		return nil
	}
	file, err := filepath.Abs(name)
	if err != nil {
		return nil
	}
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	p := &patient{name: filepath.Base(file), file: file}
	p.read()
	return p
}

// read reads the file's settings, without running or fetching what it names, and from them the sockets. A file that cannot be
// read has none: why, is for the examination of the tenant to say.
func (p *patient) read() {
	dir := filepath.Dir(p.file)
	ending := strings.TrimPrefix(filepath.Ext(p.file), ".")
	flag := map[string]string{"yml": "--yaml", "js": "--json"}[ending]
	if flag == "" {
		flag = "--" + ending
	}
	settings, _ := configs.Read(configs.Reading{Args: []string{flag, filepath.Base(p.file)}, Dir: dir, Open: openPlain(dir),
		Env:    []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Source: func(string, string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }})
	protocol := nginxconf.UWSGI
	abstract := false
	for _, s := range settings {
		switch s.Key {
		case "protocol":
			protocol = spoken(s.Value)
		case "abstract-socket":
			abstract = s.Value != "false" && s.Value != "0"
		}
	}
	for _, s := range settings {
		spoken, is := kinds[s.Key]
		if !is {
			continue
		}
		if s.Key == "socket" || s.Key == "s" {
			spoken = protocol
		}
		if len(p.sockets) == maxSockets {
			break
		}
		address, err := sockets.ParseAddress(s.Value)
		if err != nil || abstract && address.Kind == sockets.Unix {
			continue
		}
		if address.Kind == sockets.Unix && !filepath.IsAbs(address.Path) {
			address.Path = filepath.Join(dir, address.Path) // the emperor's vassals begin in their folder
		}
		p.sockets = append(p.sockets, listener{doctor.Socket{Address: address.String(), Vassal: p.name, File: p.file, Line: s.Place.Line}, spoken})
	}
}

// emperorFile is the file that a running emperor was told to read with --ini; empty where there is none, or where whoever asks may
// not read it.
func emperorFile(pid int) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	words := strings.Split(string(raw), "\x00")
	for i, word := range words {
		file, is := strings.CutPrefix(word, "--ini=")
		if word == "--ini" && i+1 < len(words) {
			file, is = words[i+1], true
		}
		if !is {
			continue
		}
		if !filepath.IsAbs(file) {
			dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
			if err != nil {
				return ""
			}
			file = filepath.Join(dir, file)
		}
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && unix.Access(file, unix.R_OK) == nil {
			return file
		}
	}
	return ""
}

// kinds are the options that ask for a socket of the application's own.
var kinds = map[string]nginxconf.Protocol{
	"socket": nginxconf.UWSGI, "s": nginxconf.UWSGI, "uwsgi-socket": nginxconf.UWSGI,
	"http-socket": nginxconf.HTTP, "http11-socket": nginxconf.HTTP, "http": nginxconf.HTTP,
	"fastcgi-socket": nginxconf.FastCGI, "fastcgi-nph-socket": nginxconf.FastCGI, "scgi-socket": nginxconf.SCGI, "scgi-nph-socket": nginxconf.SCGI,
}

// spoken is what the option protocol makes of a plain socket.
func spoken(value string) nginxconf.Protocol {
	switch value {
	case "uwsgi", "":
		return nginxconf.UWSGI
	case "http":
		return nginxconf.HTTP
	case "fastcgi", "fastcgi-nph":
		return nginxconf.FastCGI
	case "scgi", "scgi-nph":
		return nginxconf.SCGI
	}
	return nginxconf.Protocol(value)
}

// openPlain opens plain files only: a FIFO in a folder of strangers must not hold whoever looks for help.
func openPlain(dir string) func(name string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			f.Close()
			return nil, errors.New("it is no plain file")
		}
		return f, nil
	}
}
