package vassal

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
)

// formats are one application in each format. %s are a socket and a folder.
var formats = []struct{ option, file, text string }{
	{"--yaml", "app.yml", "uwsgi:\n  plugin: python3\n  vacuum: true\n  dir: \"%[2]s\"\n  socket: %[1]s\n  chdir: \"%%(dir)\"\n  module: plain\n  processes: 1\n"},
	{"--json", "app.json", `{"uwsgi": {"plugin": "python3", "vacuum": true, "socket": ["%[1]s"], "dir": "%[2]s", "chdir": "%%(dir)", "module": "plain", "processes": 1}}`},
	{"--xml", "app.xml", "<uwsgi>\n<plugin>python3</plugin><vacuum/><socket>%[1]s</socket><chdir>%[2]s</chdir>\n<module>plain</module><processes>1</processes></uwsgi>\n"},
}

func apps(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("testdata/apps")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestEveryFormatRuns(t *testing.T) {
	for _, f := range formats {
		t.Run(f.file, func(t *testing.T) {
			dir, socket := configure(t)
			if err := os.WriteFile(filepath.Join(dir, f.file), fmt.Appendf(nil, f.text, socket, apps(t)), 0o644); err != nil {
				t.Fatal(err)
			}
			d := &daemon{t: t, dir: dir, socket: socket, log: filepath.Join(dir, "log")}
			d.run(func(cmd *exec.Cmd) { cmd.Args = []string{"vassald", f.option, f.file} })
			d.await(f.file + ": accepts requests")
			if a := d.get("/"); a.status != "200 OK" {
				t.Errorf("got %+v", a)
			}
			if code := d.stop(syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d:\n%s", code, d.said())
			}
		})
	}
}

// The emperor hands the file that it has judged over as a descriptor, whatever lies under its name by then.
func TestResolveReadsTheDescriptorInEveryFormat(t *testing.T) {
	for _, f := range formats {
		dir := t.TempDir()
		name := filepath.Join(dir, f.file)
		if err := os.WriteFile(name, fmt.Appendf(nil, f.text, "/run/right", "/"), 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", "--resolve", "--set", "a=1", f.option, f.file)
		cmd.Dir = dir
		cmd.Env = []string{"VASSALD_UNDER_TEST=1", pipe.FileVariable + "=3"}
		cmd.ExtraFiles = []*os.File{file}
		out, err := cmd.Output()
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		r, err := configs.DecodeResolution(strings.NewReader(string(out)))
		if err != nil || len(r.Sockets) != 1 || r.Sockets[0].Address != "/run/right" {
			text, _ := json.Marshal(r)
			t.Errorf("%s: got %s, %v", f.file, text, err)
		}
	}
}

func TestVassalFile(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--ini a.ini", "a.ini"},
		{"--inherit t.ini --set x=1 --yaml a.yaml --include u.yml", "a.yaml"},
		{"--json=a.json -p 4", "a.json"},
		{"-p 4 a.xml", "a.xml"},
		{"--config a.conf", "a.conf"},
		{"--js", ""},
		{"--master", ""},
	} {
		if got := vassalFile(strings.Fields(c.args)); got != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
}
