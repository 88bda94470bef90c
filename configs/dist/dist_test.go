package dist_test

import (
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/configs/dist"
)

// reading reads a file of this folder as if it lay where an operator puts it.
func reading(name string, args ...string) configs.Reading {
	return configs.Reading{
		Args: append(args, "--ini", name[strings.LastIndexByte(name, '/')+1:]),
		Env:  []string{},
		Dir:  "/etc/uwsgi-emperor/vassals",
		Open: func(string) (io.ReadCloser, error) { return dist.Files.Open(name) },
	}
}

func TestExampleVassalsAreReadWithoutANotice(t *testing.T) {
	names, err := fs.Glob(dist.Files, "vassals/*.ini")
	if err != nil || len(names) != 3 {
		t.Fatalf("vassals: %v, %v", names, err)
	}
	for _, name := range names {
		r := configs.Resolve(reading(name))
		if r.Error != "" || len(r.Notices) != 0 {
			t.Errorf("%s: error %q, notices %q", name, r.Error, r.Notices)
			continue
		}
		base := strings.TrimSuffix(strings.TrimPrefix(name, "vassals/"), ".ini")
		if len(r.Sockets) != 1 || r.Sockets[0].Address != "/run/uwsgi/"+base+".sock" {
			t.Errorf("%s: sockets %+v", name, r.Sockets)
		}
		v, _, err := configs.ParseVassal(r.Settings)
		if err != nil || v.Chdir != "/etc/uwsgi-emperor/vassals/../apps" {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

func TestVassalSetMovesTheExamples(t *testing.T) {
	r := configs.Resolve(reading("vassals/plain.ini", "--set", "sockets=/tmp/run", "--set", "apps=/tmp/apps"))
	if r.Error != "" || len(r.Notices) != 0 || len(r.Sockets) != 1 || r.Sockets[0].Address != "/tmp/run/plain.sock" {
		t.Fatalf("%+v", r)
	}
}

func TestEmperorFileIsReadWithoutANotice(t *testing.T) {
	settings, err := configs.Read(reading("emperor.ini"))
	if err != nil {
		t.Fatal(err)
	}
	e, notices, err := configs.ParseEmperor(settings)
	if err != nil || len(notices) != 0 {
		t.Fatalf("notices %q, error %v", notices, err)
	}
	if !e.Tyrant || len(e.Sources) != 1 || e.Sources[0] != "/etc/uwsgi-emperor/vassals" {
		t.Errorf("%+v", e)
	}
}

// Without Delegate=yes there are no limits; KillMode=mixed has systemd kill the vassals of a killed emperor, with their requests; with
// journald's usual limit one noisy vassal silences all; and the store must have room for what emperord puts there.
func TestServiceSaysWhatEmperordNeedsOfSystemd(t *testing.T) {
	text, err := fs.ReadFile(dist.Files, "emperord.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"\nDelegate=yes\n", "\nKillMode=process\n", "\nOOMPolicy=continue\n", "\nTasksMax=infinity\n", "\nLogRateLimitIntervalSec=1s\nLogRateLimitBurst=1000000\n",
		"\nType=notify\nType=notify-reload\nNotifyAccess=main\n", "\nWatchdogSec=30\n", "\nFileDescriptorStoreMax=20001\n", "\nRestart=always\n", "\nRestartPreventExitStatus=2\n"} {
		if _, service, _ := strings.Cut(string(text), "\n[Service]\n"); strings.Count("\n"+service, line) != 1 {
			t.Errorf("%q is not there once", line)
		}
	}
	old, err := fs.ReadFile(dist.Files, "systemd-252.conf")
	if err != nil || !strings.Contains(string(old), "\nType=notify\n") || strings.Count(string(old), "\nExecReload=") != 1 || strings.Contains(string(text), "\nExecReload=") {
		t.Errorf("the reload of systemd before 253: %s, %v", old, err)
	}
}

// The limits of the example are comments; without the semicolon they count.
func TestLimitsOfTheExampleAreGood(t *testing.T) {
	text, err := fs.ReadFile(dist.Files, "emperor.ini")
	if err != nil {
		t.Fatal(err)
	}
	in := reading("emperor.ini")
	in.Open = func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(strings.ReplaceAll(string(text), "\n;emperor-", "\nemperor-"))), nil
	}
	settings, err := configs.Read(in)
	if err != nil {
		t.Fatal(err)
	}
	e, notices, err := configs.ParseEmperor(settings)
	if err != nil || len(notices) != 0 || len(e.MemoryMax) != 2 || len(e.PIDsMax) != 1 || len(e.CPUWeight) != 1 || len(e.CPUMax) != 1 || e.CPUMax[0].Value != 1500 {
		t.Errorf("%+v, %q, %v", e, notices, err)
	}
}
