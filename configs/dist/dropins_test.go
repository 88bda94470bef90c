package dist_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emperord/emperord/configs/dist"
)

// The units of the packages, in our own words: what matters of them here.
var packaged = map[string]string{
	"uwsgi-emperor.service": "[Unit]\nDescription=Debian's\n[Service]\nType=notify\nExecStart=/usr/bin/uwsgi --ini /etc/uwsgi-emperor/emperor.ini\nKillSignal=SIGQUIT\nRestart=always\nNotifyAccess=all\nGroup=www-data\nRuntimeDirectory=uwsgi\nRuntimeDirectoryMode=0775\n",
	"uwsgi.service":         "[Unit]\nDescription=Fedora's\n[Service]\nType=notify\nExecStartPre=/bin/mkdir -p /run/uwsgi\nExecStart=/usr/sbin/uwsgi --ini /etc/uwsgi.ini\nExecReload=/bin/kill -HUP $MAINPID\nKillSignal=SIGINT\nRestart=always\nNotifyAccess=all\n",
}

// systemd itself reads unit and drop-in together: a line that it does not know, or a second ExecStart, is a fault.
func TestDropInsFitThePackagesUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("systemd-analyze is missing")
		}
		t.Skip("systemd-analyze is missing")
	}
	for unit, text := range packaged {
		dropin, err := fs.ReadFile(dist.Files, unit+".d/emperord.conf")
		if err != nil {
			t.Fatal(err)
		}
		for _, broken := range []bool{false, true} {
			dir := t.TempDir()
			content := strings.ReplaceAll(string(dropin), "/usr/local/bin/emperord", "/bin/true")
			if broken {
				content = strings.Replace(content, "ExecStart=\n", "", 1) + "Killmode=mixed\n"
			}
			if err := os.Mkdir(filepath.Join(dir, unit+".d"), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{unit: strings.NewReplacer("/usr/bin/uwsgi", "/bin/true", "/usr/sbin/uwsgi", "/bin/true").Replace(text), unit + ".d/emperord.conf": content} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			verify := exec.Command(analyze, "verify", filepath.Join(dir, unit))
			verify.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
			out, err := verify.CombinedOutput()
			said := ""
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, unit) { // others on this machine are not ours
					said += line
				}
			}
			if broken != (said != "") {
				t.Errorf("%s (broken: %v): %v %s", unit, broken, err, out)
			}
		}
	}
}
