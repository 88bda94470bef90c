package webserver

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/shell"
)

// Reload returns the command that makes nginx read its configuration again, and its user's groups, or starts it. nginx's own
// check comes first: it keeps the old configuration if the new one is wrong, and a start would fail. A reload is enough
// for new groups: the master process calls initgroups for each new worker.
func (s *Server) Reload() string {
	check, program := "nginx -t -q", "nginx"
	if s.Program != "" && filepath.Dir(s.Program) != "/usr/sbin" && filepath.Dir(s.Program) != "/usr/bin" {
		program = shell.Quote(s.Program)
		check = program + " -t -q"
	}
	options := ""
	if s.Given || s.Conf != "/etc/nginx/nginx.conf" {
		options = " -p " + shell.Quote(s.Prefix) + " -c " + shell.Quote(s.Conf)
	}
	check += options
	switch {
	case s.Unit != "":
		return check + " && systemctl reload " + shell.Quote(s.Unit)
	case s.Master != 0:
		return fmt.Sprintf("%s && kill -HUP %d", check, s.Master)
	case options == "" && booted():
		return check + " && systemctl start nginx"
	}
	return check + " && " + program + options
}

// booted tells whether systemd runs the machine (sd_booted(3)).
func booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// plain is text that means nothing but itself to the shell, to sed's "s|…|…|" but for dots and brackets, and to nginx.
var plain = regexp.MustCompile(`^[A-Za-z0-9@_+=:,./; -]+$`)

// word is an address that is one plain word to nginx, to sed and to the shell.
var word = regexp.MustCompile(`^[A-Za-z0-9@_+=:,./-]+$`)

// replace returns the command that puts new in place of old on one line of a file; nothing where that cannot be done safely:
// the texts may come from strangers, and are put into a command for root.
func replace(file string, line int, old, new string) (string, bool) {
	text, ok := lineOf(file, line)
	if !ok || !plain.MatchString(old) || !plain.MatchString(new) {
		return "", false
	}
	if strings.Contains(text, old+";") {
		old, new = old+";", new+";"
	}
	if strings.Count(text, old) == 0 {
		return "", false
	}
	for at := 0; ; { // every occurrence must be the whole word
		i := strings.Index(text[at:], old)
		if i < 0 {
			break
		}
		at += i + len(old)
		if strings.HasSuffix(old, ";") || at == len(text) || strings.ContainsRune(" \t'\";{", rune(text[at])) {
			continue
		}
		return "", false
	}
	if folder, base := filepath.Split(file); folder == "" || base == "" {
		return "", false
	}
	pattern := strings.NewReplacer(".", `\.`).Replace(old)
	return fmt.Sprintf("sed -i '%ds|%s|%s|g' %s", line, pattern, new, shell.Quote(real(file))), true
}

// lineOf returns one line of a file, without its end.
func lineOf(file string, line int) (string, bool) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", false
	}
	scanner := bufio.NewScanner(io.LimitReader(f, 8<<20))
	scanner.Buffer(nil, 1<<20)
	for n := 1; scanner.Scan(); n++ {
		if n == line {
			return scanner.Text(), true
		}
	}
	return "", false
}
