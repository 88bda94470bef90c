package configs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emperord/emperord/configs/sources"
)

// The real program, and the name it finds itself by (%b): /usr/bin/uwsgi is a chain of links on Debian.
const (
	realUWSGI  = "/usr/bin/uwsgi"
	realBinary = "/usr/bin/uwsgi-core"
)

// needUWSGI skips where the real program is missing; where CI is set that is a failure, since cmd/e2e/install.sh installs it.
func needUWSGI(t testing.TB) {
	t.Helper()
	out, err := exec.Command(realUWSGI, "--version").Output()
	switch version := strings.TrimSpace(string(out)); {
	case err == nil && strings.HasPrefix(version, "2.0.21"):
	case os.Getenv("CI") != "":
		t.Fatalf("%s is not there or is no uWSGI 2.0.21 (%q, %v); run: sh cmd/e2e/install.sh", realUWSGI, version, err)
	default:
		t.Skipf("%s is not there or is no uWSGI 2.0.21 (%q, %v): nobody to ask", realUWSGI, version, err)
	}
}

// An answer is what became of one configuration.
type answer struct {
	shown string // the block that --show-config prints, without the two lines of the question itself
	end   string // where there is no block: "exit 1", "crashes", "never ends"
	said  string // everything else that was printed; ours: the error
}

// alike reports whether two answers mean the same: the same block, or none in both. A crash or a program that never ends has
// to be a clean refusal here.
func (a answer) alike(b answer) bool { return (a.end == "") == (b.end == "") && a.shown == b.shown }

func (a answer) String() string {
	if a.end != "" {
		return a.end + ": " + strings.TrimSpace(a.said) + "\n"
	}
	return a.shown
}

// A question is a command line for the program, with its surroundings.
type question struct {
	dir   string   // working folder
	args  []string // without --show-config
	env   []string // the whole environment
	stdin []byte
	hurry bool   // an answer within a second, or none
	root  string // a file of this name in the root folder is meant to be one in dir
}

// reading is the question as we read it.
func (q question) reading(t testing.TB) Reading {
	t.Helper()
	opener := &sources.Opener{Dir: q.dir, Env: q.env, Stderr: os.Stderr}
	if q.stdin != nil {
		stdin, err := os.CreateTemp(t.TempDir(), "stdin")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stdin.Close() })
		if _, err := stdin.Write(q.stdin); err != nil {
			t.Fatal(err)
		}
		if _, err := stdin.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		opener.Stdin = stdin
	}
	r := Reading{Args: q.args, Env: q.env, Dir: q.dir, Binary: realBinary, Plugged: true, Source: opener.Open, Setenv: opener.Setenv}
	if q.root != "" {
		r.Open = func(wanted string) (io.ReadCloser, error) {
			if wanted == q.root {
				return os.Open(q.dir + q.root)
			}
			return nil, fs.ErrNotExist
		}
	}
	return r
}

// ask runs the real program. It prints its settings and ends at the clock that does not exist, before it starts anything. It has
// a bound memory and a second process group, which is killed by its number when the time is over or the answer is there.
func ask(t testing.TB, q question) answer {
	t.Helper()
	patience := 5 * time.Second
	if q.hurry {
		patience = time.Second
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	args := slices.Concat([]string{"-c", `ulimit -c 0; ulimit -v 300000; exec env -i "$@"`, "sh"}, q.env, // a shell would put the environment into its own order
		[]string{realUWSGI, "--show-config", "--clock=oracle-stop"}, q.args)
	c := exec.CommandContext(ctx, "/bin/sh", args...)
	c.Dir = q.dir
	c.Stdin = bytes.NewReader(q.stdin)
	if q.stdin == nil {
		c.Stdin = nil
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	var out head
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if c.Process == nil {
		t.Fatalf("cannot run %s: %v", realUWSGI, err)
	}
	_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // what it may have left behind
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return answer{end: "never ends"}
	case err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay):
		t.Fatalf("%s: %v", realUWSGI, err)
	}
	return parseAnswer(out.text(), c.ProcessState)
}

func parseAnswer(raw string, state *os.ProcessState) answer {
	if strings.Contains(raw, "tried memory allocation") {
		return answer{end: "never ends"}
	}
	ws := state.Sys().(syscall.WaitStatus)
	if ws.Signaled() || strings.Contains(raw, "got Segmentation Fault") || strings.Contains(raw, "stack smashing detected") {
		return answer{end: "crashes"}
	}
	before, rest, found := strings.Cut("\n"+raw, "\n;uWSGI instance configuration\n[uwsgi]\n")
	block, _, whole := strings.Cut("\n"+rest, "\n;end of configuration\n")
	if !found || !whole {
		return answer{end: fmt.Sprintf("exit %d", ws.ExitStatus()), said: raw}
	}
	block, _ = withoutQuestion(strings.TrimPrefix(block+"\n", "\n"))
	return answer{shown: block, said: strings.TrimPrefix(before, "\n")}
}

// mine is our own answer to a question. The two lines of the question go the same way as in ask: an open block may eat them.
func mine(t testing.TB, q question) answer {
	t.Helper()
	r := q.reading(t)
	r.Args = append([]string{"--show-config", "--clock=oracle-stop"}, q.args...)
	a := answered(t, r)
	if a.end != "" {
		return a
	}
	var asked bool
	if a.shown, asked = withoutQuestion(a.shown); !asked {
		a = answer{end: "never shown"}
	}
	return a
}

// withoutQuestion takes the two lines of the question from a block.
func withoutQuestion(block string) (string, bool) {
	block = "\n" + block
	asked := strings.Contains(block, "\nshow-config = true\n")
	block = strings.Replace(block, "\nshow-config = true\n", "\n", 1)
	block = strings.Replace(block, "\nclock = oracle-stop\n", "\n", 1)
	return block[1:], asked
}

func answered(t testing.TB, r Reading) answer {
	t.Helper()
	settings, err := Read(r)
	var fault *Error
	switch {
	case err == nil:
		return answer{shown: shown(settings)}
	case !errors.As(err, &fault):
		t.Errorf("the error is no *Error: %v", err)
	}
	return answer{end: "refused", said: err.Error()}
}

// A head keeps the beginning of what is written to it.
type head struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (h *head) Write(p []byte) (int, error) {
	const most = 8 << 20
	h.mu.Lock()
	defer h.mu.Unlock()
	if room := most - h.buf.Len(); room > 0 {
		h.buf.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (h *head) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.buf.String()
}
