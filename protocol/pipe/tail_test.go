package pipe

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTheLastLinesComeBackWithinTheirLimits(t *testing.T) {
	board := make(page, BoardSize+TailSize)
	if lines, err := ReadTail(board); len(lines) != 0 || err != nil {
		t.Errorf("an empty board: %v %v", lines, err)
	}
	if err := WriteNotice(board, Notice{Failed: "why"}); err != nil {
		t.Fatal(err)
	}
	var tail Tail
	at := time.UnixMilli(1700000000123)
	for i := range 200 {
		tail.Add(at, fmt.Appendf(nil, "line %d %s", i, strings.Repeat("y", i*20)))
	}
	tail.Add(at, []byte("\x1b[31mred\nand more"))
	if err := tail.Write(board); err != nil {
		t.Fatal(err)
	}
	lines, err := ReadTail(board)
	if err != nil || len(lines) < 10 || len(lines) > TailLines {
		t.Fatalf("%d %v", len(lines), err)
	}
	last, total := lines[len(lines)-1], 0
	for _, l := range lines {
		total += len(l.Text)
	}
	if total > TailBytes+10*len(lines) || string(last.Text) != "?[31mred and more" || !last.At.Equal(at) {
		t.Errorf("%d bytes, %q at %v", total, last.Text, last.At)
	}
	if n, err := ReadNotice(board); n.Failed != "why" || err != nil {
		t.Errorf("the notice beside it: %+v %v", n, err)
	}
	board[BoardSize+tailHead+3]++ // torn
	if lines, err := ReadTail(board); len(lines) != 0 || err != nil {
		t.Errorf("a torn tail: %v %v", lines, err)
	}
	if lines, err := ReadTail(board[:BoardSize]); len(lines) != 0 || err != nil {
		t.Errorf("a board without room: %v %v", lines, err)
	}
	full := Tail{}
	for range 2 * TailLines {
		full.Add(time.Unix(1<<38, 0), bytes.Repeat([]byte("x"), TailLine))
	}
	if err := full.Write(board); err != nil {
		t.Fatal(err)
	}
	if lines, _ := ReadTail(board); len(lines) != TailBytes/TailLine {
		t.Errorf("%d full lines", len(lines))
	}
}

func FuzzTail(f *testing.F) {
	board := make(page, BoardSize+TailSize)
	tail := Tail{}
	tail.Add(time.UnixMilli(5), []byte("hello"))
	_ = tail.Write(board)
	f.Add([]byte(board[BoardSize:][:32]))
	f.Fuzz(func(t *testing.T, text []byte) {
		board := make(page, BoardSize+TailSize)
		copy(board[BoardSize:], text)
		lines, err := ReadTail(board)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			if len(lines) > TailLines || len(l.Text) > TailLine || bytes.ContainsAny(l.Text, "\x1b\n\x00") {
				t.Fatalf("%d lines, %q", len(lines), l.Text)
			}
		}
	})
}
