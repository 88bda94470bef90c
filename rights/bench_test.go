package rights

import (
	"os"
	"runtime"
	"syscall"
	"testing"
)

// BenchmarkStart compares with syscall.ForkExec, which shares its memory with the child, in a process with a heap of 30 MB.
func BenchmarkStart(b *testing.B) {
	needRoot(b)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	files := []uintptr{null.Fd(), null.Fd(), null.Fd()}
	for _, heap := range []struct {
		name string
		size int
	}{{"small heap", 0}, {"30 MB heap", 30 << 20}} {
		ballast := make([]byte, heap.size)
		for i := 0; i < len(ballast); i += 4096 {
			ballast[i] = 1
		}
		b.Run("rights, "+heap.name, func(b *testing.B) {
			for b.Loop() {
				pid, err := began(Spec{Path: "/bin/true", Args: []string{"true"}, Files: files, Rights: stranger(), Setsid: true})
				if err != nil {
					b.Fatal(err)
				}
				await(b, pid)
			}
		})
		b.Run("ForkExec, "+heap.name, func(b *testing.B) {
			for b.Loop() {
				pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Files: files, Sys: &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: strangerID, Gid: strangerID}}})
				if err != nil {
					b.Fatal(err)
				}
				await(b, pid)
			}
		})
		runtime.KeepAlive(ballast)
	}
}
