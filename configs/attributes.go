package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An Attribute is a key of the section [emperor] of a vassal's INI file: what the vassal says of itself to its emperor.
type Attribute struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Limits of the attributes of one vassal.
const (
	MaxAttributes     = 64
	maxAttributeName  = 64      // bytes
	maxAttributeValue = 4 << 10 // bytes
)

type attributesLimit struct{}

func (attributesLimit) limit() int { return MaxAttributes }

// check judges an attribute that a tenant's process has sent.
func (a Attribute) check() error {
	switch {
	case a.Name == "" || len(a.Name) > maxAttributeName || !isPlain(a.Name):
		return fmt.Errorf("the name of an attribute has no or more than %d bytes, or holds a control character", maxAttributeName)
	case len(a.Value) > maxAttributeValue || !isPlain(a.Value):
		return fmt.Errorf("the attribute %s has a value of more than %d bytes, or one with a control character", a.Name, maxAttributeValue)
	}
	return nil
}

func isPlain(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// attributes reads those of the vassal file that --ini names; includes and templates have none. The notices say what is left out.
func attributes(in Reading) (all []Attribute, notices []string) {
	i := slices.Index(in.Args, "--ini")
	if i < 0 || i+1 == len(in.Args) || strings.Contains(in.Args[i+1], "://") {
		return nil, nil
	}
	name, _ := splitSection(in.Args[i+1])
	r := &reader{Reading: in}
	f, err := r.open(name)
	if err != nil {
		return nil, nil // it has just been read: whoever removes it now will see it gone
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil || !bytes.Contains(text, []byte("[emperor]")) {
		return nil, nil
	}
	lines := make([]int, bytes.Count(text, []byte("\n"))+1)
	for n := range lines {
		lines[n] = n + 1
	}
	items, err := lex(text, lines, "emperor")
	if err != nil {
		return nil, nil // the same text has been cut before; what is at fault was said
	}
	for _, it := range items {
		a := Attribute{it.key, it.value}
		err := a.check()
		if len(all) == MaxAttributes {
			err = fmt.Errorf("there are more than %d attributes", MaxAttributes)
		}
		if err != nil {
			notices = append(notices, fmt.Sprintf("%s: section [emperor]: %v; it is left out", Place{File: name, Line: it.line}, err))
			if len(notices) == 3 || len(all) == MaxAttributes {
				break
			}
			continue
		}
		all = append(all, a)
	}
	return all, notices
}

func checkAttributes(all []Attribute) error {
	var errs []error
	for _, a := range all {
		errs = append(errs, a.check())
	}
	return errors.Join(errs...)
}
