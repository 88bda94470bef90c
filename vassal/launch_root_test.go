package vassal

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// netRaw is the value of security.capability for cap_net_raw=ep (struct vfs_cap_data of revision 2).
var netRaw = []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// TestProgramWithFileCapabilitiesIsExplained: a tyrant's vassals have an empty bounding set, and somebody has given the
// interpreter a capability. The two remedies are tried.
func TestProgramWithFileCapabilitiesIsExplained(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("this test needs root")
		}
		t.Skip("this test needs root")
	}
	dir, err := os.MkdirTemp("", "emperord-caps")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "python3")
	from, err := os.Open("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = io.Copy(to, from)
	}
	if err := errors.Join(err, to.Close(), os.Chmod(dir, 0o755), unix.Setxattr(program, "security.capability", netRaw, 0)); err != nil {
		t.Fatal(err)
	}
	run := func(bounding string) error {
		out, err := exec.Command("setpriv", "--bounding-set", bounding, "--no-new-privs", "--reuid", "61101", "--regid", "61101", "--clear-groups", program).CombinedOutput()
		if err != nil && strings.Contains(string(out), "not permitted") {
			return &os.PathError{Op: "exec", Path: program, Err: syscall.EPERM}
		}
		return err
	}
	text := explainProgram(run("-all"), program)
	if text == nil || !strings.Contains(text.Error(), "it has file capabilities (getcap "+program+")") || !errors.Is(text, syscall.EPERM) {
		t.Fatalf("got %v", text)
	}
	if err := run("-all,+net_raw"); err != nil { // emperor-cap
		t.Errorf("with the capability in the bounding set: %v", err)
	}
	if err := unix.Removexattr(program, "security.capability"); err != nil { // setcap -r
		t.Fatal(err)
	}
	if err := run("-all"); err != nil {
		t.Errorf("without file capabilities: %v", err)
	}
	if err := explainProgram(syscall.EPERM, program); err != syscall.EPERM {
		t.Errorf("a program without file capabilities: %v", err)
	}
	if err := explainProgram(syscall.EAGAIN, program); !strings.Contains(err.Error(), "emperor-limit = nproc=NUMBER") {
		t.Errorf("too many processes: %v", err)
	}
}
