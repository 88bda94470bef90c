package emperor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A remoteFolder is a file system like that of a server: what is in it changes behind the kernel's back. It speaks FUSE
// (linux/fuse.h), as far as looking at a folder needs it.
type remoteFolder struct {
	mu    sync.Mutex
	files []remoteFile
	fault unix.Errno // what a listing is answered with; 0: the files
}

type remoteFile struct {
	name string
	size uint64
	sec  uint64
}

// What the kernel asks, by its number.
const (
	fuseLookup      = 1
	fuseForget      = 2
	fuseGetattr     = 3
	fuseOpen        = 14
	fuseStatfs      = 17
	fuseRelease     = 18
	fuseInit        = 26
	fuseOpendir     = 27
	fuseReaddir     = 28
	fuseReleasedir  = 29
	fuseAccess      = 34
	fuseInterrupt   = 36
	fuseBatchForget = 42
)

// mountRemote mounts a remote folder until the test is over.
func mountRemote(t *testing.T, at string) *remoteFolder {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("no remote folder can be made here: %v", err)
		}
		t.Fatal(err)
	}
	if err := unix.Mount("remote", at, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)); err != nil {
		unix.Close(fd)
		t.Fatal(err)
	}
	r := &remoteFolder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.serve(fd)
		unix.Close(fd)
	}()
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		<-done // the kernel says so when the last user has gone
	})
	return r
}

func (r *remoteFolder) set(fault unix.Errno, files ...remoteFile) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files, r.fault = files, fault
}

func (r *remoteFolder) serve(fd int) {
	buf := make([]byte, 1<<17)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR || err == unix.ENOENT {
			continue
		}
		if err != nil || n < 40 {
			return
		}
		op, unique, node := binary.LittleEndian.Uint32(buf[4:]), binary.LittleEndian.Uint64(buf[8:]), binary.LittleEndian.Uint64(buf[16:])
		if op == fuseForget || op == fuseBatchForget || op == fuseInterrupt {
			continue
		}
		body, fault := r.answer(op, node, buf[40:n])
		var out bytes.Buffer
		_ = binary.Write(&out, binary.LittleEndian, struct {
			Len    uint32
			Error  int32
			Unique uint64
		}{uint32(16 + len(body)), -int32(fault), unique})
		out.Write(body)
		_, _ = unix.Write(fd, out.Bytes())
	}
}

func (r *remoteFolder) answer(op uint32, node uint64, in []byte) (body []byte, fault unix.Errno) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out bytes.Buffer
	put := func(v any) { _ = binary.Write(&out, binary.LittleEndian, v) }
	attr := func(node uint64) bool { // struct fuse_attr
		f, mode, links := remoteFile{sec: 1}, uint32(unix.S_IFDIR|0o755), uint32(2)
		if node != 1 {
			i := int(node) - 2
			if i >= len(r.files) {
				return false
			}
			f, mode, links = r.files[i], unix.S_IFREG|0o644, 1
		}
		put([]uint64{node, f.size, 1, f.sec, f.sec, f.sec})
		put([]uint32{0, 0, 0, mode, links, 0, 0, 0, 512, 0})
		return true
	}
	switch op {
	case fuseInit:
		put([]uint32{7, 31, 0, 0})
		put([]uint16{16, 12})
		put([]uint32{1 << 16, 1})
		put(make([]byte, 64-out.Len()))
	case fuseGetattr:
		put([]uint64{0, 0})
		if !attr(node) {
			return nil, unix.ENOENT
		}
	case fuseLookup:
		name := string(bytes.TrimRight(in, "\x00"))
		for i, f := range r.files {
			if f.name == name {
				put([]uint64{uint64(i) + 2, uint64(i) + 2, 0, 0, 0})
				attr(uint64(i) + 2)
				return out.Bytes(), 0
			}
		}
		return nil, unix.ENOENT
	case fuseOpen, fuseOpendir:
		put([]uint64{0, 0})
	case fuseReaddir:
		if r.fault != 0 {
			return nil, r.fault
		}
		for i, f := range r.files[min(len(r.files), int(binary.LittleEndian.Uint64(in[8:]))):] {
			put([]uint64{uint64(i) + 2, uint64(i) + 1})
			put([]uint32{uint32(len(f.name)), unix.DT_REG})
			out.WriteString(f.name)
			put(make([]byte, (8-len(f.name)%8)%8))
		}
	case fuseStatfs:
		put(make([]byte, 80))
	case fuseRelease, fuseReleasedir, fuseAccess:
	default:
		return nil, unix.ENOSYS
	}
	return out.Bytes(), 0
}

// TestFolderOnAServer has vassals on a file system whose changes inotify does not tell of, and which cannot be read for a
// while.
func TestFolderOnAServer(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	remote := mountRemote(t, dir)
	remote.set(0, remoteFile{"a.ini", 1, 1})
	w := newWatch(t, 50*time.Millisecond, false, dir)
	w.eventually("Seen a.ini")
	w.says(dir + " is on FUSE, where the kernel tells only of what this machine changes; what others change there is found every 50ms")
	remote.set(0, remoteFile{"a.ini", 1, 2}, remoteFile{"b.ini", 1, 1})
	w.eventually("Seen a.ini", "Seen b.ini")
	remote.set(unix.EIO, remoteFile{"a.ini", 1, 2})
	w.says("cannot look at the vassals")
	time.Sleep(300 * time.Millisecond)
	w.eventually() // what was known counts on
	remote.set(0, remoteFile{"a.ini", 1, 2})
	w.eventually("Gone b.ini")
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.said) != 2 {
		t.Errorf("said %q, want each thing once", w.said)
	}
}

// TestATriggerShowsWhatAServerHasChanged asks for a look where the slow one is far away.
func TestATriggerShowsWhatAServerHasChanged(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	remote := mountRemote(t, dir)
	w := newWatch(t, never, false, dir)
	w.says("is on FUSE")
	<-w.looked
	remote.set(0, remoteFile{"a.ini", 1, 1})
	time.Sleep(3 * restless)
	w.want(0)
	w.monitor.now <- struct{}{}
	w.eventually("Seen a.ini")
}
