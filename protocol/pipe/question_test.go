package pipe

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
)

func TestQuestionsAndAnswersComeBack(t *testing.T) {
	want := Question{Args: []string{"--ini", "shop.ini"}, Dir: "/etc/vassals", Name: "shop.ini"}
	packet, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeQuestion(packet); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := (Question{Name: strings.Repeat("x", MaxQuestion)}).Encode(); err == nil {
		t.Error("a question may be of any size")
	}
	var pipe bytes.Buffer
	for _, text := range []string{"{}", "", strings.Repeat("x", 1000)} {
		if err := WriteAnswer(&pipe, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"{}", "", strings.Repeat("x", 1000)} {
		if got, err := ReadAnswer(&pipe, 1000); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	if got, err := ReadAnswer(&pipe, 1000); err == nil {
		t.Errorf("%q of nothing", got)
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte("\x02\x00\x00\x00{}"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add([]byte("\x02\x00\x00\x00{"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		got, err := ReadAnswer(bytes.NewReader(wire), 100)
		if err == nil && (len(got) > 100 || int(binary.LittleEndian.Uint32(wire)) != len(got)) {
			t.Errorf("%d bytes of %x", len(got), wire)
		}
		_, _ = DecodeQuestion(wire)
	})
}
