package emperor

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/configs/sources"
	"github.com/emperord/emperord/protocol/pipe"
)

// TestMain makes the test binary its own vassald: it resolves files like the real one, and acts as the module says.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "vassald" {
		os.Exit(actAsVassald())
	}
	os.Exit(m.Run())
}

func actAsVassald() int {
	if mode := os.Getenv("ATTACK"); mode != "" {
		return attackAs(mode, os.Args[1:])
	}
	if file := os.Getenv("STOPPER"); file != "" {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			now := time.Now()
			_ = os.Chtimes(file, now, now)
			for range 200 {
				_ = syscall.Kill(-1, syscall.SIGSTOP) // everything of this user but itself
			}
		}
		return 0
	}
	if len(os.Args) > 1 && os.Args[1] == "--resolve-many" {
		return actAsReader()
	}
	if len(os.Args) > 1 && os.Args[1] == "--resolve" {
		dir, _ := os.Getwd()
		if filepath.Base(dir) == "crowd" {
			fmt.Fprintln(os.Stderr, "a resolver reads")
		}
		from := &sources.Opener{Dir: dir, Env: slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "EMPERORD_") }), Stderr: os.Stderr, Patience: 2 * time.Second}
		r := configs.Resolve(configs.Reading{Args: os.Args[2:], Env: os.Environ(), Dir: dir, Source: from.Open, Open: func(name string) (io.ReadCloser, error) {
			if filepath.IsAbs(name) {
				return os.Open(name)
			}
			return io.NopCloser(io.NewSectionReader(os.NewFile(3, "vassal file"), 0, 1<<20)), nil
		}})
		if r.Error == "" && r.Settings != nil {
			for _, s := range r.Settings {
				if lie, known := resolverModes[s.Value]; s.Key == "module" && known {
					return lie(r)
				}
				if s.Key == "module" && s.Value == "lies" {
					fmt.Println(`{"version":1,"sockets":"many"}`)
					return 0
				}
				if s.Key == "module" && s.Value == "hangs" {
					time.Sleep(time.Hour)
				}
				if s.Key == "module" && s.Value == "dies" {
					return 7
				}
			}
		}
		if r.Encode(os.Stdout) != nil {
			return 1
		}
		return 0
	}
	if os.Getenv("ORPHAN") != "" {
		signal.Ignore(syscall.SIGTERM)
		time.Sleep(time.Hour)
	}
	fd := func(variable string) *os.File {
		n, err := strconv.Atoi(os.Getenv(variable))
		if err != nil {
			fmt.Fprintln(os.Stderr, "no", variable)
			os.Exit(1)
		}
		return os.NewFile(uintptr(n), variable)
	}
	r, err := configs.DecodeResolution(fd(pipe.SettingsVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	module := ""
	for _, s := range r.Settings {
		if s.Key == "module" {
			module = s.Value
		}
	}
	words, board := fd(pipe.FDVariable), fd(pipe.BoardVariable)
	say := func(w pipe.Word) { words.Write([]byte{byte(w)}) }
	if misbehave, known := vassalModes[module]; known {
		misbehave(r, words, board)
	}
	switch module {
	case "fails":
		pipe.WriteNotice(board, pipe.Notice{Failed: "cannot import shop\x1b[31m"})
		return 1
	case "exile":
		return pipe.Exile
	case "beats once":
		say(pipe.Heartbeat)
	case "loads until enough": // and hears nothing meanwhile
		for {
			if _, err := os.Stat("enough"); err == nil {
				return 1
			}
			time.Sleep(20 * time.Millisecond)
		}
	case "slow":
		time.Sleep(200 * time.Millisecond)
	case "silent":
		fmt.Fprintln(os.Stderr, "these are my last words")
		time.Sleep(100 * time.Millisecond)
		return 3
	case "fails with a talker": // its output stays open
		exe, _ := os.Executable()
		_, _ = children.Start(children.Spec{Path: exe, Args: []string{"vassald"}, Env: append(os.Environ(), "ORPHAN=1"), Files: []uintptr{0, 1, 2}, Attr: &syscall.SysProcAttr{Setsid: true}})
		return 3
	case "writes a log of its own", "writes a log of its own and dies":
		var own pipe.Tail
		own.Add(time.Unix(0, 0), []byte("from my own log"))
		own.Add(time.Now().Add(1000*time.Hour), []byte("from the future"))
		if err := own.Write(board); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		if strings.HasSuffix(module, "dies") {
			return 3
		}
	case "fills its board":
		board.WriteAt(bytes.Repeat([]byte("\xffjunk\x00"), 6<<10), 0)
	case "never accepts":
		_, _ = words.Read(make([]byte, 1))
		return 0
	case "shouts":
		say(pipe.Accepting)
		go func() {
			for junk := bytes.Repeat([]byte{99}, 1<<16); ; {
				if _, err := words.Write(junk); err != nil {
					os.Exit(0)
				}
			}
		}()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		say(pipe.Accepting)
		time.Sleep(time.Hour)
	case "leaves an orphan", "leaves a daemon": // in its session, or in a session of its own
		attr := &syscall.SysProcAttr{Setsid: module == "leaves a daemon"}
		exe, _ := os.Executable()
		if _, err := children.Start(children.Spec{Path: exe, Args: []string{"vassald", "--sleep"}, Env: append(os.Environ(), "ORPHAN=1"), Files: []uintptr{0, 1, 2}, Attr: attr}); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	if module == "leaves at once" {
		for say(pipe.Accepting); ; say(pipe.LetMeGo) {
			told := []unix.PollFd{{Fd: int32(words.Fd()), Events: unix.POLLIN}}
			if n, _ := unix.Poll(told, 50); n == 1 {
				return 0
			}
		}
	}
	l, err := net.FileListener(os.NewFile(pipe.FirstListener, "listener"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var under sync.WaitGroup
	under.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if module == "takes its time" {
				under.Go(func() {
					_, _ = c.Read(make([]byte, 1)) // until the client lets it go on
					fmt.Fprintf(c, "%d %s", os.Getpid(), module)
					c.Close()
				})
				continue
			}
			fmt.Fprintf(c, "%d %s", os.Getpid(), module)
			c.Close()
		}
	})
	say(pipe.Spawned)
	say(pipe.Accepting)
	if module == "idles" {
		go func() {
			for {
				time.Sleep(200 * time.Millisecond)
				say(pipe.LetMeGo)
			}
		}()
	}
	if module == "beats once" { // only what serves is missed
		time.Sleep(leastBeat)
		say(pipe.Heartbeat)
	}
	buf := make([]byte, 1)
	for {
		n, err := words.Read(buf)
		if n == 1 && (pipe.Word(buf[0]) == pipe.Stop || pipe.Word(buf[0]) == pipe.StopGraceful) || err != nil {
			l.Close()
			under.Wait()
			return 0
		}
	}
}
