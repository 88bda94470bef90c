package emperor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
)

// checkFlag is the first argument of a dry run: a program that does not know it refuses its command line, and does nothing.
const checkFlag = "--emperord-handover-check"

// Descriptors of a dry run beside standard input, output and error.
const (
	checkDocument = 3
	checkAnswer   = 4
)

// A Handover is what this program was given by the one whose place it takes.
type Handover struct {
	check    bool
	document *os.File
	old      int
	keeper   int   // a descriptor: who closes it says that signals are listened to; 0: there is no keeper
	fds      []int // all that were handed over
	refused  string
	signals  chan os.Signal // what arrives from the first moment on
	sum      string
	d        *document
	keep     *Emperor // so that no descriptor is closed before the way back

	mu    sync.Mutex
	taken bool
	said  bytes.Buffer // what went to standard error before it was taken
}

// An answered is what a dry run says.
type answered struct {
	Handover int    `json:"handover"` // documentFormat
	Sum      string `json:"sum"`      // SHA-256 of the document: nobody says this by chance
	Version  string `json:"version"`
	Keeps    bool   `json:"keeps,omitempty"` // it closes the descriptor of keeperVariable
	Error    string `json:"error,omitempty"`
}

// TakesOver tells whether a program with these arguments and this environment is to take the place of another one, or to
// try whether it could.
func TakesOver(args, env []string) bool {
	_, over := variableOf(env, handoverVariable)
	return over || len(args) > 0 && args[0] == checkFlag
}

// Inherit tells whether this program takes the place of another one, and returns arguments and environment without the
// words for that. It has to be called before anything is opened. Without a handover it returns nil.
func Inherit(args, env []string) (*Handover, []string, []string, error) {
	value, refused, arrived, keeper := "", "", "", ""
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, text, _ := strings.Cut(kv, "=")
		switch name {
		case handoverVariable:
			value = text
		case refusedVariable:
			refused = text
		case signalsVariable:
			arrived = text
		case keeperVariable:
			keeper = text
		default:
			return false
		}
		return true
	})
	if len(args) > 0 && args[0] == checkFlag {
		h := &Handover{check: true, document: os.NewFile(checkDocument, "handover")}
		return h, args[1:], env, closeOnExec()
	}
	if value == "" {
		return nil, args, env, nil
	}
	first, second, _ := strings.Cut(value, ":")
	document, err := strconv.Atoi(first)
	old, failed := strconv.Atoi(second)
	if err != nil || failed != nil || document < 3 || old < 3 || document == old {
		return nil, args, env, fmt.Errorf("cannot take over: %s = %q names no two descriptors; it is for emperord itself: unset it", handoverVariable, value)
	}
	h := &Handover{document: os.NewFile(uintptr(document), "handover"), old: old, refused: refused, signals: make(chan os.Signal, 16)}
	signal.Notify(h.signals, heard...)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a log whose reader has gone must not end us; see loop
	for text := range strings.SplitSeq(arrived, ",") {
		if n, err := strconv.Atoi(text); err == nil && slices.Contains(heard, os.Signal(syscall.Signal(n))) && len(h.signals) < cap(h.signals)/2 {
			h.signals <- syscall.Signal(n)
		}
	}
	if h.fds, err = inherited(); err == nil {
		err = closeOnExec()
	}
	if fd, failed := strconv.Atoi(keeper); failed == nil && fd != document && fd != old && slices.Contains(h.fds, fd) {
		h.keeper = fd
	}
	if refused != "" { // run by the number of a descriptor
		name := []byte(filepath.Base(os.Args[0]) + "\x00")
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(pointer(name)), 0, 0, 0)
	}
	return h, args, env, err
}

// inherited lists the descriptors that an exec has left open.
func inherited() (fds []int, err error) {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, fmt.Errorf("cannot list the own descriptors: %w", err)
	}
	for _, n := range names {
		fd, err := strconv.Atoi(n.Name())
		if err != nil || fd < 3 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			fds = append(fds, fd)
		}
	}
	return fds, nil
}

// Stderr returns what this program writes its errors to: they are the reason, should it not take over.
func (h *Handover) Stderr(w io.Writer) io.Writer {
	if h == nil {
		return w
	}
	return &witnessed{h, w}
}

// A witnessed writer remembers what is written.
type witnessed struct {
	h  *Handover
	to io.Writer
}

// Write passes text on.
func (w *witnessed) Write(text []byte) (int, error) {
	w.h.mu.Lock()
	if room := maxSaid - w.h.said.Len(); !w.h.taken && room > 0 {
		w.h.said.Write(text[:min(room, len(text))])
	}
	w.h.mu.Unlock()
	return w.to.Write(text)
}

// reason is what was said, fit for one line.
func (h *Handover) reason(code int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if text := strings.TrimSpace(pipe.Clean(h.said.String(), maxSaid)); text != "" {
		return text
	}
	return "exit code " + strconv.Itoa(code)
}

// maxSaid bounds the reason for not taking over, in bytes.
const maxSaid = 4 << 10

// Settings returns the configuration that this program had before the upgrade that was refused: it goes on with it, though the
// files may have changed. Nil: the configuration is to be read.
func (h *Handover) Settings() (configs.Settings, error) {
	if h == nil || h.refused == "" {
		return nil, nil
	}
	d, err := h.read()
	if err != nil {
		return nil, err
	}
	return d.Settings, nil
}

// read reads the document.
func (h *Handover) read() (*document, error) {
	if h.d != nil {
		return h.d, nil
	}
	if _, err := h.document.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("cannot read the handover: %w", err)
	}
	hash := sha256.New()
	d, err := decodeDocument(io.TeeReader(h.document, hash))
	h.sum = hex.EncodeToString(hash.Sum(nil))
	if err != nil {
		return nil, err
	}
	h.d = d
	return d, nil
}

// End has the program before go on if this one has not taken over. It is the last thing that main does with the
// exit code, and returns it where there is nobody to go back to.
func (h *Handover) End(code int, version string) int {
	switch {
	case h == nil || h.taken:
		return code
	case h.check:
		h.answer(version, code)
		return code
	}
	reason := h.reason(code)
	if h.refused != "" { // it was given back once; there is nobody else
		fmt.Fprintln(os.Stderr, "emperord: can neither upgrade nor go on:", reason, "(the upgrade was refused because:", h.refused+")")
		return code
	}
	if err := h.back(reason); err != nil {
		fmt.Fprintln(os.Stderr, "emperord: cannot take over:", reason, "and cannot go back to the program before:", err)
	}
	return code
}

// back executes the program before, with what it has handed over.
func (h *Handover) back(reason string) error {
	if err := holdBack(unix.SIG_BLOCK); err != nil {
		return err
	}
	defer func() { _ = holdBack(unix.SIG_UNBLOCK) }()
	signals, end := lastSignals(h.signals)
	if end != nil { // the program before ends in order, by what the keeper keeps or by what it finds
		signals = append(signals, end.(syscall.Signal))
	}
	now, err := ownPowers()
	if err != nil {
		return err
	}
	env := append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, handoverVariable) }),
		fmt.Sprintf("%s=%d:%d", handoverVariable, h.document.Fd(), h.old), refusedVariable+"="+reason, written(signals))
	if h.keeper != 0 {
		env = append(env, fmt.Sprintf("%s=%d", keeperVariable, h.keeper))
	}
	return image{path: "/proc/self/fd/" + strconv.Itoa(h.old), args: os.Args, env: env, fds: h.fds, kept: h.keeper != 0, powers: now}.execute()
}

// answer ends a dry run.
func (h *Handover) answer(version string, code int) {
	a := answered{Handover: documentFormat, Sum: h.sum, Version: version, Keeps: true}
	if code != 0 || h.d == nil {
		a.Error = h.reason(code)
	}
	text, err := json.Marshal(a)
	if err == nil {
		_, _ = unix.Write(checkAnswer, text)
	}
}

// checks tells whether this is a dry run, which governs nothing.
func (h *Handover) checks() bool { return h != nil && h.check }

// tryOn is Run of a dry run: everything that could keep this program from taking over is found out.
func (e *Emperor) tryOn(h *Handover) error {
	d, err := h.read()
	if err != nil {
		return err
	}
	if err := d.Must.differs(settledIn(e.c)); err != nil {
		return mistake("%w", err)
	}
	e.powers = powers(d.Powers)
	_, err = e.prepareSelf()
	return err
}

// takeOver makes what was handed over ours, or changes nothing that counts.
func (e *Emperor) takeOver(h *Handover) (sources []source, err error) {
	h.keep = e
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a fault of this emperord: %v", r)
		}
	}()
	d, err := h.read()
	if err != nil {
		return nil, err
	}
	if h.refused == "" {
		if err := d.Must.differs(settledIn(e.c)); err != nil {
			return nil, mistake("%w", err)
		}
	}
	if err := e.restorePowers(powers(d.Powers)); err != nil {
		return nil, err
	}
	if sources, err = e.prepareSelf(); err != nil {
		return nil, err
	}
	if err := e.take(d); err != nil {
		return nil, err
	}
	if h.refused != "" {
		e.program = d.Before
	} else if same, err := ourselves(e.program); err == nil && !same { // a script that has executed us: it is no newer program at each SIGHUP
		e.program, _ = os.Executable()
	}
	t := &taking{e: e, c: newClock(), d: d}
	if err := t.groups(); err != nil {
		return nil, err
	}
	e.control, err = t.control()
	return sources, err
}

// commit ends the way back.
func (h *Handover) commit() {
	h.mu.Lock()
	h.taken, h.keep, h.d = true, nil, nil
	h.mu.Unlock()
	h.document.Close()
	_ = unix.Close(h.old)
	if h.keeper != 0 {
		_ = unix.Close(h.keeper) // h.signals takes what it has kept
	}
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

var errNotProgram = errors.New("this emperor was not started as a program of its own")
