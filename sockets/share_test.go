package sockets

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBacklogIsWhatTheKernelAllows asks the kernel how many connections may wait: with nothing asked for
// min(4096, net.core.somaxconn), else what was asked for, or the limit and a warning.
func TestBacklogIsWhatTheKernelAllows(t *testing.T) {
	for _, asked := range []int{0, 7, somaxconn(), somaxconn() + 1} {
		l, err := Bind(Request{Address: Address{Kind: TCP, Host: "127.0.0.1"}, UID: Anyone, GID: Anyone, Backlog: asked}, Policy{})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Remove()
		want := min(asked, somaxconn())
		if asked == 0 {
			want = min(4096, somaxconn())
		}
		backlog := func() int {
			info, err := unix.GetsockoptTCPInfo(int(l.File.Fd()), unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil {
				t.Fatal(err)
			}
			return int(info.Sacked) // of a listening socket: its backlog (tcp_get_info)
		}
		if got := backlog(); got != want || (asked > want && asked > 0) != (len(l.Warnings) == 1) {
			t.Errorf("listen = %d: the kernel lets %d wait, want %d; warnings %q", asked, got, want, l.Warnings)
		}
		if _, err := l.Adjust(Request{Address: l.Address, UID: Anyone, GID: Anyone, Backlog: 9}, Policy{}); err != nil {
			t.Error(err)
		}
		if got := backlog(); got != 9 {
			t.Errorf("after an adjustment to 9 the kernel lets %d wait", got)
		}
	}
}

// TestNoTenantBindsByWayOfOurDescriptors names a folder that everybody may write, but that lies in a closed one, by the
// number of our own descriptor of it.
func TestNoTenantBindsByWayOfOurDescriptors(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/closed", 0o700, 0, 0)
	mkdir(t, dir+"/closed/open", 0o777, 0, 0)
	mkdir(t, dir+"/home", 0o755, shop.UID, shop.GID)
	fd, err := unix.Open(dir+"/closed/open", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	links := []string{"self", "thread-self", strconv.Itoa(os.Getpid())}
	for i, name := range links {
		magic := fmt.Sprintf("/proc/%s/fd/%d", name, fd)
		link := fmt.Sprintf("%s/home/%d", dir, i)
		if err := errors.Join(os.Symlink(magic, link), os.Lchown(link, shop.UID, shop.GID)); err != nil {
			t.Fatal(err)
		}
		for _, folder := range []string{magic, link} {
			wantError(t, request(folder+"/s.sock", 0o666, Anyone, Anyone), p)
		}
	}
	if names, err := os.ReadDir(dir + "/closed/open"); err != nil || len(names) != 0 {
		t.Errorf("made are %v (%v)", names, err)
	}
}

// TestAnotherSocketInItsPlaceIsNeverGivenAway exchanges the new socket for another live one of the tenant's, from the moment
// it is there: that one must keep its group and mode, which only the emperor could give it.
func TestAnotherSocketInItsPlaceIsNeverGivenAway(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/home", 0o777, shop.UID, shop.GID)
	for name, policy := range map[string]Policy{"a tenant's": p, "root's word": {}} {
		swapped := 0
		for i := range 300 {
			path, decoy := fmt.Sprintf("%s/home/%d", dir, i), fmt.Sprintf("%s/home/decoy%d", dir, i)
			live := mustBind(t, request(decoy, 0o600, Anyone, Anyone), policy)
			before, err := lstat(decoy)
			if err != nil {
				t.Fatal(err)
			}
			stop, ended := make(chan bool), make(chan int)
			go func() {
				for {
					select {
					case <-stop:
						ended <- 0
						return
					default:
						if unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, decoy, unix.RENAME_EXCHANGE) == nil {
							ended <- 1
							return
						}
					}
				}
			}()
			l, err := Bind(request(path, 0o666, Anyone, webGroup), policy)
			close(stop)
			swapped += <-ended
			for _, at := range []string{path, decoy} {
				if st, err := lstat(at); err == nil && st.Ino == before.Ino && (st.Gid != before.Gid || st.Mode != before.Mode) {
					t.Fatalf("%s: another socket was given to gid %d with mode %#o", name, st.Gid, st.Mode)
				}
			}
			if err == nil {
				_ = l.Remove()
			}
			_, _, _ = live.Remove(), os.Remove(path), os.Remove(decoy)
		}
		if swapped == 0 {
			t.Errorf("%s: nothing was ever exchanged", name)
		}
	}
}

// TestOnlyOurOwnNewSocketIsGivenAway hands finish what stands there instead.
func TestOnlyOurOwnNewSocketIsGivenAway(t *testing.T) {
	dir, _ := place(t, &shop)
	mode := os.FileMode(0o666)
	for name, arrange := range map[string]func(path string) error{
		"two names":       func(path string) error { return os.Link(path, path+".too") },
		"somebody else's": func(path string) error { return os.Chown(path, blog.UID, blog.GID) },
		"a file":          func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		path := dir + "/" + strconv.Itoa(len(name))
		r := Request{Address: Address{Kind: Unix, Path: path}, Mode: &mode, UID: shop.UID, GID: webGroup}
		fd, err := makeSocket(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := arrange(path); err != nil {
			t.Fatal(err)
		}
		file, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := finish(r, fd, file, os.Geteuid(), &Listener{}); err == nil {
			l.Close()
			t.Errorf("%s: it is given to gid %d", name, webGroup)
		}
		unix.Close(file)
		if st, err := lstat(path); err != nil || st.Gid == webGroup || st.Mode&0o066 != 0 {
			t.Errorf("%s: it has gid %d and mode %#o (%v)", name, st.Gid, st.Mode, err)
		}
	}
}

// TestASocketProvesItselfByAConnection connects through the files of other sockets, and through one that somebody else uses.
func TestASocketProvesItselfByAConnection(t *testing.T) {
	dir, _ := place(t, &shop)
	bind := func(name string) (fd, file int) {
		t.Helper()
		fd, err := makeSocket(request(dir+"/"+name, 0o600, Anyone, Anyone))
		if err != nil {
			t.Fatal(err)
		}
		file, err = unix.Open(dir+"/"+name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd); unix.Close(file) })
		return fd, file
	}
	one, ofOne := bind("one")
	two, ofTwo := bind("two")
	if err := unix.Listen(two, 5); err != nil {
		t.Fatal(err)
	}
	if err := proveOurs(one, ofTwo); err == nil {
		t.Error("the file of another socket is taken for its own")
	}
	if err := proveOurs(one, ofOne); err != nil {
		t.Error(err)
	}
}

// TestAdjustKeepsItsHandsOff asks for another group of a socket that has two names, or that has gone.
func TestAdjustKeepsItsHandsOff(t *testing.T) {
	dir, p := place(t, &shop)
	path := dir + "/root/s.sock"
	l := mustBind(t, request(path, 0o600, Anyone, Anyone), p)
	if err := os.Link(path, dir+"/too"); err != nil {
		t.Fatal(err)
	}
	adjust := func(words string) {
		t.Helper()
		if _, err := l.Adjust(request(path, 0o666, Anyone, webGroup), p); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
	adjust("2 names")
	wantFile(t, path, unix.S_IFSOCK, 0o600, shop.UID, shop.GID)
	if err := errors.Join(os.Remove(dir+"/too"), l.Remove()); err != nil {
		t.Fatal(err)
	}
	adjust("removed meanwhile")
}

// TestAFolderThatEverybodyButItsGroupMayWriteIsNotRoots leaves the group's bit out.
func TestAFolderThatEverybodyButItsGroupMayWriteIsNotRoots(t *testing.T) {
	dir, p := place(t, &shop)
	mkdir(t, dir+"/root", 0o757, 0, 0)
	l := mustBind(t, request(dir+"/root/s.sock", 0o600, Anyone, Anyone), p)
	if !l.InTenantsFolder() {
		t.Error("it is bound in with root's rights")
	}
}

// TestAnotherFolderOfTheSameNameStays puts another empty folder in the place of the one that was made.
func TestAnotherFolderOfTheSameNameStays(t *testing.T) {
	dir, p := place(t, &shop)
	l := mustBind(t, request(dir+"/root/sub/s.sock", 0o600, Anyone, Anyone), p)
	if err := errors.Join(os.Rename(dir+"/root/sub", dir+"/root/away"), os.Mkdir(dir+"/root/sub", 0o755), l.Remove()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/root/sub"); err != nil {
		t.Errorf("it removed a folder that it has not made: %v", err)
	}
}

// TestANewSocketIsItsMakersAlone looks at the mode that a socket has before it is given away.
func TestANewSocketIsItsMakersAlone(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := t.TempDir() + "/s"
	fd, err := makeSocket(request(path, 0o666, Anyone, Anyone))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if st, err := lstat(path); err != nil || st.Mode&0o777 != 0o600 {
		t.Errorf("mode %#o, %v", st.Mode, err)
	}
}
