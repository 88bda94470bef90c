package configs

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestResolutionGolden(t *testing.T) {
	r := texts(map[string]string{"shop.ini": whole + "harakiri = 30\nreload-mercy = 5\nsocket = run/../other.sock\n"}, "--ini", "shop.ini")
	var doc, pretty bytes.Buffer
	if err := Resolve(r).Encode(&doc); err != nil {
		t.Fatal(err)
	}
	if err := json.Indent(&pretty, doc.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/resolution.golden"
	if *update {
		if err := os.WriteFile(golden, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(pretty.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", pretty.String(), want)
	}
}

func TestResolutionTravels(t *testing.T) {
	r := Resolve(texts(map[string]string{"shop.ini": whole + "latin = caf\xe9 \x80\nkey\xff = 1\na = @(two)\nreload-mercy = 90\n", "two": "l1\nl2"}, "--master", "--ini", "shop.ini"))
	if r.Error != "" {
		t.Fatal(r.Error)
	}
	var doc bytes.Buffer
	if err := r.Encode(&doc); err != nil {
		t.Fatal(err)
	}
	back, err := DecodeResolution(&doc)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r, back) {
		t.Errorf("sent %+v\ngot  %+v", r, back)
	}
}

func TestResolveMakesPathsAbsolute(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"socket = s.sock", "/etc/uwsgi-emperor/vassals/s.sock"},
		{"socket = ./a/../s.sock\nchdir = /srv/shop", "/srv/shop/s.sock"},
		{"chdir = sub\nsocket = s.sock", "/etc/uwsgi-emperor/vassals/sub/s.sock"},
		{"socket = //run//s.sock", "/run/s.sock"},
		{"socket = @s", "@s"},
		{"socket = :80", "0.0.0.0:80"},
	} {
		r := Resolve(texts(map[string]string{"shop.ini": "[uwsgi]\nmodule = m\n" + c.lines + "\n"}, "--ini", "shop.ini"))
		if r.Error != "" || len(r.Sockets) != 1 || r.Sockets[0].Address != c.want {
			t.Errorf("%q: %+v", c.lines, r)
		}
	}
	r := Resolve(texts(map[string]string{"shop.ini": "[uwsgi]\nmodule = m\nsocket = /" + strings.Repeat("x", 107) + "\n"}, "--ini", "shop.ini"))
	if !strings.Contains(r.Error, "is a path of 108 bytes, and the kernel takes 107") {
		t.Errorf("%+v", r)
	}
}

func TestResolveErrorsStandAlone(t *testing.T) {
	r := Resolve(texts(map[string]string{"shop.ini": "[Uwsgi]\nsocket = s\n"}, "--ini", "shop.ini"))
	want := &Resolution{Version: 1, Error: "shop.ini: the file names no socket; add a line such as socket = /run/uwsgi/shop.sock (shop.ini: there is no section [uwsgi], or it is empty; nothing was read from it)"}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("%+v", r)
	}
}

func TestEncodeRefusesWhatIsTooLarge(t *testing.T) {
	r := &Resolution{Version: 1, Settings: Settings{{Key: "a", Value: strings.Repeat("x", MaxResolution)}}}
	var doc bytes.Buffer
	if err := r.Encode(&doc); err != nil {
		t.Fatal(err)
	}
	back, err := DecodeResolution(&doc)
	if err != nil || !strings.Contains(back.Error, "too large") {
		t.Errorf("%+v %v", back, err)
	}
}

// hostile returns a document with one part replaced.
func hostile(part string) string {
	parts := map[string]string{"version": "1", "settings": `[{"key":"a","value":"b","place":{"file":"shop.ini","line":2}}]`,
		"sockets": `[{"protocol":"uwsgi","address":"/run/s","place":{"file":"shop.ini"}}]`}
	name, value, _ := strings.Cut(part, "=")
	if name != "" {
		parts[name] = value
	}
	var list []string
	for k, v := range parts {
		list = append(list, fmt.Sprintf("%q:%s", k, v))
	}
	return "{" + strings.Join(list, ",") + "}"
}

func socketsOf(fields string) string { return "sockets=[{" + fields + `,"place":{"file":"f"}}]` }

func TestDecodeRefusesHostileDocuments(t *testing.T) {
	if _, err := DecodeResolution(strings.NewReader(hostile(""))); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", "  ", "null", "[]", "1", "{", hostile("") + "x", hostile("") + hostile(""),
		hostile("version=2"), hostile(`version="1"`), hostile("mercy=-1"), hostile("mercy=1e99"), hostile(`uid="a:b"`), hostile(`gid="a\u0000"`), hostile(`uid="a\nb"`),
		hostile("settings=[" + strings.Repeat("{},", MaxSettings) + "{}]"), hostile(`settings={"a":1}`), hostile(`settings=[{"key":"a\u0000"}]`), hostile(`settings=[{"value":"a\u0000"}]`),
		hostile(`settings=[{"value64":"AA=="}]`), hostile(`settings=[{"place":{"line":-1}}]`), hostile(`settings=[{"place":{"file":"` + strings.Repeat("x", 5000) + `"}}]`),
		hostile("sockets=[" + strings.Repeat("{},", MaxSockets) + "{}]"), hostile("notices=[" + strings.Repeat(`"",`, maxNotices) + `""]`),
		hostile(socketsOf(`"protocol":"http","address":"/run/s"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":""`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"s.sock"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"/"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"/run/../etc/x"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"/run/s\n"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"/run/s\u0000"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"/` + strings.Repeat("x", 107) + `"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"@"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"host:0"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"host:70000"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"::1:80"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"/s","mode":512`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"/s","mode":2147483648`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"/s","owner":"a b"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"/s","group":"` + strings.Repeat("g", 300) + `"`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"/s","backlog":-1`)),
		hostile(socketsOf(`"protocol":"uwsgi","address":"/s","backlog":65536`)),
		strings.Repeat("[", 100000), `{"settings":` + strings.Repeat("[", 50000),
		hostile("") + strings.Repeat(" ", MaxResolution),
	} {
		if r, err := DecodeResolution(strings.NewReader(text)); err == nil {
			t.Errorf("%.150q was taken for %.300s", text, fmt.Sprint(r))
		}
	}
	if _, err := DecodeResolution(zeros{}); err == nil {
		t.Error("an endless answer was taken")
	}
}

func TestDecodeCleansWhatIsShown(t *testing.T) {
	r, err := DecodeResolution(strings.NewReader(hostile(`notices=["a\nFAKE \u001b[31m", "ü"]`)))
	if err != nil || r.Notices[0] != `a\nFAKE \x1b[31m` || r.Notices[1] != "ü" {
		t.Errorf("%+v %v", r, err)
	}
	r, err = DecodeResolution(strings.NewReader(`{"version":1,"error":"a\nb","sockets":[{"address":"/etc/passwd"}],"uid":"root"}`))
	if err != nil || !reflect.DeepEqual(r, &Resolution{Version: 1, Error: `a\nb`}) {
		t.Errorf("%+v %v", r, err)
	}
}

func FuzzDecodeResolution(f *testing.F) {
	f.Add(hostile(""))
	f.Add(`{"version":1,"error":"x"}`)
	f.Add(hostile(socketsOf(`"protocol":"uwsgi","address":"[::1]:80","mode":432,"owner":"a","group":"b","backlog":5`)))
	f.Add(hostile(socketsOf(`"protocol":"uwsgi","address":"/s","mode":511,"backlog":-1,"owner":"a b"`)))
	f.Add(`{"version":1,"SOCKETS":[{"protocol":"uwsgi","address":"/s","place":{"file":"a\n\u001b[2J"}}],"sockets":null,"mercy":1e9}`)
	f.Add(hostile(`notices=["a\u202e\u0085\n"]`))
	f.Add(hostile(`settings=[{"key64":"/w==","value64":"gA==","bare":true,"used":true}]`))
	f.Fuzz(func(t *testing.T, text string) {
		r, err := DecodeResolution(strings.NewReader(text))
		if err != nil {
			return
		}
		if r.Version != resolutionVersion || len(r.Error) > maxError || r.Error != Printable(r.Error) || len(r.Settings) > MaxSettings ||
			len(r.Sockets) > MaxSockets || len(r.Notices) > maxNotices || !isName(r.UID) || !isName(r.GID) || r.Mercy < 0 || r.Mercy > longest {
			t.Errorf("%+v", r)
		}
		for _, n := range r.Notices {
			if len(n) > maxNotice || n != Printable(n) {
				t.Errorf("notice %q", n)
			}
		}
		for _, w := range r.Sockets {
			if len(w.Address) > maxName || strings.ContainsAny(w.Address, "\x00\n") || (w.Mode != nil && *w.Mode > fs.ModePerm) ||
				w.Backlog < 0 || w.Backlog > 65535 || !isName(w.Owner) || !isName(w.Group) || w.Place.File != Printable(w.Place.File) || w.Protocol != "uwsgi" {
				t.Errorf("%+v", w)
			}
		}
		for _, s := range r.Settings {
			if strings.ContainsRune(s.Key+s.Value+s.Place.File, 0) || s.Place.Line < 0 {
				t.Errorf("%+v", s)
			}
		}
		var doc bytes.Buffer
		if err := r.Encode(&doc); err != nil {
			t.Fatal(err)
		}
		back, err := DecodeResolution(io.TeeReader(&doc, io.Discard))
		if err != nil {
			t.Fatalf("what was taken once is refused: %v", err)
		}
		if len(back.Settings) != len(r.Settings) || len(back.Sockets) != len(r.Sockets) {
			t.Errorf("%+v\n%+v", r, back)
		}
	})
}
