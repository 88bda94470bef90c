package emperor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/cmd/e2e/witness"
	"github.com/emperord/emperord/configs"
)

// home makes a folder of uid's beside the runtime root.
func (m *empire) home(name string, uid int) string {
	m.t.Helper()
	dir := m.dir + "/" + name
	if err := os.Mkdir(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Chown(dir, uid, uid); err != nil {
		m.t.Fatal(err)
	}
	return dir
}

func TestSecondVassalOfAnAddressIsToldTheFirst(t *testing.T) {
	m := found(t, nil)
	home := m.home("home", shopID)
	if err := os.Symlink(".", home+"/alias"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	m.put("shop.ini", shopID, "module = ok", "socket = "+home+"/a.sock", fmt.Sprintf("socket = 127.0.0.1:%d", port))
	m.await("shop.ini", Accepting, "")
	m.put("path.ini", shopID, "module = ok", "socket = "+home+"/alias/a.sock")
	m.await("path.ini", Backoff, "a socket of the vassal shop.ini")
	m.put("same.ini", shopID, "module = ok", "socket = "+home+"/a.sock")
	m.await("same.ini", Backoff, "the vassal shop.ini has this address")
	m.put("port.ini", blogID, "module = ok", fmt.Sprintf("socket = :%d", port))
	m.await("port.ini", Backoff, "a socket of the vassal shop.ini")
}

// TestClaimOnAPathInSomebodysFolderKeepsThatOneFromNothing has a stranger ask for the path first.
func TestClaimOnAPathInSomebodysFolderKeepsThatOneFromNothing(t *testing.T) {
	needRoot(t)
	root, err := os.MkdirTemp("/run", "claim-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	mustDo(t, os.Chmod(root, 0o755), os.Mkdir(root+"/shop", 0o755), os.Chown(root+"/shop", shopID, shopID))
	e := &Emperor{c: &configs.Emperor{SocketRoots: []string{root}}, tyrant: true, addresses: map[string]*vassal{}}
	wish := []configs.SocketWish{{Address: "/home/shop/a.sock"}, {Address: root + "/shop/a.sock"}} // one that the emperor has made for shop
	stranger, owner := &vassal{name: "stranger.ini"}, &vassal{name: "shop.ini"}
	first, second := &attempt{}, &attempt{}
	first.who.UID, second.who.UID = blogID, shopID
	if err := e.claim(stranger, first, wish); err != nil {
		t.Fatal(err)
	}
	if err := e.claim(owner, second, wish); err != nil {
		t.Error(err)
	}
	if err := e.claim(stranger, &attempt{who: first.who}, []configs.SocketWish{{Address: root + "/shop.sock"}}); err != nil {
		t.Fatal(err)
	}
	if err := e.claim(owner, &attempt{who: second.who}, []configs.SocketWish{{Address: root + "/shop.sock"}}); err == nil || !strings.Contains(err.Error(), "stranger.ini") {
		t.Errorf("a name in a shared root belongs to who asked first: %v", err)
	}
	for range 5 { // reloads
		if err := e.claim(stranger, &attempt{who: first.who}, wish); err != nil {
			t.Fatal(err)
		}
	}
	if len(stranger.addresses) != 3 {
		t.Errorf("claimed: %q", stranger.addresses)
	}
}

// TestPortThatIsDroppedResetsNobody: who has connected to a port that a reload drops is served, and who comes later is refused.
func TestPortThatIsDroppedResetsNobody(t *testing.T) {
	m := found(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().String()
	l.Close()
	var mu sync.Mutex
	served, refused := 0, 0
	ask := func() error {
		c, err := net.DialTimeout("tcp", port, 10*time.Second)
		if errors.Is(err, unix.ECONNREFUSED) {
			mu.Lock()
			refused++
			mu.Unlock()
			return nil
		} else if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		text, err := io.ReadAll(c)
		if err == nil && !strings.HasSuffix(string(text), " ok") {
			err = fmt.Errorf("answered %q", text)
		}
		mu.Lock()
		served++
		mu.Unlock()
		return err
	}
	for round := range 5 {
		m.put("shop.ini", shopID, "module = ok", "socket = "+port) // its first socket is the one that it serves
		m.eventually(func() bool {
			v := m.await("shop.ini", Accepting, "")
			return v.Sockets[0].Address == port && len(v.Generations) == 1
		})
		served, refused = 0, 0
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
					err := ask()
					mu.Lock()
					over := refused > 0
					mu.Unlock()
					if err != nil {
						t.Errorf("round %d: %v", round, err)
					}
					if err != nil || over {
						return
					}
				}
			})
		}
		m.eventually(func() bool { mu.Lock(); defer mu.Unlock(); return served > 50 })
		m.app("shop.ini", shopID, "ok")
		clients.Wait()
		if refused == 0 {
			t.Error("the port is still there")
		}
	}
}

func TestOwnNameIsDemandedOfEveryNewNameInARoot(t *testing.T) {
	m := found(t, func(c *configs.Emperor) { c.SocketPolicy = configs.OwnName })
	m.put("blog.ini", shopID, "module = ok", "socket = "+m.dir+"/run/shop.sock/blog.sock")
	m.await("blog.ini", Refused, "own-name")
	m.put("shop.ini", shopID, "module = ok", "socket = "+m.dir+"/run/shop.sock")
	m.await("shop.ini", Accepting, "")
}

// TestSocketAttackedWhileItIsReloadedStaysHarmless has a tenant exchange the folder of its socket for a link without end,
// while its file asks for another mode with each reload.
func TestSocketAttackedWhileItIsReloadedStaysHarmless(t *testing.T) {
	m := found(t, nil)
	home := m.home("home", shopID)
	for _, dir := range []string{"/home/d", "/precious"} {
		if err := os.Mkdir(m.dir+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(m.dir+"/precious/a.sock", []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(m.dir+"/precious", home+"/l"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/d", "/l"} {
		if err := os.Lchown(home+name, shopID, shopID); err != nil {
			t.Fatal(err)
		}
	}
	m.app("blog.ini", blogID, "ok")
	pid := m.await("blog.ini", Accepting, "").PID
	precious := witness.Look(t, m.dir+"/precious", m.dir+"/run", filepath.Dir(m.config.ControlSocket)+"/bin")
	ended := make(chan struct{})
	stop := make(chan struct{})
	go func() { // with root's rights it is no weaker
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, home+"/d", unix.AT_FDCWD, home+"/l", unix.RENAME_EXCHANGE)
			}
		}
	}()
	for i := range 40 {
		m.put("shop.ini", shopID, "module = ok", "socket = "+home+"/d/a.sock", "chmod-socket = "+[]string{"600", "666"}[i%2])
		time.Sleep(25 * time.Millisecond)
		if got, _ := m.ask("blog.ini"); got != pid {
			t.Fatalf("the neighbour is %d now, it was %d", got, pid)
		}
	}
	precious.Unchanged(t, nil)
	if err := os.Remove(m.dir + "/vassals/shop.ini"); err != nil {
		t.Fatal(err)
	}
	m.await("shop.ini", Absent, "")
	close(stop)
	<-ended
	precious.Unchanged(t, nil)
}

// TestAFolderThatHangsHoldsUpItsOwnVassalsAlone lets the folder of a tenant's sockets hang while they are served, made,
// reloaded and removed. The neighbours go on, no more than the allowed attempts wait, and all is well when it answers again.
func TestAFolderThatHangsHoldsUpItsOwnVassalsAlone(t *testing.T) {
	m := found(t, nil)
	home := m.home("home", shopID)
	serve := func(name string, more ...string) {
		m.put(name, shopID, append([]string{"module = ok", "socket = " + home + "/" + name + ".sock"}, more...)...)
	}
	neighbour := func(name string) {
		t.Helper()
		m.app(name, blogID, "ok")
		m.await(name, Accepting, "")
	}
	serve("shop.ini")
	serve("gone.ini")
	m.await("shop.ini", Accepting, "")
	m.await("gone.ini", Accepting, "")
	release := hang(t, home)
	neighbour("one.ini")
	serve("late.ini")                                              // binds
	if err := os.Remove(m.dir + "/vassals/gone.ini"); err != nil { // unlinks
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; { // looks whether the socket is intact, and would bind again, until too many wait
		m.touch("shop.ini")
		time.Sleep(restless + 50*time.Millisecond)
		v, err := m.status("shop.ini")
		if err == nil && string(v.State) == Accepting.String() && strings.Contains(v.Reason, "do not answer") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("shop.ini does not give up: %+v, %v", v, err)
		}
	}
	neighbour("two.ini")
	if st, err := m.status("late.ini"); err != nil || st.State == "accepting" {
		t.Errorf("late.ini is %s, %v", st.State, err)
	}
	release()
	serve("shop.ini", "chmod-socket = 600")
	m.await("late.ini", Accepting, "")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		st, err := os.Stat(home + "/shop.ini.sock")
		if err == nil && st.Mode().Perm() == 0o600 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the socket is never given its mode: %v, %v", st, err)
		}
	}
	neighbour("three.ini")
}
