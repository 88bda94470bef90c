package configs

import (
	"io"
	"io/fs"
	"strings"
	"testing"
)

// texts is a Reading whose files are these texts.
func texts(files map[string]string, args ...string) Reading {
	return Reading{
		Args: args, Env: []string{"HOME=/root"}, Dir: "/etc/uwsgi-emperor/vassals", Hostname: "web1", Binary: "/usr/bin/vassald",
		Open: func(name string) (io.ReadCloser, error) {
			text, ok := files[name]
			if !ok {
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
			}
			return io.NopCloser(strings.NewReader(text)), nil
		},
	}
}

// shop reads one vassal file; values that the reading refuses are left to be judged again.
func shop(t *testing.T, text string) Settings {
	t.Helper()
	s, err := Read(texts(map[string]string{"shop.ini": text}, "--ini", "shop.ini"))
	if s == nil {
		t.Fatal(err)
	}
	return s
}

// whole is the vassal file of the README.
const whole = `[uwsgi]
plugin = python3
chdir = /srv/shop
module = shop.wsgi:application
master = true
processes = 2
socket = /run/uwsgi/shop.sock
chmod-socket = 660
chown-socket = shop:www-data
buffer-size = 6553
vacuum = true
`

// minimal is what every vassal needs.
const minimal = "[uwsgi]\nsocket = s.sock\nmodule = m\n"
