package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReadingFaults(t *testing.T) {
	deep := map[string]string{"shop.ini": "[uwsgi]\nini = 1.ini\n"}
	for i := 1; i < 40; i++ {
		deep[fmt.Sprintf("%d.ini", i)] = fmt.Sprintf("[uwsgi]\nini = %d.ini\n", i+1)
	}
	wide := map[string]string{"shop.ini": "[uwsgi]\n" + strings.Repeat("ini = a.ini\n", 20), "a.ini": "[uwsgi]\n" + strings.Repeat("ini = b.ini\n", 20), "b.ini": "[uwsgi]\na = 1\n"}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"cycle", map[string]string{"shop.ini": "[uwsgi]\nini = a.ini\n", "a.ini": "[uwsgi]\n\ninclude = shop.ini\n"},
			`a.ini:3: option "include": value "shop.ini" closes a circle: shop.ini → a.ini → shop.ini; remove this line`},
		{"cycle of sections", map[string]string{"shop.ini": "[uwsgi]\nini = :a\n[a]\nini = :b\n[b]\nini = :a\n"},
			`shop.ini:6: option "ini": value ":a" closes a circle: shop.ini → shop.ini:a → shop.ini:b → shop.ini:a; remove this line`},
		{"cycle of inherit", map[string]string{"shop.ini": "[uwsgi]\ninherit = a.ini\n", "a.ini": "[uwsgi]\ninherit = shop.ini\n"},
			`a.ini:2: option "inherit": value "shop.ini" closes a circle: shop.ini → a.ini → shop.ini; remove this line`},
		{"deep", deep, `31.ini:2: option "ini": value "32.ini" is one file too many inside another: at most 32; include fewer files from included files`},
		{"wide", wide, `a.ini:4: option "ini": value "b.ini" is file number 257 of this configuration; read at most 256 files`},
		{"missing", map[string]string{"shop.ini": "[uwsgi]\nx = 1\ninclude = no.ini\n"},
			`shop.ini:3: option "include": value "no.ini" names a file that cannot be read: file does not exist; a relative name starts at the folder where the program was started, not at the file; %d is the file's folder`},
		{"large", map[string]string{"shop.ini": "[uwsgi]\n" + strings.Repeat("#", 1<<20)},
			`command line: option "ini": value "shop.ini" names a file of more than 1 MiB; name a configuration file`},
		{"self reference", map[string]string{"shop.ini": "[uwsgi]\na = x%(a)\n"},
			`shop.ini:2: option "a": grows without end: %(a) leads back to itself, or brings in too much; break the circle`},
		{"circle of equal length", map[string]string{"shop.ini": "[uwsgi]\na = x%(b)\nb = %(b)\n"},
			`shop.ini:2: option "a": grows without end: %(b) leads back to itself, or brings in too much; break the circle`},
		{"too many", map[string]string{"shop.ini": "[uwsgi]\nfor-times = 20000\na = %(_)\n"},
			`shop.ini:3: option "a": is one setting too many: a configuration may have 20000; look for a loop (for-times, for-readline, an include inside for)`},
		{"too often", map[string]string{"shop.ini": "[uwsgi]\nfor-times = 2000000000\na = %(_)\n"},
			`shop.ini:2: option "for-times": value "2000000000" is too often; write a number up to 20000`},
		{"strict", map[string]string{"shop.ini": "[uwsgi]\nstrict = true\nproceses = 2\n"},
			`shop.ini:3: option "proceses": is unknown, and the configuration is strict; did you mean processes? A placeholder is named with set-placeholder`},
		{"section in include", map[string]string{"shop.ini": "[uwsgi]\ninclude = a.ini:b\n"},
			`shop.ini:2: option "include": value "a.ini:b" asks for a section, which only the options ini, yaml, json and xml can; write ini = a.ini:b`},
	} {
		_, err := Read(texts(c.files, "--ini", "shop.ini"))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.name, err, c.want)
		}
	}
}

func TestUnsupportedIsTold(t *testing.T) {
	_, err := Read(texts(map[string]string{"shop.ini": "[uwsgi]\na = @(exec://id)\n"}, "--ini", "shop.ini"))
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	_, err = Read(texts(nil, "--ini", "shop.ini"))
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}

func TestCommandLineFaults(t *testing.T) {
	for arg, want := range map[string]string{
		"--proceses=2":   `command line: option "--proceses": is unknown; did you mean --processes?`,
		"--master=false": `command line: option "--master": value "false" is given to a flag that takes none; write --master, or put the line into a file`,
		"--emperor":      `command line: option "--emperor": needs a value; write --emperor=VALUE`,
		"-p":             `command line: option "-p": needs a value; write -p VALUE`,
		"-emperor":       `command line: option "-e": is unknown; write --emperor`,
		"shop.conf":      `command line: value "shop.conf" has no ending that tells its format; give the file one of the endings .ini .yaml .yml .json .js .xml`,
	} {
		_, err := Read(texts(nil, arg))
		if err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", arg, err, want)
		}
	}
}

// A vassal as the emperor starts it: templates before and after, set first, and what the emperor opened for its name.
func TestEmperorsCommandLineForAVassal(t *testing.T) {
	files := map[string]string{
		"app.ini":  "[uwsgi]\na = %(origin)\nn1 = %n\nN1 = %N\n",
		"base.ini": "[uwsgi]\nn = %n\nN = %N\nbase = %(origin)-%(a)\n",
		"late.ini": "[uwsgi]\nlate = %(a)\n",
	}
	s, err := Read(texts(files, "--set", "origin=set", "--ini", "app.ini", "--inherit", "late.ini", "--include", "base.ini"))
	if err != nil {
		t.Fatal(err)
	}
	want := "set = origin=set\norigin = set\nini = app.ini\na = set\nn1 = app\nN1 = app\ninherit = late.ini\ninclude = base.ini\nn = base\nN = app\nbase = set-set\nlate = %(a)\n"
	if got := shown(s); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHostileReadersEnd(t *testing.T) {
	endless := Reading{Args: []string{"--ini", "x.ini"}, Env: []string{}, Dir: "/", Open: func(string) (io.ReadCloser, error) { return io.NopCloser(zeros{}), nil }}
	if _, err := Read(endless); err == nil {
		t.Error("an endless file was read")
	}
	broken := endless
	broken.Open = func(string) (io.ReadCloser, error) { return nil, fs.ErrPermission }
	var e *Error
	if _, err := Read(broken); !errors.As(err, &e) || !strings.Contains(e.Cause, "permission denied") {
		t.Errorf("%v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func FuzzRead(f *testing.F) {
	for _, text := range append(hard, whole, minimal,
		"[uwsgi]\na = %(b)\nb = x%(a)\n", "[uwsgi]\nfor = a b\nini = inc.ini\nendfor\n", "[uwsgi]\nini = :x\n[x]\nfor-times = 9\nset = a=%(_)\nend\n",
		"[uwsgi]\nif-opt = a=1\nb = %(1 + 2)\nendif\ninherit = inc.ini\nstrict = 1\n", "[uwsgi]\nfor-readline = inc.ini\na = %(_)\n", "[uwsgi]\nc = @(inc.ini) $(HOME) %0%c%%(a b)\n") {
		f.Add(text)
	}
	for _, pattern := range []string{"testdata/dialect/*/*.ini", corpusFolder + "/raw/*.ini"} { // the second is beside the project, and not everywhere
		names, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	for seed := range uint64(50) {
		f.Add(grammar{rand.New(rand.NewPCG(seed, 1))}.file())
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "resolve") || len(text) > 1<<16 {
			return // asks the network
		}
		start := time.Now()
		r := texts(map[string]string{"shop.ini": text, "inc.ini": text}, "--ini", "shop.ini")
		res := Resolve(r)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		if res.Error == "" && (len(res.Settings) == 0 || len(res.Sockets) == 0 && !res.Emperor) {
			t.Errorf("%+v", res)
		}
		s, err := Read(r)
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("no *Error: %v", err)
		}
		_, _, _ = ParseEmperor(s)
	})
}

func BenchmarkResolve(b *testing.B) {
	var text strings.Builder
	text.WriteString(whole)
	for i := range 30 {
		fmt.Fprintf(&text, "env = NAME%d=%%(chdir)/%%n-$(HOME)\n", i)
	}
	r := texts(map[string]string{"shop.ini": text.String()}, "--ini", "shop.ini")
	for b.Loop() {
		if res := Resolve(r); res.Error != "" {
			b.Fatal(res.Error)
		}
	}
}
