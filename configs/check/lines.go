package check

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/emperord/emperord/configs"
)

// lines looks at the bytes of the INI files that were read, for what cannot be seen any more once they are settings.
func (s *subject) lines(section string, whole bool) {
	done := map[string]bool{}
	for _, name := range s.opened {
		if done[name] || filepath.Ext(name) != ".ini" {
			continue
		}
		done[name] = true
		t := s.read(join(s.dir, name))
		if t.err != nil || len(t.raw) > maxFile {
			continue
		}
		s.header(name, section, t.raw, whole)
		s.text(name, t.raw)
	}
}

// A heading is one section header.
type heading struct {
	name string
	line int
}

// header says why a file brought in nothing: its section is missing, hidden or misspelt.
func (s *subject) header(file, section string, raw []byte, whole bool) {
	body, bom := bytes.CutPrefix(raw, []byte("\xef\xbb\xbf"))
	var heads []heading
	first := 0 // key line above every header
	n := 0
	for line := range bytes.Lines(body) {
		n++
		line = bytes.Trim(line, " \t\r\n")
		switch {
		case len(line) == 0, line[0] == '#', line[0] == ';', n == 1 && bom && line[0] == '[':
		case line[0] == '[':
			heads = append(heads, heading{string(line[1:max(1, len(line)-1)]), n})
		case len(heads) == 0 && first == 0:
			first = n
		}
	}
	main := file == filepath.Base(s.path)
	if bom && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r"), []byte("[")) {
		s.unread = s.unread || main
		s.add(Finding{Place: configs.Place{File: file, Line: 1}, Level: Error, Code: ByteOrderMark, What: "the file begins with a byte-order mark (EF BB BF), which is taken for a part of the first line",
			Why: "the section header there is not seen, and nothing below it is read", Mend: `sed -i '1s/^\xEF\xBB\xBF//' ` + quote(s.name(file)), Runs: true})
		return
	}
	if first > 0 {
		s.add(Finding{Place: configs.Place{File: file, Line: first}, Level: Warning, Code: BeforeSection, What: "there are settings above the first section header",
			Why: "they belong to no section, and nothing can read them", Mend: "put the line [uwsgi] above them"})
	}
	for _, h := range heads {
		clean := strings.ToLower(strings.Trim(strings.SplitN(h.name, "]", 2)[0], " \t"))
		if clean == "uwsgi" && h.name != "uwsgi" {
			s.add(Finding{Place: configs.Place{File: file, Line: h.line}, Level: Error, Code: HiddenSection, What: fmt.Sprintf("this is the header of a section %q, not of [uwsgi]", h.name),
				Why: "a header's name is every byte from the first bracket to the last byte of the line, which is dropped; nothing below it is read", Mend: "write [uwsgi] alone on the line"})
		}
	}
	wanted, hidden := "uwsgi", false
	for _, f := range s.file.Findings {
		hidden = hidden || f.Code == HiddenSection && f.Place.File == configs.Printable(s.name(file))
	}
	if main && section != "" {
		wanted = section
	}
	for _, x := range s.settings {
		if x.Place.File == file {
			return
		}
	}
	if !whole { // reading has stopped before, perhaps above this file
		return
	}
	s.unread = s.unread || main
	if hidden {
		return
	}
	f := Finding{Place: configs.Place{File: file}, Level: Error, Code: NoSection, What: fmt.Sprintf("there is no section [%s], or it is empty: nothing was read from this file", wanted),
		Why: "uWSGI only warns, and goes on without it", Mend: "put the line [" + wanted + "] above the settings"}
	if !main {
		f.Level = Warning
	}
	if len(heads) > 0 && heads[0].name != wanted {
		f.Place.Line, f.Mend = heads[0].line, fmt.Sprintf("the first header here is [%s]; write [%s]", heads[0].name, wanted)
	}
	s.add(f)
}

// variables are the bytes that stand for something behind a percent sign.
const variables = "opsdcenxijOPSDCENXIJvVhtTkugUGb0123456789%([ "

// text looks for merge markers and for what percent signs eat.
func (s *subject) text(file string, raw []byte) {
	n := 0
	lost := false
	for line := range bytes.Lines(raw) {
		n++
		place := configs.Place{File: file, Line: n}
		line, ended := bytes.CutSuffix(line, []byte("\n"))
		trimmed := bytes.Trim(line, " \t\r")
		if marker(trimmed) {
			s.add(Finding{Place: place, Level: Error, Code: MergeConflict, Option: key(trimmed), What: fmt.Sprintf("%q is a marker of a merge that was not finished", clip(string(trimmed))),
				Why: "uWSGI takes it for an unknown key and reads both versions, one after the other", Mend: "keep one of the two versions and remove the markers"})
			continue
		}
		comment := len(trimmed) > 0 && (trimmed[0] == '#' || trimmed[0] == ';')
		for i := 0; i < len(line); i++ {
			if line[i] != '%' {
				continue
			}
			if i++; i == len(line) {
				if ended {
					s.add(Finding{Place: place, Level: Warning, Code: PercentNewline, What: "the % at the end of this line removes the line's end: the next line becomes a part of this one",
						Why: "the setting in the next line is lost without a word", Mend: "write %% at the end of the line"})
				}
				break
			}
			if !comment && !lost && strings.IndexByte(variables, line[i]) < 0 {
				lost = true
				s.add(Finding{Place: place, Level: Warning, Code: PercentLost, Option: key(trimmed), What: fmt.Sprintf("%q vanishes: behind a %% only the letters of magic variables, %%, ( and digits mean something", "%"+string(line[i:i+1])),
					Why: "the value is not what stands here", Mend: "write %% for one %"})
			}
		}
	}
}

func marker(line []byte) bool {
	return bytes.HasPrefix(line, []byte("<<<<<<< ")) || bytes.HasPrefix(line, []byte(">>>>>>> ")) || string(line) == "======="
}

// key is what uWSGI takes for a line's key.
func key(line []byte) string {
	k, _, _ := bytes.Cut(line, []byte("="))
	return string(bytes.Trim(k, " \t\r"))
}
