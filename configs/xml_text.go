package configs

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// xmlText decodes a file into UTF-8 and takes the XML declaration out of it, at the same places.
func xmlText(raw []byte) ([]byte, error) {
	text, wide := fromUTF16(raw)
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if nul := bytes.IndexByte(text, 0); nul >= 0 { // libxml2 takes it for the end
		text = text[:nul]
	}
	if m := regexp.MustCompile(xmlDeclaration).FindSubmatchIndex(text); m != nil {
		part := func(i int) string {
			if m[2*i] < 0 {
				return ""
			}
			return strings.Trim(string(text[m[2*i]:m[2*i+1]]), `"'`)
		}
		if version := part(1); !regexp.MustCompile(`^1\.[0-9]+$`).MatchString(version) {
			return text, &fault{0, fmt.Sprintf("is XML of the unknown version %q", version), `write <?xml version="1.0"?>`}
		}
		encoding := part(2)
		rest := bytes.Repeat([]byte{' '}, m[1])
		for i := range rest {
			if text[i] == '\n' {
				rest[i] = '\n'
			}
		}
		text = append(rest, text[m[1]:]...)
		if !wide {
			var err error
			if text, err = recode(text, encoding); err != nil {
				return text, err
			}
		}
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return text, notUTF8(i)
		case r < 0x20 && r != '\t' && r != '\n' && r != '\r', r == 0xfffe, r == 0xffff:
			return text, &fault{i, fmt.Sprintf("the character %U is not allowed in XML", r), "remove it"}
		}
		i += n
	}
	return text, nil
}

const xmlDeclaration = `^<\?xml\s+version\s*=\s*("[^"<]*"|'[^'<]*')(?:\s+encoding\s*=\s*("[^"<]*"|'[^'<]*'))?(?:\s+standalone\s*=\s*(?:"[^"<]*"|'[^'<]*'))?\s*\?>`

// recode turns a text of one byte per character into UTF-8.
func recode(text []byte, encoding string) ([]byte, error) {
	var high func(b byte) rune
	switch strings.ToLower(encoding) {
	case "", "utf-8", "utf8":
		return text, nil
	case "us-ascii", "ascii":
		high = func(byte) rune { return utf8.RuneError }
	case "iso-8859-1", "iso_8859-1", "latin1", "iso-latin-1", "l1":
		high = func(b byte) rune { return rune(b) }
	case "iso-8859-15", "latin-9", "latin9":
		high = func(b byte) rune {
			if i := strings.IndexByte("\xa4\xa6\xa8\xb4\xb8\xbc\xbd\xbe", b); i >= 0 {
				return []rune("€ŠšŽžŒœŸ")[i]
			}
			return rune(b)
		}
	case "windows-1252", "cp1252":
		high = func(b byte) rune {
			if b < 0xa0 {
				return []rune("€\ufffd‚ƒ„…†‡ˆ‰Š‹Œ\ufffdŽ\ufffd\ufffd‘’“”•–—˜™š›œ\ufffdžŸ")[b-0x80]
			}
			return rune(b)
		}
	default:
		return text, &fault{0, fmt.Sprintf("its encoding is %q, which is not understood", encoding), `save the file as UTF-8 and write encoding="UTF-8"`}
	}
	out := make([]byte, 0, len(text)+len(text)/8)
	for _, b := range text {
		r := rune(b)
		if b >= 0x80 {
			if r = high(b); r == utf8.RuneError {
				return out, &fault{len(out), fmt.Sprintf("the byte %#x is no character of %s", b, encoding), "save the file as UTF-8"}
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

// entityMark stands in the text, on both sides of its name, where a declared entity does. It is no character of Unicode, and
// a document that holds it may not declare entities.
const entityMark = "\ufdd0"

const maxEntities = 100

// declare takes the entities out of a document type declaration. External ones do not exist for us: uWSGI dies of them.
func (r *xmlReader) declare(doctype string, at int) error {
	reference := regexp.MustCompile(charReference)
	for _, m := range regexp.MustCompile(entityDeclaration).FindAllStringSubmatch(doctype, maxEntities+1) {
		if _, known := r.entities[m[1]]; known {
			continue // the first one counts
		}
		value := reference.ReplaceAllStringFunc(m[2][1:len(m[2])-1], func(ref string) string {
			base, digits := 10, ref[2:len(ref)-1]
			if digits[0] == 'x' {
				base, digits = 16, digits[1:]
			}
			n, err := strconv.ParseUint(digits, base, 32)
			if err != nil || n == 0 || n > utf8.MaxRune {
				return ""
			}
			return string(rune(n))
		})
		r.entities[m[1]] = value
	}
	if len(r.entities) == 0 {
		return nil
	}
	if len(r.entities) > maxEntities || bytes.Contains(r.text, []byte(entityMark)) {
		return &fault{at, fmt.Sprintf("declares more than %d entities, or the text holds the character %U", maxEntities, []rune(entityMark)[0]), "write the values themselves"}
	}
	r.d.Entity = make(map[string]string, len(r.entities))
	for name := range r.entities {
		r.d.Entity[name] = entityMark + name + entityMark
	}
	return nil
}

// Expressions that a vassald without XML never compiles.
const (
	entityDeclaration = `<!ENTITY\s+([^\s%"'<>&;]+)\s+("[^"]*"|'[^']*')\s*>`
	charReference     = `&#(?:[0-9]+|x[0-9A-Fa-f]+);`
)

// attribute is the value of an attribute, declared entities replaced.
func (r *xmlReader) attribute(value string, at int) (*string, error) {
	if !strings.Contains(value, entityMark) {
		return &value, nil
	}
	var b strings.Builder
	for i, piece := range strings.Split(value, entityMark) {
		if i%2 == 1 {
			piece = r.entities[piece]
		}
		if b.WriteString(piece); b.Len() > maxValue {
			return nil, &fault{at, "an attribute becomes too long", "write the value itself"}
		}
	}
	value = b.String()
	return &value, nil
}

// texts adds the nodes that one stretch of text comes to: declared entities are nodes of their own.
func (r *xmlReader) texts(text string, raw []byte, start int) error {
	if strings.ContainsRune(text, utf8.RuneError) && !bytes.Contains(raw, []byte("\ufffd")) {
		return &fault{start, "a &#…; in this text is no character", "write the character itself"}
	}
	if !strings.Contains(text, entityMark) {
		r.add(&xmlNode{kind: textNode, content: text, at: start})
		return nil
	}
	for i, piece := range strings.Split(text, entityMark) {
		if i%2 == 1 {
			r.add(&xmlNode{kind: otherNode, content: r.entities[piece], at: start, nodes: []*xmlNode{{kind: textNode, content: r.entities[piece]}}})
		} else if piece != "" {
			r.add(&xmlNode{kind: textNode, content: piece, at: start})
		}
	}
	return nil
}
