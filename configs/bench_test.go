package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// vassalOf is a file of 40 lines with two includes, different for each number.
func vassalOf(n int) string {
	return fmt.Sprintf(`[uwsgi]
; application %[1]d of many
name = app%[1]d
base = /srv/%%(name)
socketdir = /run/uwsgi

include = common.ini
include = logging.ini

plugin = python3
chdir = %%(base)/current
module = %%(name).wsgi:application
home = %%(base)/venv
pythonpath = %%(base)/lib
pythonpath = %%(base)/shared

socket = %%(socketdir)/%%n.sock
chmod-socket = 660
chown-socket = %%(name):www-data
vacuum = true

env = DJANGO_SETTINGS_MODULE=%%(name).settings
env = HOME=%%(base)
env = PORT=%[2]d
env = PATH_TRANSLATED=$(PATH)

if-exists = %%d/debug
env = DEBUG=1
endif =

for = static media uploads
static-map = /%%(_)=%%(base)/%%(_)
endfor =

processes = %[3]d
threads = 2
harakiri = %%(harakiri-of-all)
max-requests = 1000
buffer-size = 8192
limit-as = 1024
reload-mercy = 8
`, n, 1024+n, 1+n%8)
}

// empire writes so many vassals and what they include into a folder.
func empire(b *testing.B, count int) (dir string, names []string) {
	b.Helper()
	dir = b.TempDir()
	files := map[string]string{
		"common.ini":  "[uwsgi]\nmaster = true\nharakiri-of-all = 30\nlazy-apps = true\nneed-app = true\ndie-on-term = true\nenable-threads = true\n",
		"logging.ini": "[uwsgi]\nlog-master = true\nlog-date = %%Y-%%m-%%d\ndisable-logging = false\nlogto = /var/log/uwsgi/%n.log\n",
	}
	for n := range count {
		name := fmt.Sprintf("app%05d.ini", n)
		names = append(names, name)
		files[name] = vassalOf(n)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir, names
}

// resolved is one file as `vassald --resolve --ini NAME` reads it.
func resolved(b *testing.B, dir, name string) {
	r := Resolve(Reading{Args: []string{"--ini", name}, Env: []string{"PATH=/usr/bin:/bin", "HOME=/root"}, Dir: dir, Hostname: "web1", Binary: "/usr/bin/vassald"})
	if r.Error != "" || len(r.Sockets) != 1 || len(r.Settings) < 40 {
		b.Fatalf("%s: %d settings, %s", name, len(r.Settings), r.Error)
	}
}

// BenchmarkResolve40Lines has the goal that a 40-line file with two includes takes no more than a millisecond.
func BenchmarkResolve40Lines(b *testing.B) {
	dir, names := empire(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		resolved(b, dir, names[0])
	}
	b.ReportMetric(float64(b.Elapsed())/float64(time.Millisecond)/float64(b.N), "ms/file")
	b.ReportMetric(1, "ms/file-goal")
}

// BenchmarkResolve10000 has the goal that one core reads 10,000 different files in five seconds.
func BenchmarkResolve10000(b *testing.B) {
	const count = 10000
	dir, names := empire(b, count)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for b.Loop() {
		for _, name := range names {
			resolved(b, dir, name)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/10000-files")
	b.ReportMetric(5, "s/10000-files-goal")
}

// BenchmarkParseVassal is the part of it that makes typed structs of settings.
func BenchmarkParseVassal(b *testing.B) {
	settings, err := Read(texts(map[string]string{"app.ini": vassalOf(1), "common.ini": "[uwsgi]\nharakiri-of-all = 1\n", "logging.ini": "[uwsgi]\nmaster = 1\n"}, "--ini", "app.ini"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParseVassal(settings); err != nil {
			b.Fatal(err)
		}
	}
}
