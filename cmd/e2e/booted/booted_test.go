package booted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/configs/dist"
)

// The tenants of the machine, whom nobody knows by name.
const (
	shopID = 61501
	blogID = 61502
)

// shopApp takes its time to load, so that a start or a reload that does not wait is found out.
const shopApp = `import os, time
time.sleep(1)
def application(environ, start_response):
    if environ['PATH_INFO'] == '/slow':
        open('/srv/shop/slow', 'w').close()
        time.sleep(4)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'%d' % os.getppid()]
`

const vassals = "/etc/uwsgi-emperor/vassals/"

func TestUnderSystemd(t *testing.T) {
	m := boot(t)
	m.sh("echo 'emperor-socket-root = /run/emperord' >>/etc/emperord/emperor.ini")
	m.write("/srv/shop/shop.py", shopApp, shopID)
	if err := os.Chown(m.path("/srv/shop"), shopID, shopID); err != nil {
		t.Fatal(err)
	}
	m.write("/srv/shop/blog.py", shopApp, shopID)
	m.write(vassals+"shop.ini", "[uwsgi]\nchdir = /srv/shop\nmodule = shop\nsocket = /run/uwsgi/shop.sock\nsocket = /run/emperord/shop.sock\nprocesses = 2\n", shopID)
	m.write(vassals+"broken.ini", "[uwsgi]\nmodule = nowhere\nsocket = /run/uwsgi/broken.sock\n", blogID)
	m.write(vassals+"evil\nMAINPID=1\nX.ini", "[uwsgi]\nmodule = nowhere\nsocket = /run/uwsgi/evil.sock\n", blogID)
	for _, step := range []struct {
		name string
		do   func(*machine)
	}{
		{"StartReturnsWhenTheVassalsAnswer", start},
		{"ReloadReturnsWhenTheNewGenerationServes", reload},
		{"ReloadOfANewProgramUpgradesInPlace", upgrade},
		{"KilledEmperorLosesNoConnection", kill},
		{"WhatNobodyMayHaveAnyMoreIsNotTakenOver", changed},
		{"WatchdogEndsALoopThatStandsStill", watchdog},
		{"SocketUnitsAreUsedAndLeftAlone", activation},
		{"UpgradeKeepsSocketsOfUnits", upgrade},
		{"StopLeavesNothing", stop},
		{"DropInKeepsTheSocketsOfAKilledEmperor", dropin},
		{"RebootBringsEverythingBack", reboot},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			inner := *m
			inner.t = t
			defer func() { m.leader, m.nspawn, m.ended = inner.leader, inner.nspawn, inner.ended }()
			step.do(&inner)
		}) {
			break
		}
	}
}

func start(m *machine) {
	m.sh("systemctl start emperord")
	if _, err := ask(m.path("/run/uwsgi/shop.sock"), "/"); err != nil {
		m.t.Error(err)
	}
	if out := m.sh("emperorctl status --json shop.ini"); !strings.Contains(out, `"state": "accepting"`) { // the first connection waits in the backlog either way
		m.t.Errorf("systemctl start returned before the shop accepted: %s", out)
	}
	status := m.property("StatusText")
	if !strings.HasPrefix(status, "3 vassals: ") || !strings.Contains(status, "1 accepting") || !strings.HasSuffix(status, "; failing: broken.ini, evil?MAINPID=1?X.ini; see: emperorctl why NAME") {
		m.t.Errorf("the status is %q", status)
	}
	if pid := m.property("MainPID"); m.sh("readlink /proc/"+pid+"/exe") != "/usr/local/bin/emperord" {
		m.t.Errorf("the main pid is %s", pid)
	}
	m.stored(2)
	for _, p := range []string{"broken.ini", "evil\nMAINPID=1\nX.ini"} {
		if err := os.Remove(m.path(vassals + p)); err != nil {
			m.t.Fatal(err)
		}
	}
	m.eventually(10*time.Second, "the status follows", func() error {
		if s := m.property("StatusText"); s != "1 vassal: 1 accepting" {
			return errors.New(s)
		}
		return nil
	})
}

// stored waits until systemd keeps so many listeners, and the register.
func (m *machine) stored(listeners int) {
	m.t.Helper()
	m.eventually(10*time.Second, "the store", func() error {
		if n := m.property("NFileDescriptorStore"); n != strconv.Itoa(listeners+1) {
			return errors.New("systemd keeps " + n)
		}
		return nil
	})
}

func reload(m *machine) {
	before, err := ask(m.path("/run/uwsgi/shop.sock"), "/")
	if err != nil {
		m.t.Fatal(err)
	}
	m.sh("systemctl reload emperord")
	after, err := ask(m.path("/run/uwsgi/shop.sock"), "/")
	if err != nil || after == before {
		m.t.Errorf("after the reload host %s answers, before it %s; %v", after, before, err)
	}
}

// upgrade installs the program anew: another file, the same program.
func upgrade(m *machine) {
	socket := m.path("/run/uwsgi/shop.sock")
	old, kept := m.property("MainPID"), m.property("NFileDescriptorStore")
	clients := startLoad(socket, 4)
	m.sh("cp -p /usr/local/bin/emperord /usr/local/bin/emperord~ && mv /usr/local/bin/emperord~ /usr/local/bin/emperord && systemctl reload emperord")
	if now := m.property("MainPID"); now != old || m.property("ActiveState") != "active" {
		m.t.Errorf("the emperor was process %s and is %s", old, now)
	}
	if out := m.sh("readlink /proc/" + old + "/exe"); out != "/usr/local/bin/emperord" { // else "… (deleted)"
		m.t.Errorf("%s runs", out)
	}
	n, failed := clients.end()
	m.t.Logf("%d requests were answered, %d were not", n, len(failed))
	for _, err := range failed[:min(len(failed), 5)] {
		m.t.Errorf("while the emperor was upgraded: %v", err)
	}
	if now := m.property("NFileDescriptorStore"); now != kept {
		m.t.Errorf("systemd kept %s descriptors and keeps %s", kept, now)
	}
	m.sh("emperorctl upgrade")
	if out := m.sh("journalctl --no-pager -o cat -u emperord"); strings.Contains(out, "signals are not kept during the upgrade") {
		m.t.Error("the sandbox of the unit keeps the keeper of signals from its work")
	}
	if out := m.sh("journalctl --no-pager -o cat -u emperord | grep -F 'emperor upgraded' | tail -1"); !strings.HasPrefix(out, "INFO emperor upgraded") {
		m.t.Errorf("the journal is told %q, with a time of its own and so without priorities", out)
	}
	if _, err := m.try("test -e " + vassals + "blog.ini"); err == nil {
		m.sh("emperorctl reload blog.ini")
		m.eventually(20*time.Second, "the blog accepts", func() error {
			if out := m.sh("emperorctl status --json blog.ini"); !strings.Contains(out, `"state": "accepting"`) {
				return errors.New(out)
			}
			return nil
		})
		if got := m.sh("stat -c '%U %a' /run/uwsgi/blog.sock"); got != "nobody 600" {
			m.t.Errorf("the socket that systemd has made is %s", got)
		}
		if _, err := ask(m.path("/run/uwsgi/blog.sock"), "/"); err != nil {
			m.t.Error(err)
		}
	}
}

// pid returns the emperor's pid as seen from outside.
func (m *machine) pid() int {
	m.t.Helper()
	inside := m.property("MainPID")
	entries, err := os.ReadDir("/proc")
	if err != nil {
		m.t.Fatal(err)
	}
	space, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", m.leader))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ns, _ := os.Readlink("/proc/" + e.Name() + "/ns/pid"); ns != space {
			continue
		}
		text, _ := os.ReadFile("/proc/" + e.Name() + "/status")
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "NSpid:" && f[len(f)-1] == inside {
				return pid
			}
		}
	}
	m.t.Fatal("emperord is not there")
	return 0
}

// restarted waits until another emperor than pid is ready.
func (m *machine) restarted(pid string) {
	m.t.Helper()
	m.eventually(30*time.Second, "another emperor is ready", func() error {
		if state, now := m.property("ActiveState"), m.property("MainPID"); state != "active" || now == pid || now == "0" {
			return fmt.Errorf("%s, pid %s", state, now)
		}
		return nil
	})
}

func kill(m *machine) {
	socket := m.path("/run/uwsgi/shop.sock")
	inode, other, old := m.inode("/run/uwsgi/shop.sock"), m.inode("/run/emperord/shop.sock"), m.property("MainPID")
	slow := make(chan error, 1)
	go func() {
		_, err := ask(socket, "/slow")
		slow <- err
	}()
	m.eventually(10*time.Second, "the slow request is under way", func() error { _, err := os.Stat(m.path("/srv/shop/slow")); return err })
	clients := startLoad(socket, 4)
	m.eventually(10*time.Second, "the clients are answered", func() error {
		if clients.count() < 20 {
			return errors.New("not yet")
		}
		return nil
	})
	if err := syscall.Kill(m.pid(), syscall.SIGKILL); err != nil {
		m.t.Fatal(err)
	}
	m.restarted(old)
	served := clients.count()
	m.eventually(10*time.Second, "the clients are answered again", func() error {
		if clients.count() < served+20 {
			return errors.New("not yet")
		}
		return nil
	})
	n, failed := clients.end()
	m.t.Logf("%d requests were answered, %d were not", n, len(failed))
	for _, err := range failed[:min(len(failed), 5)] {
		m.t.Errorf("while the emperor was killed: %v", err)
	}
	if err := <-slow; err != nil {
		m.t.Errorf("the request that was under way: %v", err)
	}
	if now := m.inode("/run/uwsgi/shop.sock"); now != inode {
		m.t.Errorf("the socket's inode was %d and is %d", inode, now)
	}
	if now := m.inode("/run/emperord/shop.sock"); now != other { // in the unit's own runtime folder
		m.t.Errorf("the other socket's inode was %d and is %d", other, now)
	}
	m.stored(2)
}

// changed kills an emperor that has not seen what became of its vassals: one is gone, one belongs to somebody else.
func changed(m *machine) {
	vassal := func(name string, uid int) {
		m.write(vassals+name+".ini", "[uwsgi]\nchdir = /srv/shop\nmodule = shop\nsocket = /run/uwsgi/"+name+".sock\nchmod-socket = 660\n", uid)
	}
	owner := func(name string) string { return m.sh("stat -c '%u %a' /run/uwsgi/" + name + ".sock") }
	vassal("gone", shopID)
	vassal("moved", shopID)
	m.stored(4)
	inode, old, pid := m.inode("/run/uwsgi/moved.sock"), m.property("MainPID"), m.pid()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Remove(m.path(vassals + "gone.ini")); err != nil {
		m.t.Fatal(err)
	}
	vassal("moved", blogID)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		m.t.Fatal(err)
	}
	m.restarted(old)
	if now := m.inode("/run/uwsgi/moved.sock"); now == inode || owner("moved") != "61502 660" {
		m.t.Errorf("the socket of a vassal with another owner: inode %d, before it %d, %s", now, inode, owner("moved"))
	}
	m.eventually(10*time.Second, "the socket of a vassal that has gone is removed", func() error {
		if _, err := os.Lstat(m.path("/run/uwsgi/gone.sock")); err == nil {
			return errors.New("it is there")
		}
		return nil
	})
	m.stored(3)
	if err := os.Remove(m.path(vassals + "moved.ini")); err != nil {
		m.t.Fatal(err)
	}
	m.stored(2)
}

func watchdog(m *machine) {
	m.write("/run/systemd/system/emperord.service.d/watchdog.conf", "[Service]\nWatchdogSec=2\n", 0)
	m.sh("systemctl daemon-reload && systemctl restart emperord")
	time.Sleep(5 * time.Second) // more than two intervals: a loop that turns is left alone
	old := m.property("MainPID")
	if n := m.property("NRestarts"); n != "0" {
		m.t.Fatalf("%s restarts of an emperor that is well", n)
	}
	inode := m.inode("/run/uwsgi/shop.sock")
	if err := syscall.Kill(m.pid(), syscall.SIGSTOP); err != nil {
		m.t.Fatal(err)
	}
	m.restarted(old)
	if _, err := ask(m.path("/run/uwsgi/shop.sock"), "/"); err != nil {
		m.t.Error(err)
	}
	if now := m.inode("/run/uwsgi/shop.sock"); now != inode {
		m.t.Errorf("the socket's inode was %d and is %d", inode, now)
	}
	if out := m.sh("journalctl --no-pager -o cat -u emperord"); !strings.Contains(out, "this is where everything stood") || !strings.Contains(out, "emperor.(*Emperor).loop") {
		m.t.Error("the journal does not say where the loop stood")
	}
}

func activation(m *machine) {
	m.sh("systemctl stop emperord")
	m.write("/run/systemd/system/blog.socket", "[Socket]\nListenStream=/run/uwsgi/blog.sock\nSocketMode=0600\nSocketUser=nobody\nService=emperord.service\n", 0)
	m.write(vassals+"blog.ini", "[uwsgi]\nchdir = /srv/shop\nmodule = shop\nsocket = /run/uwsgi/blog.sock\n", blogID)
	m.write(vassals+"thief.ini", "[uwsgi]\nchdir = /srv/shop\nmodule = shop\nsocket = /run/uwsgi/other.sock\n", shopID)
	m.write("/run/systemd/system/other.socket", "[Socket]\nListenStream=/run/uwsgi/other.sock\nService=emperord.service\n", 0)
	m.sh("systemctl daemon-reload && systemctl start blog.socket other.socket && systemctl start emperord")
	inode := m.inode("/run/uwsgi/blog.sock")
	if _, err := ask(m.path("/run/uwsgi/blog.sock"), "/"); err != nil {
		m.t.Error(err)
	}
	if got := m.sh("stat -c '%U %a' /run/uwsgi/blog.sock"); got != "nobody 600" {
		m.t.Errorf("the socket that systemd has made is %s", got)
	}
	if out := m.sh("emperorctl why thief.ini || true"); !strings.Contains(out, "FileDescriptorName=thief.ini") {
		m.t.Errorf("a vassal that the unit does not name: %s", out)
	}
	if err := os.Remove(m.path(vassals + "blog.ini")); err != nil {
		m.t.Fatal(err)
	}
	m.eventually(10*time.Second, "the blog is gone", func() error {
		if out, err := m.try("emperorctl status blog.ini"); err == nil {
			return errors.New(out)
		}
		return nil
	})
	if now := m.inode("/run/uwsgi/blog.sock"); now != inode {
		m.t.Error("emperord has removed a socket of systemd's")
	}
	m.write(vassals+"blog.ini", "[uwsgi]\nchdir = /srv/shop\nmodule = shop\nsocket = /run/uwsgi/blog.sock\n", blogID)
	if _, err := ask(m.path("/run/uwsgi/blog.sock"), "/"); err != nil { // it waits in the backlog until the vassal is there
		m.t.Error(err)
	}
}

func stop(m *machine) {
	m.sh("systemctl stop emperord")
	if status, result := m.property("ExecMainStatus"), m.property("Result"); status != "0" || result != "success" {
		m.t.Errorf("it ended with status %s, %s", status, result)
	}
	if out, err := m.try(`for p in /proc/[0-9]*; do tr '\0' '\n' <$p/environ 2>/dev/null | grep -q ^EMPERORD_VASSAL= && echo $p; done; :`); err != nil || out != "" {
		m.t.Errorf("processes are left: %s, %v", out, err)
	}
	if out := m.sh("ls /run/uwsgi"); out != "blog.sock\nother.sock" {
		m.t.Errorf("left in /run/uwsgi: %q", out)
	}
	if n := m.property("NFileDescriptorStore"); n != "0" {
		m.t.Errorf("systemd keeps %s descriptors of a service that is stopped", n)
	}
}

// dropin runs Debian's unit and file, as far as they matter here, with our drop-in.
func dropin(m *machine) {
	conf, err := fs.ReadFile(dist.Files, "uwsgi-emperor.service.d/emperord.conf")
	if err != nil {
		m.t.Fatal(err)
	}
	const unit = "/run/systemd/system/uwsgi-emperor.service"
	m.write(unit, "[Service]\nType=notify\nExecStart=/usr/bin/uwsgi --ini /etc/uwsgi-emperor/emperor.ini\nKillSignal=SIGQUIT\nRestart=always\nNotifyAccess=all\nGroup=www-data\nRuntimeDirectory=uwsgi\nRuntimeDirectoryMode=0775\n", 0)
	m.write(unit+".d/emperord.conf", string(conf), 0)
	m.write("/etc/uwsgi-emperor/emperor.ini", "[uwsgi]\nuid = www-data\ngid = www-data\nemperor = /etc/debian\n", 0)
	m.write("/etc/debian/shop.ini", "[uwsgi]\nchdir = /srv/shop\nmodule = shop\nsocket = /run/uwsgi/debian.sock\nchmod-socket = 666\n", 0)
	m.sh("systemctl stop blog.socket other.socket && rm -rf /run/uwsgi && systemctl daemon-reload && systemctl start uwsgi-emperor")
	show := func(property string) string { return m.sh("systemctl show --value -p " + property + " uwsgi-emperor") }
	socket := m.path("/run/uwsgi/debian.sock")
	if _, err := ask(socket, "/"); err != nil {
		m.t.Error(err)
	}
	m.eventually(10*time.Second, "the store", func() error {
		if n := show("NFileDescriptorStore"); n != "2" {
			return errors.New("systemd keeps " + n)
		}
		return nil
	})
	inode, old := m.inode("/run/uwsgi/debian.sock"), show("MainPID")
	m.sh("kill -KILL " + old)
	for range 50 { // before, while and after it is started again
		if _, err := ask(socket, "/"); err != nil && !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "reset") { // what was under way is cut
			m.t.Errorf("after the kill: %v", err)
		}
		if now := show("MainPID"); now != "0" && now != old {
			break
		}
	}
	if now := m.inode("/run/uwsgi/debian.sock"); now != inode {
		m.t.Errorf("the socket's inode was %d and is %d", inode, now)
	}
	if _, err := ask(socket, "/"); err != nil {
		m.t.Error(err)
	}
	m.sh("systemctl stop uwsgi-emperor && rm -r " + unit + " " + unit + ".d && systemctl daemon-reload")
}

func reboot(m *machine) {
	m.sh("rm -f " + vassals + "blog.ini " + vassals + "thief.ini; systemctl enable --quiet emperord")
	_, _ = m.try("systemctl reboot")
	select {
	case <-m.ended: // with --keep-unit it does not start again by itself
	case <-time.After(time.Minute):
		m.t.Fatal("the machine does not go down")
	}
	m.on()
	if _, err := ask(m.path("/run/uwsgi/shop.sock"), "/"); err != nil {
		m.t.Error(err)
	}
	if got := m.sh("stat -c '%u %g %a' /run/uwsgi /run/uwsgi/shop.sock"); got != "0 0 755\n61501 61501 755" {
		m.t.Errorf("the folder and the socket are %q", got)
	}
	m.sh("systemctl stop emperord")
}
