package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emperord/emperord/configs"
)

// TestEditsLast: the command is run on real files, and package configs reads what came of it.
func TestEditsLast(t *testing.T) {
	const sock = "socket = /run/uwsgi/a b.sock"
	for name, c := range map[string]struct {
		file string
		want string // the file afterwards; empty: no command
		note string
		once bool // running it again adds the lines again, which means the same
	}{
		"nothing yet":         {file: "[uwsgi]\n" + sock + "\nmodule = app\n", want: "[uwsgi]\n" + sock + "\nchmod-socket = 660\nchown-socket = shop:www-data\nmodule = app\n"},
		"no last newline":     {file: "[uwsgi]\nmodule = app\n" + sock, want: "[uwsgi]\nmodule = app\n" + sock + "\nchmod-socket = 660\nchown-socket = shop:www-data"},
		"windows":             {file: "[uwsgi]\r\n" + sock + "\r\nchmod-socket = 600\r\n", want: "[uwsgi]\r\n" + sock + "\r\nchown-socket = shop:www-data\r\nchmod-socket = 660\r\n"},
		"both there":          {file: "[uwsgi]\n" + sock + "\nchmod-socket=700\nchown-socket = shop:shop\n", want: "[uwsgi]\n" + sock + "\nchmod-socket = 660\nchown-socket = shop:www-data\n"},
		"tabs and aliases":    {file: "[uwsgi]\n\tuwsgi-socket\t=\t/run/x.sock\n\tchmod\t=\t600\n", want: "[uwsgi]\n\tuwsgi-socket\t=\t/run/x.sock\nchown-socket = shop:www-data\nchmod-socket = 660\n"},
		"without a value":     {file: "[uwsgi]\n" + sock + "\nchmod-socket\n", want: "[uwsgi]\n" + sock + "\nchown-socket = shop:www-data\nchmod-socket = 660\n"},
		"another section":     {file: "[other]\nchmod-socket = 600\n" + sock + "\n[uwsgi]\n" + sock + "\nchmod-socket = 600\n[third]\nchmod-socket = 600\n", want: "[other]\nchmod-socket = 600\n" + sock + "\n[uwsgi]\n" + sock + "\nchown-socket = shop:www-data\nchmod-socket = 660\n[third]\nchmod-socket = 600\n"},
		"elsewhere as wanted": {file: "[uwsgi]\n" + sock + "\n[other]\nchmod-socket = 660\n", want: "[uwsgi]\n" + sock + "\nchmod-socket = 660\nchown-socket = shop:www-data\n[other]\nchmod-socket = 660\n", once: true},
		"commented out":       {file: "[uwsgi]\n;chmod-socket = 600\n" + sock + "\n", want: "[uwsgi]\n;chmod-socket = 600\n" + sock + "\nchmod-socket = 660\nchown-socket = shop:www-data\n"},
		"twice, last wins":    {file: "[uwsgi]\nchmod-socket = 660\n" + sock + "\nchmod-socket = 600\n", want: "[uwsgi]\nchmod-socket = 660\n" + sock + "\nchown-socket = shop:www-data\nchmod-socket = 660\n"},
		"odd bytes of sed":    {file: "[uwsgi]\nsocket = /run/a&b[1]*.sock\nchown-socket = a|b\\c:d\n", want: "[uwsgi]\nsocket = /run/a&b[1]*.sock\nchmod-socket = 660\nchown-socket = shop:www-data\n"},
		"placeholder":         {file: "[uwsgi]\nm = 600\n" + sock + "\nchmod-socket = %(m)\n", want: "[uwsgi]\nm = 600\n" + sock + "\nchown-socket = shop:www-data\nchmod-socket = 660\n"},
		"from an include":     {file: "[uwsgi]\n" + sock + "\nini = common.inc\n", note: "common.inc:2 says chmod-socket = 600"},
		"socket elsewhere":    {file: "[uwsgi]\nini = sock.inc\n", note: "the socket's line is in another file"},
		"already as wanted":   {file: "[uwsgi]\n" + sock + "\nchmod-socket = 660\nchown-socket = shop:www-data\n", note: "-"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
					t.Fatal(err)
				}
				return path
			}
			write("common.inc", "[uwsgi]\nchmod-socket = 600\n")
			write("sock.inc", "[uwsgi]\n"+sock+"\n")
			real := write("the shop's.ini", c.file)
			link := filepath.Join(dir, "link.ini")
			if err := os.Symlink(real, link); err != nil {
				t.Fatal(err)
			}
			s := Socket{Address: "/run/x.sock", File: link}
			for again := range 2 {
				command, note := s.edit(option{"chmod-socket", "660"}, option{"chown-socket", "shop:www-data"})
				switch {
				case c.want == "":
					if command != "" || !strings.Contains(note, c.note) && c.note != "-" || c.note == "-" && note != "" {
						t.Errorf("got %q, %q; want the note %q", command, note, c.note)
					}
					return
				case again == 1:
					if command != "" || note != "" {
						t.Errorf("the second time: %q, %q", command, note)
					}
					return
				}
				for n := range 2 { // running it twice changes nothing more
					if n == 1 && c.once {
						break
					}
					if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil || len(out) > 0 {
						t.Fatalf("%s: %v: %s", command, err, out)
					}
				}
				got, err := os.ReadFile(real)
				if err != nil {
					t.Fatal(err)
				}
				if strings.TrimSuffix(string(got), "\n") != strings.TrimSuffix(c.want, "\n") {
					t.Errorf("%s\ngot  %q\nwant %q", command, got, c.want)
				}
				if fi, err := os.Lstat(link); err != nil || fi.Mode()&os.ModeSymlink == 0 {
					t.Errorf("%s: the link has become a file: %v", command, err)
				}
				_, settings, err := readFile(link)
				if err != nil {
					t.Fatal(err)
				}
				said := map[string]string{}
				for _, x := range settings {
					if opt, ok := configs.Lookup(x.Key); ok {
						said[opt.First()] = x.Value
					}
				}
				if said["chmod-socket"] != "660" || said["chown-socket"] != "shop:www-data" {
					t.Errorf("configs reads %v", said)
				}
			}
		})
	}
}

func TestOtherFormatsAreToldWhatToWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(file, []byte("uwsgi:\n  socket: /run/x.sock\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	command, note := Socket{File: file}.edit(option{"chmod-socket", "660"})
	if command != "" || note != "write into "+file+": chmod-socket = 660" {
		t.Errorf("got %q, %q", command, note)
	}
}
