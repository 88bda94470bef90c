package emperor

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
)

// attackAs is a program of the attacker's: it does one thing as fast as it can until its time is over, and then says on
// standard output how often.
func attackAs(mode string, args []string) int {
	seconds, _ := strconv.ParseFloat(os.Getenv("SECONDS"), 64)
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	n := 0
	for ; time.Now().Before(end); n++ {
		switch mode {
		case "swap": // two names, at once: neither is ever missing
			_ = unix.Renameat2(unix.AT_FDCWD, args[0], unix.AT_FDCWD, args[1], unix.RENAME_EXCHANGE)
		case "rename": // away and back: it is missing in between
			_ = os.Rename(args[0], args[1])
			_ = os.Rename(args[1], args[0])
		case "touch":
			now := time.Now()
			_ = os.Chtimes(args[n%len(args)], now, now)
		case "chmod":
			_ = os.Chmod(args[n%len(args)], []os.FileMode{0o644, 0o666, 0, 0o755}[n%4])
		case "remove":
			_ = os.Remove(args[n%len(args)])
			time.Sleep(time.Millisecond)
		case "names":
			name := fmt.Sprintf("%s/evil%d.ini", args[0], n)
			_ = os.WriteFile(name, []byte("[uwsgi]\nmodule = x\n"), 0o644)
			_ = os.Remove(name)
		case "append":
			if f, err := os.OpenFile(args[0], os.O_APPEND|os.O_WRONLY, 0); err == nil {
				_, _ = f.Write(bytes.Repeat([]byte("env = A=B\n"), 1000))
				if st, err := f.Stat(); err == nil && st.Size() > 8<<20 {
					_ = f.Truncate(100)
				}
				f.Close()
			}
		case "kill": // every process of this user but this one
			mine, _ := filepath.Glob("/proc/[0-9]*")
			for _, p := range mine {
				var st unix.Stat_t
				pid, _ := strconv.Atoi(filepath.Base(p))
				if unix.Stat(p, &st) == nil && int(st.Uid) == os.Getuid() && pid != os.Getpid() {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		case "connect":
			var held []net.Conn
			for range 30 {
				if c, err := net.Dial("unix", args[0]); err == nil {
					held = append(held, c)
					_, _ = c.Write([]byte("POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"))
				}
			}
			time.Sleep(50 * time.Millisecond)
			for _, c := range held {
				c.Close()
			}
		}
	}
	fmt.Println(n)
	return 0
}

// escape starts this program again in a session of its own, where the emperor's signals to a session do not come.
func escape(kind string, files ...uintptr) {
	exe, _ := os.Executable()
	_, _ = children.Start(children.Spec{Path: exe, Args: []string{"vassald"}, Env: append(os.Environ(), "ATTACK=sleep", "SECONDS=20", "ESCAPED="+kind), Files: files, Attr: &syscall.SysProcAttr{Setsid: true}})
}

// lie is a mode of the resolver that answers with some text.
func lie(text string) func(*configs.Resolution) int {
	return func(*configs.Resolution) int {
		_, _ = os.Stdout.WriteString(text)
		return 0
	}
}

// socketLie answers with a well-formed document that asks for one socket.
func socketLie(fields, more string) func(*configs.Resolution) int {
	return lie(`{"version":1,"settings":[{"key":"module","value":"ok","place":{"file":"f"}}],"sockets":[{"protocol":"uwsgi",` + fields + `,"place":{"file":"f"}}]` + more + `}`)
}

// resolverModes are what a resolver may do instead of its duty.
var resolverModes = map[string]func(*configs.Resolution) int{
	"hangs and is deaf": func(*configs.Resolution) int {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		time.Sleep(time.Hour)
		return 0
	},
	"stops itself": func(*configs.Resolution) int {
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) { // another thread may take the signal: this one goes on for a moment
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
		return 0
	},
	"leaves a child with the pipe": func(*configs.Resolution) int { escape("holder", 0, 1, 2); return 0 },
	"floods": func(*configs.Resolution) int {
		signal.Ignore(syscall.SIGPIPE)
		for page := bytes.Repeat([]byte("["), 1<<16); ; {
			if _, err := os.Stdout.Write(page); err != nil {
				return 0
			}
		}
	},
	"floods the log": func(*configs.Resolution) int {
		line := []byte("\x1b[2J\x1b]0;owned\a [neighbour.ini] FORGED " + strings.Repeat("x", 3000) + "\n")
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
			_, _ = os.Stderr.Write(line)
		}
		return 7
	},
	"forks": func(*configs.Resolution) int {
		for i := range 40 {
			escape(fmt.Sprint("bomb", i), 0, 2, 2)
		}
		return 0
	},
	"answers over its dead body": func(r *configs.Resolution) int {
		_ = r.Encode(os.Stdout)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	},
	"answers twice": func(r *configs.Resolution) int {
		_ = r.Encode(os.Stdout)
		_ = r.Encode(os.Stdout)
		return 0
	},
	"is root":          func(r *configs.Resolution) int { r.UID, r.GID = "0", "root"; _ = r.Encode(os.Stdout); return 0 },
	"never stops":      func(r *configs.Resolution) int { r.Mercy = 300_000_000; _ = r.Encode(os.Stdout); return 0 },
	"gives it to root": func(r *configs.Resolution) int { r.Sockets[0].Owner = "root"; _ = r.Encode(os.Stdout); return 0 },
	"takes the neighbour": func(r *configs.Resolution) int {
		r.Sockets[0].Address = filepath.Dir(r.Sockets[0].Address) + "/neighbour.sock"
		_ = r.Encode(os.Stdout)
		return 0
	},
	"talks": func(r *configs.Resolution) int {
		for i := range 400 {
			r.Notices = append(r.Notices, fmt.Sprintf("notice %d \x1b[31m\nFORGED %s", i, strings.Repeat("n", 1000)))
		}
		_ = r.Encode(os.Stdout)
		return 0
	},
	"hoards": func(r *configs.Resolution) int {
		for i := range 9000 {
			r.Settings = append(r.Settings, configs.Setting{Key: "k", Value: fmt.Sprint(i, strings.Repeat("v", 30)), Place: configs.Place{File: "f"}})
		}
		_ = r.Encode(os.Stdout)
		return 0
	},
	"a million sockets":  lie(`{"version":1,"settings":[],"sockets":[` + strings.Repeat(`{},`, 1_000_000) + `{}]}`),
	"many sockets":       lie(`{"version":1,"settings":[],"sockets":[` + strings.Repeat(`{},`, 70_000) + `{}]}`),
	"nested":             lie(`{"version":1,"settings":` + strings.Repeat(`{"a":`, 50_000)),
	"brackets":           lie(strings.Repeat("[", 1<<20-1)),
	"doubled":            lie(`{"version":1,"version":2,"settings":[],"sockets":[],"sockets":"x"}`),
	"huge numbers":       lie(`{"version":1,"settings":[],"sockets":[],"mercy":1e400}`),
	"negative":           socketLie(`"address":"/x/y","backlog":-1`, ""),
	"setuid":             socketLie(`"address":"/x/y","mode":2541`, ""),
	"no text":            lie("\xff\xfe\x00{}"),
	"up and away":        socketLie(`"address":"/run/../etc/cron.d/x"`, ""),
	"a name with a line": socketLie(`"address":"/x/y\nFORGED"`, ""),
	"escapes":            lie(`{"version":1,"error":"\u001b[2Jowned\n2026-01-01 00:00:00.000 INFO FORGED line\u202e\u0085"}`),
}

// vassalModes are what a running vassal may do beside its duty.
var vassalModes = map[string]func(r *configs.Resolution, words, board *os.File){
	"cries for help": func(_ *configs.Resolution, words, _ *os.File) { // without end
		go func() {
			for ; ; time.Sleep(20 * time.Millisecond) {
				if _, err := words.Write([]byte{byte(pipe.Reinforcement)}); err != nil {
					return
				}
			}
		}()
	},
	"leaves when idle": func(*configs.Resolution, *os.File, *os.File) { // a reinforcement that is idle
		go func() {
			for ; ; time.Sleep(5 * time.Millisecond) {
				if _, err := os.Stat("leave"); err == nil {
					os.Exit(0)
				}
			}
		}()
	},
	"scribbles": func(_ *configs.Resolution, _, board *os.File) { // on everything that it was given
		_, _ = board.WriteAt(bytes.Repeat([]byte("\x1b[2J{\"failed\":"), pipe.BoardSize/13), 0)
		for _, f := range []*os.File{board, os.NewFile(pipe.FirstListener+1, "settings")} {
			if f.Truncate(1<<30) == nil || f.Truncate(0) == nil {
				fmt.Println("SEAL BROKEN: size")
			}
		}
		if _, err := unix.Write(pipe.FirstListener+1, []byte("x")); err == nil {
			fmt.Println("SEAL BROKEN: settings")
		}
	},
	"floods its output": func(*configs.Resolution, *os.File, *os.File) {
		go func() {
			for line := []byte(strings.Repeat("y", 4000) + "\x1b[31m\n"); ; {
				if _, err := os.Stdout.Write(line); err != nil {
					return
				}
			}
		}()
	},
}
