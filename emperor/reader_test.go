package emperor

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
)

// actAsReader answers like `vassald --resolve-many`, and misbehaves where a file says so.
func actAsReader() int {
	fmt.Fprintln(os.Stderr, "a reader reads")
	answers := os.NewFile(pipe.AnswersFD, "answers")
	packet, control := make([]byte, pipe.MaxQuestion), make([]byte, 256)
	for {
		n, oobn, _, _, err := unix.Recvmsg(pipe.QuestionsFD, packet, control, unix.MSG_CMSG_CLOEXEC)
		if n == 0 || err != nil {
			return 0
		}
		messages, _ := unix.ParseSocketControlMessage(control[:oobn])
		fds, _ := unix.ParseUnixRights(&messages[0])
		q, _ := pipe.DecodeQuestion(packet[:n])
		r := configs.Resolve(configs.Reading{Args: q.Args, Env: os.Environ(), Dir: q.Dir, Open: func(name string) (io.ReadCloser, error) {
			if filepath.IsAbs(name) {
				return os.Open(name)
			}
			return os.NewFile(uintptr(fds[0]), name), nil
		}})
		var document bytes.Buffer
		_ = r.Encode(&document)
		for _, s := range r.Settings {
			switch {
			case s.Key != "module":
			case s.Value == "hangs":
				time.Sleep(time.Hour)
			case s.Value == "naps":
				fmt.Fprintln(os.Stderr, "a reader naps")
				time.Sleep(slowReading + readerPatience/4)
			case s.Value == "dies":
				return 7
			case s.Value == "lies":
				document = *bytes.NewBufferString(`{"version":1,"sockets":"many"}`)
			case s.Value == "babbles":
				_, _ = answers.Write(bytes.Repeat([]byte{0xff}, 1<<16))
			}
		}
		_ = pipe.WriteAnswer(answers, document.Bytes())
	}
}

// crowdOf puts so many vassals in one move, so that they are seen together.
func (m *empire) crowdOf(n int, module string) {
	m.t.Helper()
	staging := m.dir + "/staging"
	if err := os.Mkdir(staging, 0o755); err != nil {
		m.t.Fatal(err)
	}
	for i := range n {
		name := fmt.Sprintf("app%03d.ini", i)
		what := "ok"
		if i == n/2 || module == "naps" && i%8 == 4 { // a few, so that it is not the last of its line
			what = module
		}
		text := fmt.Sprintf("[uwsgi]\nmodule = %s\nsocket = %s\nchmod-socket = 666\n", what, m.socket(name))
		if err := os.WriteFile(staging+"/"+name, []byte(text), 0o644); err != nil {
			m.t.Fatal(err)
		}
		if err := os.Chown(staging+"/"+name, lazyID, lazyID); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := os.Rename(staging, m.dir+"/crowd"); err != nil { // the source
		m.t.Fatal(err)
	}
}

// TestOneReaderForTheFilesOfOneUser, and whatever one of the files does to it, the others wait for connections.
func TestOneReaderForTheFilesOfOneUser(t *testing.T) {
	for module, want := range map[string]crowded{
		"ok": {Waiting, ""}, "dies": {Backoff, "exit code 7"}, "lies": {Refused, "cannot use what vassald --resolve said"}, "hangs": {Backoff, "took longer than"}, "babbles": {Waiting, ""},
	} {
		t.Run(module, func(t *testing.T) { want.test(t, 60, module, true) })
	}
}

// TestOneReaderWhenManyStart at a time, and a file that takes long keeps the others of its user no longer than slowReading.
func TestOneReaderWhenManyStart(t *testing.T) {
	for module, want := range map[string]crowded{
		"ok": {Accepting, ""}, "naps": {Accepting, ""}, "dies": {Backoff, "exit code 7"}, "hangs": {Backoff, "took longer than"},
	} {
		t.Run(module, func(t *testing.T) { want.test(t, 24, module, false) })
	}
}

// crowded is what becomes of the one vassal of a crowd that is not like the others.
type crowded struct {
	state State
	words string
}

func (want crowded) test(t *testing.T, n int, module string, onDemand bool) {
	m := found(t, func(c *configs.Emperor) {
		c.OnDemand = onDemand
		c.Sources = []string{filepath.Dir(c.ControlSocket) + "/crowd"}
	})
	m.crowdOf(n, module)
	others := Accepting
	if onDemand {
		others = Waiting
	}
	for i := range n {
		if name := fmt.Sprintf("app%03d.ini", i); i != n/2 {
			m.await(name, others, "")
		}
	}
	m.eventually(func() bool {
		v, err := m.status(fmt.Sprintf("app%03d.ini", n/2))
		return err == nil && string(v.State) == want.state.String() && strings.Contains(v.Reason, want.words)
	})
	if readers := strings.Count(m.log.String(), "a reader reads"); readers == 0 || readers > n/4 {
		t.Errorf("%d readers for %d files", readers, n)
	}
	if alone := strings.Count(m.log.String(), "a resolver reads"); module == "naps" && alone == 0 {
		t.Error("what stood behind a slow file was not read by resolvers of its own")
	}
	if naps := strings.Count(m.log.String(), "a reader naps"); naps > n/8 || module == "naps" && naps == 0 {
		t.Errorf("slow files were begun %d times", naps)
	}
	if text, err := askSocket(m.socket("app001.ini")); err != nil || !strings.HasSuffix(text, " ok") {
		t.Errorf("%q, %v", text, err)
	}
	if onDemand {
		m.eventually(func() bool { return len(pidsNow()) <= 2 }) // the readers have ended
	}
}
