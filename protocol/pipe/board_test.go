package pipe

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// page is a board in memory.
type page []byte

func (p page) WriteAt(b []byte, at int64) (int, error) { return copy(p[at:], b), nil }

func (p page) ReadAt(b []byte, at int64) (int, error) {
	n := copy(b, p[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func TestNoticeComesBackCleaned(t *testing.T) {
	b := make(page, BoardSize)
	for given, want := range map[string]string{
		"cannot import shop":              "cannot import shop",
		"":                                "",
		"red \x1b[31m\r\n\tnext \x00 end": "red ?[31m?\n\tnext ? end",
		"bad \xff utf8":                   "bad ? utf8",
		strings.Repeat("ü", 2000):         strings.Repeat("ü", 1024) + " […]",
	} {
		if err := WriteNotice(b, Notice{Failed: given}); err != nil {
			t.Fatal(err)
		}
		got, err := ReadNotice(b)
		if err != nil || got.Failed != want || got.Version != 1 {
			t.Errorf("%.40q comes back as %.60q, version %d, %v", given, got.Failed, got.Version, err)
		}
	}
}

func TestLongestNoticeFitsTheBoard(t *testing.T) {
	b := make(page, BoardSize)
	if err := WriteNotice(b, Notice{Failed: strings.Repeat("<", 100000)}); err != nil { // JSON writes six bytes for each
		t.Fatal(err)
	}
	if n, err := ReadNotice(b); err != nil || len(n.Failed) < 1000 {
		t.Errorf("%d bytes, %v", len(n.Failed), err)
	}
}

func TestUntouchedBoardIsEmpty(t *testing.T) {
	if n, err := ReadNotice(make(page, BoardSize)); err != nil || n != (Notice{}) {
		t.Errorf("%+v, %v", n, err)
	}
}

type broken struct{}

func (broken) ReadAt([]byte, int64) (int, error)  { return 0, errors.New("gone") }
func (broken) WriteAt([]byte, int64) (int, error) { return 0, errors.New("gone") }

func TestBrokenBoardIsAnError(t *testing.T) {
	if _, err := ReadNotice(broken{}); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Error(err)
	}
	if err := WriteNotice(broken{}, Notice{}); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Error(err)
	}
}

func FuzzReadNotice(f *testing.F) {
	f.Add([]byte(`{"version":1,"failed":"cannot import shop"}`))
	f.Add([]byte("{\"failed\":\"\\u001b[31m\"}\x00rest"))
	f.Add([]byte("nonsense"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := make(page, BoardSize)
		copy(b, text)
		n, err := ReadNotice(b)
		if err != nil {
			return
		}
		if len(n.Failed) > maxReason+len(" […]") || !utf8.ValidString(n.Failed) || strings.ContainsAny(n.Failed, "\x1b\r\x00\x7f") {
			t.Errorf("%q", n.Failed)
		}
	})
}
