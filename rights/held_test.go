package rights

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A child that its user holds up must not hold what belongs to others: all of it is closed before the user is taken, and the one
// pipe that is left is the child's own.
func TestOthersDescriptorsAreClosedBeforeTheUserIsTaken(t *testing.T) {
	secret, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	p, err := newPlan(Spec{Path: "/bin/true", Args: []string{"true"}, Files: []uintptr{0, 1, 2}, Rights: Rights{User: &User{UID: 61695, GID: 61695}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	open := map[uintptr]bool{}
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		var fd uintptr
		for _, digit := range n.Name() {
			fd = fd*10 + uintptr(digit-'0')
		}
		open[fd] = true
	}
	if !open[secret.Fd()] {
		t.Fatalf("descriptor %d is not open", secret.Fd())
	}
	for _, s := range p.steps {
		switch {
		case s.number == unix.SYS_CLOSE_RANGE && s.args[2] == 0:
			for fd := range open {
				if fd >= s.args[0] && fd <= s.args[1] {
					delete(open, fd)
				}
			}
		case s.number == unix.SYS_CLOSE:
			delete(open, s.args[0])
		case strings.HasPrefix(s.does, "take "):
			for _, keep := range []uintptr{0, 1, 2, uintptr(p.status[1])} {
				if !open[keep] {
					t.Errorf("descriptor %d is closed", keep)
				}
				delete(open, keep)
			}
			if len(open) > 0 {
				t.Errorf("open when it begins to %s: %v", s.does, open)
			}
			return
		}
	}
	t.Error("no user is taken")
}

// A child whose parent has ended must not go on as a stranger's, whoever else holds a copy of the pipe.
func TestChildAsksWhoseItIs(t *testing.T) {
	for namespaces, want := range map[uintptr]bool{0: true, unix.CLONE_NEWPID | unix.CLONE_NEWNS: false} {
		p, err := newPlan(Spec{Path: "/bin/true", Args: []string{"true"}, Death: unix.SIGTERM, Namespaces: namespaces})
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		asked := false
		death := -1
		for i, s := range p.steps {
			if s.number == unix.SYS_PRCTL && s.args[0] == unix.PR_SET_PDEATHSIG {
				death = i
			}
			asked = asked || s.number == unix.SYS_GETPPID && s.judged && s.want == uintptr(os.Getpid()) && death >= 0
		}
		if asked != want {
			t.Errorf("namespaces %#x: asked %v after the signal was set (step %d)", namespaces, asked, death)
		}
	}
}
