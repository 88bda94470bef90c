package emperor

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// hang mounts a file system over folder that never answers: whoever looks into it, root too, waits until release is
// called, which happens at the end of the test at the latest. It is what a dead server of home folders looks like.
func hang(t *testing.T, folder string) (release func()) {
	t.Helper()
	fuse, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		if os.Getenv("CI") == "" {
			t.Skipf("no folder can be made to hang here: %v", err)
		}
		t.Fatal(err)
	}
	if err := unix.Mount("hang", folder, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse)); err != nil {
		unix.Close(fuse)
		t.Fatalf("cannot mount over %s: %v", folder, err)
	}
	var once sync.Once
	release = func() {
		once.Do(func() {
			unix.Close(fuse) // everybody who waits is told that nobody will answer
			if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
				t.Errorf("cannot unmount %s: %v", folder, err)
			}
		})
	}
	t.Cleanup(release)
	return release
}
