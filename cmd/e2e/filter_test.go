package e2e

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/emperord/emperord/cgroups"
)

// filter runs a program for which clone3 (number 435 on all architectures) fails, as under the seccomp filters of older
// container runtimes: errno, then the command.
const filter = `import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 1, 0, 435), (0x06, 0, 0, 0x7fff0000), (0x06, 0, 0, 0x50000 | int(sys.argv[1]))]
text = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *c) for c in code))
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_void_p)]
program = Program(len(code), ctypes.addressof(text))
if ctypes.CDLL(None).prctl(22, 2, ctypes.byref(program), 0, 0) != 0:
    sys.exit('cannot filter system calls')
os.execv(sys.argv[2], sys.argv[2:])
`

// TestContainerThatFiltersClone3 takes neither the rights nor the control groups from vassals: older container runtimes
// answer ENOSYS, or EPERM.
func TestContainerThatFiltersClone3(t *testing.T) {
	view, err := cgroups.Look()
	if err != nil {
		t.Fatal(err)
	}
	for name, errno := range map[string]string{"ENOSYS": "38", "EPERM": "1"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.app("plain", "plain", shop)
			s.vassal("plain.ini", shop, lowly)
			s.write("filter.py", filter, "")
			e := &emperor{s.start("/usr/bin/python3", s.dir+"/filter.py", errno, bin+"/emperord", "--emperor", s.dir+"/vassals", "--emperor-control-socket", s.dir+"/control.sock",
				"--emperor-socket-root", s.dir+"/run", "--emperor-tyrant", "--emperor-cgroup", "/emperord-t-filter"), s}
			t.Cleanup(func() {
				e.audit()
				if _, err := os.Stat(view.Mount + "/emperord-t-filter"); err == nil {
					t.Error("the control group is left")
				}
			})
			s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
			if body := s.get("plain", "/"); body != "hello from ?\n" {
				t.Errorf("it answers %q", body)
			}
			pid := e.vassalOf()
			s.expect(pid, s.ordinary(shop))
			text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
			if err != nil || !strings.Contains(string(text), "/emperord-t-filter/vassal-plain.ini/g") {
				t.Errorf("its control group: %s, %v", text, err)
			}
		})
	}
}
