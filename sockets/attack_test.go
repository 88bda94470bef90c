package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/cmd/e2e/witness"
)

// The attacker, and the neighbour whom it would like to hurt. No real system has them.
var (
	eve = Identity{Name: "eve", UID: 61301, GID: 61301}
	bob = Identity{Name: "bob", UID: 61302, GID: 61302}
)

const eveWeb = 61398 // a group that emperor-socket-groups names

// A binder makes the sockets that tenants ask for: the real package, or a naive double that shows what the attacks are
// worth.
type binder interface {
	Bind(Request, Policy) (bound, error)
}

// A bound socket is what a binder has made.
type bound interface {
	Adjust(Request, Policy) ([]string, error)
	Remove() error
}

// genuine is the real package.
type genuine struct{}

func (genuine) Bind(r Request, p Policy) (bound, error) {
	l, err := Bind(r, p)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// An arena is a small machine: folders of eve's, of bob's, of root's, and a runtime root.
//
//	root/     the runtime root; live.sock and bob.sock are bob's (served and dead), roots.sock is root's and dead
//	home/     eve's
//	bob/      bob's: live.sock, a.sock (dead), letter (a file)
//	precious/ root's, no runtime root: passwd (a file), live.sock, a.sock (dead), folder/
//	tmp/      sticky, everybody writes: bob-live.sock, bob-dead.sock
type arena struct {
	t    *testing.T
	dir  string
	live []net.Listener
}

func newArena(t *testing.T) *arena {
	t.Helper()
	dir, p := place(t, &eve)
	a := &arena{t: t, dir: dir}
	mkdir(t, p.Roots[0], 0o755, 0, 0)
	mkdir(t, dir+"/home", 0o755, eve.UID, eve.GID)
	mkdir(t, dir+"/bob", 0o755, bob.UID, bob.GID)
	mkdir(t, dir+"/precious", 0o755, 0, 0)
	mkdir(t, dir+"/precious/folder", 0o755, 0, 0)
	mkdir(t, dir+"/tmp", 0o777|os.ModeSticky, 0, 0)
	a.file("precious/passwd", 0)
	a.file("bob/letter", bob.UID)
	for path, uid := range map[string]int{"precious/live.sock": 0, "bob/live.sock": bob.UID, "root/live.sock": bob.UID, "tmp/bob-live.sock": bob.UID} {
		a.socket(path, uid, true)
	}
	for path, uid := range map[string]int{"precious/a.sock": 0, "bob/a.sock": bob.UID, "root/bob.sock": bob.UID, "root/roots.sock": 0, "tmp/bob-dead.sock": bob.UID} {
		a.socket(path, uid, false)
	}
	return a
}

func (a *arena) policy() Policy {
	return Policy{Tenant: &eve, Roots: []string{a.dir + "/root"}, Groups: []int{eveWeb}}
}

func (a *arena) must(errs ...error) {
	a.t.Helper()
	if err := errors.Join(errs...); err != nil {
		a.t.Fatal(err)
	}
}

// path returns the place of a name in the arena; a name that begins with / stands for itself.
func (a *arena) path(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return a.dir + "/" + name
}

func (a *arena) file(name string, uid int) {
	a.t.Helper()
	a.must(os.WriteFile(a.path(name), []byte("precious"), 0o600), os.Chown(a.path(name), uid, uid), os.Chmod(a.path(name), 0o644))
}

// socket makes a socket of uid's, on which somebody answers or nobody.
func (a *arena) socket(name string, uid int, live bool) {
	a.t.Helper()
	l, err := net.Listen("unix", a.path(name))
	a.must(err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	a.must(os.Chmod(a.path(name), 0o600), os.Chown(a.path(name), uid, uid))
	if !live {
		a.must(l.Close())
		return
	}
	a.live = append(a.live, l)
	a.t.Cleanup(func() { l.Close() })
}

// request is what eve's vassal file asks for.
func (a *arena) request(name string) Request {
	return request(a.path(name), 0o666, Anyone, eveWeb)
}

// answered tells whether the neighbours' live sockets still lead to them.
func (a *arena) answered() error {
	for _, l := range a.live {
		c, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			return fmt.Errorf("the neighbour is not reached any more: %w", err)
		}
		c.Close()
		served, err := l.Accept()
		if err != nil {
			return err
		}
		served.Close()
	}
	return nil
}

// mine tells what eve does in her own folders: her business. Behind a folder that she swaps a walk may see anything.
func (a *arena) mine(path string) bool {
	for _, own := range []string{"/home", "/root/eve", "/tmp/eve"} {
		if strings.HasPrefix(path, a.dir+own) && path != a.dir+"/home" {
			return true
		}
	}
	return false
}

// An attack is something that a hostile tenant tries.
type attack struct {
	name    string
	arrange func(a *arena)         // what eve (and what root, carelessly) has prepared
	ask     string                 // the path that eve's vassal file asks for
	change  func(*Request)         // what else the file asks for
	policy  func(*arena, *Policy)  // what root has configured, where it is not the usual
	refused []string               // the real binder refuses, with these words in its message; nil: it may bind
	spare   func(path string) bool // what may differ afterwards
	race    string                 // what a process of eve's does meanwhile, without end
	args    func(a *arena) []string
	renew   func(a *arena) // mends the trap, when we have stepped into it
}

// rounds is how often the real binder stands a race, patience how often a double may be lucky. It is caught long before.
const (
	rounds   = 250
	patience = 60000
)

// A fault is what went wrong. Harm is a change to something that is not the tenant's, the rest is leniency.
type fault struct {
	harm bool
	text string
}

// names is what a snapshot says of hard links: eve's own names of somebody's file come and go.
var names = regexp.MustCompile(` names [0-9]+`)

// run leads the attack against b and returns what went wrong; a double is left at its first fault.
func (k attack) run(t *testing.T, b binder) (faults []fault) {
	t.Helper()
	a := newArena(t)
	if k.arrange != nil {
		k.arrange(a)
	}
	r, p := a.request(k.ask), a.policy()
	if k.change != nil {
		k.change(&r)
	}
	if k.policy != nil {
		k.policy(a, &p)
	}
	_, real := b.(genuine)
	note := func(harm bool, format string, args ...any) {
		faults = append(faults, fault{harm, fmt.Sprintf(format, args...)})
	}
	look := witness.Look(t, a.dir)
	users := passwd(t)
	inner := witness.Look(t, a.dir+"/root", a.dir+"/bob", a.dir+"/precious", a.dir+"/tmp") // nothing that eve swaps
	spare := func(path string) bool { return k.race != "" && a.mine(path) || k.spare != nil && k.spare(path) }
	judge := func(s witness.Snapshot, spare func(string) bool) {
		for _, d := range s.Differences(t, spare) {
			if _, change, ok := strings.Cut(d, " was changed from "); ok && k.race != "" {
				if from, to, _ := strings.Cut(change, " to "); names.ReplaceAllString(from, "") == names.ReplaceAllString(to, "") {
					continue
				}
			}
			note(true, "%s", d)
		}
	}
	before := openDescriptors(t)
	times, racer := 1, (*attacker)(nil)
	if k.race != "" {
		if times = patience; real {
			times = rounds
		}
		racer = unleash(t, eve, k.race, k.args(a)...)
	}
	successes := 0
	for i := 0; i < times && len(faults) == 0; i++ {
		if k.renew != nil && i%16 == 0 {
			k.renew(a)
		}
		turn := r
		l, err := b.Bind(turn, p)
		if err == nil {
			successes++
			if k.refused != nil {
				note(false, "Bind(%q) succeeded", r.Address.Path)
			}
			for _, mode := range []fs.FileMode{0o600, 0o666} {
				turn.Mode = &mode
				_, _ = l.Adjust(turn, p)
			}
			if k.race == "" || i%8 == 0 {
				judge(inner, func(path string) bool { return path == r.Address.Path || spare(path) })
			}
			_ = l.Remove()
		} else if real {
			for _, word := range k.refused {
				if !strings.Contains(err.Error(), word) {
					note(false, "the message %q does not hold %q", err, word)
				}
			}
		}
		if k.race != "" && (!real || i%8 == 0) {
			judge(inner, spare)
		}
	}
	if racer != nil {
		if n := racer.end(); n < uint64(times)/4 && len(faults) == 0 {
			note(false, "the attacker acted %d times only, in %d rounds", n, times)
		}
	}
	judge(look, spare)
	if now := passwd(t); now != users {
		note(true, "/etc/passwd was changed from %s to %s", users, now)
	}
	if err := a.answered(); err != nil {
		note(true, "%v", err)
	}
	if real {
		for _, f := range audit(before) {
			note(true, "%s", f)
		}
		if racer != nil {
			t.Logf("%d of %d binds succeeded", successes, times)
		}
	}
	return faults
}

// passwd describes the real /etc/passwd. Its inode and size are other tests' business, who add users meanwhile.
func passwd(t *testing.T) string {
	t.Helper()
	st, err := lstat("/etc/passwd")
	text, failed := os.ReadFile("/etc/passwd")
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return fmt.Sprintf("%o of %d:%d, %q", st.Mode, st.Uid, st.Gid, first)
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// audit tells what of this process an attack has left changed: descriptors, or a thread with other rights than its own.
// The runtime ends threads and closes what nobody refers to a little late.
func audit(descriptors int) (faults []string) {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		faults = nil
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil || len(names) > descriptors {
			faults = append(faults, fmt.Sprintf("%d descriptors before, %d after, %v", descriptors, len(names), err))
		}
		tasks, err := filepath.Glob("/proc/self/task/*/status")
		if err != nil || len(tasks) == 0 {
			faults = append(faults, fmt.Sprintf("no threads: %v", err))
		}
		self, err := os.ReadFile("/proc/thread-self/status")
		if err != nil {
			return append(faults, err.Error())
		}
		want := credentials(string(self))
		for _, path := range tasks {
			if text, err := os.ReadFile(path); err == nil && credentials(string(text)) != want {
				faults = append(faults, fmt.Sprintf("%s has %q, want %q", path, credentials(string(text)), want))
			}
		}
		if len(faults) == 0 || time.Now().After(end) {
			return faults
		}
	}
}

// credentials are the lines of a status file that say whose rights a thread has.
func credentials(status string) string {
	var lines []string
	for _, line := range strings.Split(status, "\n") {
		for _, key := range []string{"Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:"} {
			if strings.HasPrefix(line, key) {
				lines = append(lines, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	return strings.Join(lines, "; ")
}

func TestRealBinderWithstandsEveryAttack(t *testing.T) {
	for _, k := range attacks() {
		t.Run(k.name, func(t *testing.T) {
			for _, f := range k.run(t, genuine{}) {
				t.Error(f.text)
			}
		})
	}
}

// TestNaiveBindersAreCaught shows for each double which attacks see through it.
func TestNaiveBindersAreCaught(t *testing.T) {
	for _, d := range doubles {
		t.Run(d.name, func(t *testing.T) {
			var caught []string
			for _, k := range attacks() {
				if k.race != "" && !slices.Contains(d.races, k.name) && os.Getenv("EVERY_RACE") == "" {
					continue // it would take all its patience to see that nothing happens
				}
				t.Run(k.name, func(t *testing.T) {
					for _, f := range k.run(t, d.binder) {
						t.Logf("caught: %s", f.text)
						if f.harm && !slices.Contains(caught, k.name) {
							caught = append(caught, k.name)
						}
					}
				})
			}
			want := append(slices.Clone(d.caught), d.races...)
			slices.Sort(want)
			slices.Sort(caught)
			if !slices.Equal(caught, want) {
				t.Errorf("it did harm under these attacks:\n%s\nwant:\n%s", strings.Join(caught, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func lstat(path string) (st unix.Stat_t, err error) { return st, unix.Lstat(path, &st) }
