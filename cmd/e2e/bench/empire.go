package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed apps
var apps embed.FS

// A side is one of the two servers that are compared.
type side int

const (
	ours side = iota
	theirs
)

// sides are both, in the order of their turns.
func sides() []side { return []side{ours, theirs} }

func (s side) String() string { return [...]string{"emperord", "uWSGI"}[s] }

// A vassal is what the vassal files differ in.
type vassal struct {
	name      string
	app       string // hello or page
	gen       string
	processes int
	log       bool // write a line for every request
}

// An empire is one emperor with its vassal folder, below a folder of its own.
type empire struct {
	side  side
	dir   string
	tools tools
	extra []string // of its command line
	cmd   *exec.Cmd
	done  chan struct{} // closed when the emperor has ended
}

// newEmpire makes the folders of an emperor that has not started. close must be called.
func (b *bench) newEmpire(s side) (*empire, error) {
	dir, err := os.MkdirTemp(b.dir, s.String()+"-")
	if err != nil {
		return nil, err
	}
	err = os.Chmod(dir, 0o755)
	for _, sub := range []string{"v", "s", "app"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	for _, app := range []string{"hello.py", "page.py"} {
		text, readErr := apps.ReadFile("apps/" + app)
		err = errors.Join(err, readErr, os.WriteFile(filepath.Join(dir, "app", app), text, 0o644))
	}
	return &empire{side: s, dir: dir, tools: b.tools}, err
}

func (e *empire) socket(name string) string { return filepath.Join(e.dir, "s", name+".sock") }
func (e *empire) file(name string) string   { return filepath.Join(e.dir, "v", name+".ini") }
func (e *empire) log() string               { return filepath.Join(e.dir, "log") }

// write puts a vassal file in place, as deploy tools do it: written beside, renamed.
func (e *empire) write(v vassal) error {
	text := fmt.Sprintf(`[uwsgi]
plugin = python3
chdir = %s/app
wsgi-file = %s.py
master = true
processes = %d
socket = %s
chmod-socket = 666
env = GEN=%s
`, e.dir, v.app, v.processes, e.socket(v.name), v.gen)
	if !v.log {
		text += "disable-logging = true\n"
	}
	beside := filepath.Join(e.dir, "v", "."+v.name+".tmp")
	return errors.Join(os.WriteFile(beside, []byte(text), 0o644), os.Rename(beside, e.file(v.name)))
}

// start starts the emperor.
func (e *empire) start() error {
	log, err := os.OpenFile(e.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	if e.side == ours {
		e.cmd = exec.Command(e.tools.emperord, "--emperor", filepath.Join(e.dir, "v"),
			"--emperor-control-socket", filepath.Join(e.dir, "control.sock"), "--emperor-socket-root", filepath.Join(e.dir, "s"))
	} else {
		e.cmd = exec.Command(e.tools.uwsgi, "--plugin", "python3", "--emperor", filepath.Join(e.dir, "v"))
	}
	e.cmd.Args = append(e.cmd.Args, e.extra...)
	e.cmd.Dir, e.cmd.Env, e.cmd.Stdout, e.cmd.Stderr = e.dir, environment(), log, log
	e.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true} // Ctrl-C is for us, not for it
	if err := e.cmd.Start(); err != nil {
		return err
	}
	e.done = make(chan struct{})
	go func() {
		defer close(e.done)
		_ = e.cmd.Wait()
	}()
	return nil
}

// processes are the emperor and everything below it.
func (e *empire) processes() []process { return tree(e.cmd.Process.Pid) }

// answers asks a vassal once.
func (e *empire) answers(name string) error {
	_, err := ask(e.socket(name), 2*time.Second)
	return err
}

// stop asks the emperor to stop. It tells how long that took and how many of its processes it left.
func (e *empire) stop(ctx context.Context) (took time.Duration, left int, err error) {
	all := e.processes()
	began := time.Now()
	if err := e.cmd.Process.Signal(unix.SIGTERM); err != nil {
		return 0, 0, fmt.Errorf("the emperor had ended before it was asked to: %w\n%s", err, e.tail())
	}
	select {
	case <-e.done:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	case <-time.After(time.Minute):
		return 0, 0, errors.New("it did not stop within a minute\n" + e.tail())
	}
	return time.Since(began), alive(all), nil
}

// close ends what still runs and removes the folder.
func (e *empire) close() {
	if e.done != nil {
		select {
		case <-e.done:
		default:
			all := e.processes()
			kill(all)
			<-e.done
			for end := time.Now().Add(5 * time.Second); alive(all) > 0 && time.Now().Before(end); { // dying takes a moment
				time.Sleep(time.Millisecond)
			}
		}
	}
	_ = os.RemoveAll(e.dir)
}

// tail is the end of the emperor's log, for an error.
func (e *empire) tail() string {
	text, _ := os.ReadFile(e.log())
	return e.side.String() + " said:\n" + strings.TrimSpace(string(text[max(0, len(text)-2000):]))
}
