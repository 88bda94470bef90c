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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A machine is a booted Debian.
type machine struct {
	t       *testing.T
	tree    string // its root folder
	name    string
	nspawn  *exec.Cmd
	ended   chan struct{}
	leader  int // its first process, as seen from outside
	console string
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

// tree returns a folder with a Debian, which goes with the test: a copy of $TREE, which is made if it is missing and stays
// for the next time, or a fresh one.
func tree(t *testing.T) string {
	t.Helper()
	work, err := os.MkdirTemp("/var/tmp", "emperord-booted-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	dir, keep := work+"/tree", os.Getenv("TREE")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	run := func(name string, args ...string) {
		if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out[max(0, len(out)-4000):])
		}
	}
	if _, err := os.Stat(keep + "/usr/bin/systemctl"); keep == "" || err != nil {
		first := dir
		if keep != "" {
			first = keep
		}
		run("debootstrap", "--variant=minbase", "--include="+packages, "bookworm", first)
	}
	if keep != "" {
		run("cp", "-a", "--reflink=auto", keep, dir)
	}
	return dir
}

// boot starts a machine, with the programs and the unit of this source tree installed as `make install` does it.
func boot(t *testing.T) *machine {
	t.Helper()
	need(t)
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", "../../emperord", "../../vassald", "../../emperorctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m := &machine{t: t, tree: tree(t), name: fmt.Sprintf("emperord-t-%d", os.Getpid()), console: filepath.Join(t.TempDir(), "console")}
	t.Cleanup(func() {
		if t.Failed() && m.leader != 0 {
			out, _ := m.try("journalctl --no-pager -o short-monotonic -u emperord | grep -v req: | tail -n 150")
			t.Logf("the journal:\n%s", out)
		}
		m.off()
		removeGroups(m.name)
		_ = os.Remove("/run/systemd/nspawn/propagate/" + m.name) // systemd-nspawn leaves it where /run is no tmpfs
	})
	m.on()
	install := exec.Command("make", "-C", "../../..", "install", "BIN="+bin, "DESTDIR="+m.path(""))
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	// Whether the drop-in for an old systemd is needed, make has found out from this machine's systemd, not from that one's.
	m.sh(`v=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p'); d=/etc/systemd/system/emperord.service.d; if [ "$v" -ge 253 ]; then rm -rf $d; fi; systemctl daemon-reload`)
	return m
}

// on switches the machine on.
func (m *machine) on() {
	m.t.Helper()
	console, err := os.OpenFile(m.console, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer console.Close()
	m.ended = make(chan struct{})
	m.nspawn = exec.Command("/bin/sh", "-c", ownGroups, m.name, "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--directory="+m.tree, "--private-network",
		"--machine="+m.name, "--boot", "--console=pipe", "systemd.unit=multi-user.target")
	m.nspawn.Stdout, m.nspawn.Stderr = console, console
	m.nspawn.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.nspawn.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func(nspawn *exec.Cmd, ended chan struct{}) {
		_ = nspawn.Wait()
		close(ended)
	}(m.nspawn, m.ended)
	m.awaitBoot()
}

// off pulls the plug.
func (m *machine) off() {
	if m.nspawn == nil {
		return
	}
	_, _ = m.try("systemctl poweroff --force --force")
	select {
	case <-m.ended:
	case <-time.After(20 * time.Second):
		_ = syscall.Kill(-m.nspawn.Process.Pid, syscall.SIGKILL)
		<-m.ended
	}
}

// ownGroups is a script that runs its arguments in control groups of their own, named like $0: systemd-nspawn --keep-unit divides
// the group that it is started in, and two machines in one would share what they have there.
const ownGroups = `for h in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
	[ -e "$h/cgroup.procs" ] || continue
	mkdir -p "$h/$0" && echo $$ >"$h/$0/cgroup.procs"
done
exec "$@"`

func removeGroups(name string) {
	for _, h := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/unified/", "/sys/fs/cgroup/systemd/"} {
		var all []string
		_ = filepath.WalkDir(h+name, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		for _, path := range slices.Backward(all) {
			for end := time.Now().Add(2 * time.Second); os.Remove(path) != nil && time.Now().Before(end); { // its last process may not be reaped yet
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
}

// awaitBoot waits until the machine has started everything.
func (m *machine) awaitBoot() {
	m.t.Helper()
	m.leader = 0
	m.eventually(time.Minute, "the machine boots", func() error {
		select {
		case <-m.ended:
			text, _ := os.ReadFile(m.console)
			m.t.Fatalf("systemd-nspawn has ended; the console:\n%s", text[max(0, len(text)-4000):])
		default:
		}
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", m.nspawn.Process.Pid))
		for _, field := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(field)
			if comm, _ := os.ReadFile("/proc/" + field + "/comm"); string(comm) == "systemd\n" {
				m.leader = pid
			}
		}
		if m.leader == 0 {
			return errors.New("there is no first process")
		}
		_, err := m.try("systemctl is-active --quiet multi-user.target && systemctl is-active --quiet dbus.service")
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
