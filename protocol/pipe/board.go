package pipe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// BoardSize is the size in bytes of the notice board. The memfd is sealed against growing and shrinking, so a hostile
// vassal can fill it with nonsense but cannot make it cost more.
const BoardSize = 16 << 10

// maxReason bounds the reason in bytes, so that the encoded notice fits the board even if every byte is escaped.
const maxReason = 2 << 10

// A Notice is what a vassal has written on its board last. The emperor reads it when the vassal has ended or when
// somebody asks for the status; it believes nothing in it, it only shows it.
type Notice struct {
	Version int    `json:"version"`          // 1
	Failed  string `json:"failed,omitempty"` // why the vassal could not serve or will end; empty while all is well
}

// WriteNotice puts n on the board b, over what stood there.
func WriteNotice(b io.WriterAt, n Notice) error {
	n.Version = 1
	n.Failed = Clean(n.Failed, maxReason)
	text, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("cannot encode a notice: %w", err)
	}
	page := make([]byte, BoardSize)
	if len(text) > len(page)-1 {
		return fmt.Errorf("cannot write a notice of %d bytes: the board holds %d", len(text), BoardSize-1)
	}
	copy(page, text)
	if _, err := b.WriteAt(page, 0); err != nil {
		return fmt.Errorf("cannot write the notice board: %w", err)
	}
	return nil
}

// ReadNotice reads the board b. An empty board is an empty notice. The text is cleaned of control characters, because
// it comes from a tenant and goes to logs and terminals.
func ReadNotice(b io.ReaderAt) (Notice, error) {
	page := make([]byte, BoardSize)
	n, err := b.ReadAt(page, 0)
	if err != nil && err != io.EOF {
		return Notice{}, fmt.Errorf("cannot read the notice board: %w", err)
	}
	text := page[:n]
	if i := bytes.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	if len(text) == 0 {
		return Notice{}, nil
	}
	var notice Notice
	if err := json.Unmarshal(text, &notice); err != nil {
		return Notice{}, fmt.Errorf("cannot read the notice board: it holds no notice: %w", err)
	}
	notice.Failed = Clean(notice.Failed, maxReason)
	return notice, nil
}

// Clean makes foreign text fit for a log line or a terminal: invalid UTF-8 and control characters other than newline
// and tab become "?", and what goes beyond limit bytes is cut and marked.
func Clean(s string, limit int) string {
	cut := false
	if len(s) > limit {
		s, cut = s[:limit], true
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || (r < ' ' && r != '\n' && r != '\t') || (r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, s)
	if cut {
		s += " […]"
	}
	return s
}
