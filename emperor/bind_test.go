package emperor

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/sockets"
)

// TestANameThatIsUnknownNowKeepsNoServedSocketClosed is about a directory of users that is away, or a user who was removed, while
// the vassal crashes: the emperor has its socket, with the rights that the same file gave it.
func TestANameThatIsUnknownNowKeepsNoServedSocketClosed(t *testing.T) {
	path := t.TempDir() + "/s"
	mode := os.FileMode(0o600)
	l, err := sockets.Bind(sockets.Request{Address: sockets.Address{Kind: sockets.Unix, Path: path}, Mode: &mode, UID: sockets.Anyone, GID: sockets.Anyone}, sockets.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	as := sockets.Identity{Name: "shop", UID: os.Geteuid(), GID: os.Getegid()}
	bind := func(served bool, have ...*sockets.Listener) (bound, error) {
		b := bound{served: served}
		wish := configs.SocketWish{Place: configs.Place{File: "shop.ini", Line: 3}, Address: path, Mode: &mode, Owner: "nobody-of-that-name", Group: "no-such-group"}
		err := b.bindAll(newDirectory(nil), []configs.SocketWish{wish}, have, as, sockets.Policy{}, configs.FirstCome, "shop.ini", "", "")
		return b, err
	}
	b, err := bind(true, l)
	if err != nil || len(b.all) != 1 || b.all[0] != l || len(b.fresh)+len(b.adjust) != 0 {
		t.Errorf("%+v %v", b, err)
	}
	if len(b.warnings) != 1 || !strings.Contains(b.warnings[0], `shop.ini:3: chown-socket: there is no group "no-such-group"`) || !strings.HasSuffix(b.warnings[0], "; the socket keeps the one that it has") {
		t.Errorf("%q", b.warnings)
	}
	mode = 0o640 // what is known still counts
	if b, err := bind(true, l); err != nil || len(b.adjust) != 1 || b.adjust[0].request.UID != sockets.Anyone || b.adjust[0].request.GID != sockets.Anyone {
		t.Errorf("%+v %v", b, err)
	}
	for what, refused := range map[string]func() (bound, error){
		"other settings than those that served": func() (bound, error) { return bind(false, l) },
		"a socket that is not there":            func() (bound, error) { return bind(true) },
	} {
		if b, err := refused(); err == nil || !errors.As(err, new(noName)) || len(b.all) != 0 {
			t.Errorf("%s: %+v %v", what, b, err)
		}
	}
}

// TestWhatTheEmperorHasRunOutOfIsNamed wants a command for each.
func TestWhatTheEmperorHasRunOutOfIsNamed(t *testing.T) {
	for err, words := range map[error]string{
		unix.EMFILE: fmt.Sprintf("prlimit --pid %d --nofile=", os.Getpid()),
		unix.ENFILE: "sysctl fs.file-max",
	} {
		got := scarce(fmt.Errorf("cannot open /dev/null: %w", err))
		if !errors.Is(got, err) || !strings.HasPrefix(got.Error(), "cannot open /dev/null: "+err.Error()) || !strings.Contains(got.Error(), words) {
			t.Errorf("%v", got)
		}
	}
	if other := errors.New("something else"); scarce(other) != other {
		t.Error("an error that has nothing to do with it was changed")
	}
}
