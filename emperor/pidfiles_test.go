package emperor

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/pidfile"
)

func TestPidFilesAreThereWhileTheEmperorIs(t *testing.T) {
	names := []string{"a.pid", "b.pid", "c.pid", "d.pid"}
	m := found(t, func(c *configs.Emperor) {
		c.Pidfile, c.EmperorPidfile, c.Pidfile2, c.SafePidfile, c.SafePidfile2 = "a.pid", "./a.pid", "b.pid", "c.pid", "d.pid"
	})
	m.app("shop.ini", controlID, "a")
	m.await("shop.ini", Accepting, "")
	for _, n := range names {
		if text, err := os.ReadFile(m.dir + "/" + n); err != nil || string(text) != strconv.Itoa(os.Getpid())+"\n" {
			t.Errorf("%s: %q, %v", n, text, err)
		}
	}
	// A second emperor is refused before it has touched anything of the first one.
	other := *m.config
	other.ControlSocket, other.StatsServer = m.dir+"/other.sock", m.dir+"/stats.sock"
	err := Run(context.Background(), Options{Config: &other, Dir: m.dir, Vassald: m.dir + "/bin/vassald", Version: "test", Stderr: &logBuffer{}})
	if live := new(pidfile.Live); !errors.As(err, &live) || live.PID != os.Getpid() || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("the second one: %v", err)
	}
	if pid, module := m.ask("shop.ini"); pid == 0 || module != "a" {
		t.Errorf("the first one's vassal answers %d %q", pid, module)
	}
	m.end()
	for _, n := range names {
		if _, err := os.Lstat(m.dir + "/" + n); err == nil {
			t.Errorf("%s is left", n)
		}
	}
}
