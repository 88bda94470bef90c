// Package booted runs emperord under a real systemd: a Debian tree, booted in a container of its own.
package booted

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A machine is a booted Debian.
type machine struct {
	t      *testing.T
	nspawn *exec.Cmd
	ended  chan struct{}
	leader int // its first process, as seen from outside
	name   string
}

// packages are what the tree has beyond debootstrap's minbase.
const packages = "systemd,systemd-sysv,dbus,python3"

// need returns whether the machine can be had; where not, a laptop skips and CI fails.
func need(t *testing.T) {
	t.Helper()
	missing := ""
	for _, tool := range []string{"debootstrap", "systemd-nspawn", "nsenter", "make"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing += " " + tool
		}
	}
	if os.Geteuid() != 0 {
		missing += " root"
	}
	switch {
	case missing == "":
	case os.Getenv("CI") != "":
		t.Fatal("the test of a booted machine needs" + missing + "; run: sh cmd/e2e/install.sh")
	default:
		t.Skip("the test of a booted machine needs" + missing + "; run: sh cmd/e2e/install.sh")
	}
}

// tree returns a folder with a Debian: $TREE, which stays for the next time, or one that goes with the test.
func tree(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("TREE")
	if dir == "" {
		temporary, err := os.MkdirTemp("/var/tmp", "emperord-booted-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(temporary) })
		dir = temporary + "/tree"
	}
	if _, err := os.Stat(dir + "/usr/bin/systemctl"); err == nil {
		return dir
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", "--include="+packages, "bookworm", dir)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("debootstrap: %v\n%s", err, out[max(0, len(out)-4000):])
	}
	return dir
}

// boot starts a copy of the tree, with the programs and the unit of this source tree installed as `make install` does it.
func boot(t *testing.T) *machine {
	t.Helper()
	need(t)
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", "../../emperord", "../../vassald", "../../emperorctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := tree(t)
	console, err := os.Create(filepath.Join(t.TempDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	m := &machine{t: t, ended: make(chan struct{}), name: fmt.Sprintf("emperord-t-%d", os.Getpid())}
	m.nspawn = exec.Command("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--ephemeral", "--directory="+dir, "--private-network",
		"--machine="+m.name, "--boot", "--console=pipe", "systemd.unit=multi-user.target")
	m.nspawn.Stdout, m.nspawn.Stderr = console, console
	m.nspawn.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.nspawn.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = m.nspawn.Wait()
		close(m.ended)
	}()
	t.Cleanup(func() {
		if t.Failed() && m.leader != 0 {
			out, _ := m.try("journalctl --no-pager -o short-monotonic -n 150 -u emperord")
			t.Logf("the journal:\n%s", out)
		}
		_ = m.nspawn.Process.Signal(syscall.SIGTERM)
		select {
		case <-m.ended:
		case <-time.After(20 * time.Second):
			_ = syscall.Kill(-m.nspawn.Process.Pid, syscall.SIGKILL)
			<-m.ended
		}
	})
	m.awaitBoot(0)
	install := exec.Command("make", "-C", "../../..", "install", "BIN="+bin, "DESTDIR="+m.path(""))
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	m.sh("systemctl daemon-reload")
	return m
}

// awaitBoot waits until another first process than old has started everything.
func (m *machine) awaitBoot(old int) {
	m.t.Helper()
	m.eventually(time.Minute, "the machine boots", func() error {
		select {
		case <-m.ended:
			m.t.Fatal("systemd-nspawn has ended")
		default:
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.nspawn.Process.Pid))
		for _, field := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(field)
			if comm, _ := os.ReadFile("/proc/" + field + "/comm"); string(comm) == "systemd\n" && pid != old {
				m.leader = pid
			}
		}
		if m.leader == old {
			return errors.New("there is no first process")
		}
		_, err := m.try("systemctl is-active --quiet multi-user.target dbus.service")
		return err
	})
}

// path is a path of the machine as seen from outside.
func (m *machine) path(name string) string { return fmt.Sprintf("/proc/%d/root%s", m.leader, name) }

// try runs a shell script in the machine.
func (m *machine) try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "nsenter", "-t", strconv.Itoa(m.leader), "-a", "/usr/bin/env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "/bin/sh", "-c", script)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", script, err, out.String())
	}
	return strings.TrimSpace(out.String()), err
}

// sh runs a script that has to succeed.
func (m *machine) sh(script string) string {
	m.t.Helper()
	out, err := m.try(script)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// property asks systemd about emperord.
func (m *machine) property(name string) string {
	m.t.Helper()
	return m.sh("systemctl show -P " + name + " emperord")
}

// write puts a file into the machine for a user.
func (m *machine) write(name, text string, uid int) {
	m.t.Helper()
	path := m.path(name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path+"~", []byte(text), 0o644), os.Chown(path+"~", uid, uid), os.Rename(path+"~", path))
	if err != nil {
		m.t.Fatal(err)
	}
}

// inode identifies a socket's file.
func (m *machine) inode(name string) uint64 {
	m.t.Helper()
	st, err := os.Lstat(m.path(name))
	if err != nil {
		m.t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Ino
}

// eventually repeats f until it succeeds.
func (m *machine) eventually(limit time.Duration, what string, f func() error) {
	m.t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
	}
}
