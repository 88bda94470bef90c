package configs

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// An xmlReader is one walk through a document.
type xmlReader struct {
	text     []byte
	d        *xml.Decoder
	open     []*xmlNode
	ends     []string          // the names that close them, as written
	scopes   [][]string        // prefixes that each open element declares
	prefixes map[string]int    // how often each is declared here
	entities map[string]string // declared ones
	root     *xmlNode
	doctype  bool
	count    int
}

const maxNodes = 200000 // elements, texts and comments of one XML file

// parseXML returns the root of a document in UTF-8.
func parseXML(text []byte) (*xmlNode, error) {
	r := &xmlReader{text: text, d: xml.NewDecoder(bytes.NewReader(text)), prefixes: map[string]int{"xml": 1}, entities: map[string]string{}}
	for {
		start := int(r.d.InputOffset())
		t, err := r.d.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, r.misread(start, err)
		}
		if err := r.token(t, start); err != nil {
			return nil, err
		}
		if r.count++; r.count > maxNodes {
			return nil, &fault{start, "is longer than a configuration may be", "look for a loop in what writes it"}
		}
	}
	switch {
	case r.root == nil:
		return nil, &fault{len(text), "there is no element", "write <uwsgi> around the options"}
	case len(r.open) > 0:
		n := r.open[len(r.open)-1]
		return nil, &fault{n.at, fmt.Sprintf("<%s> is not closed", n.name), "write </" + n.name + ">"}
	}
	return r.root, nil
}

func (r *xmlReader) misread(start int, err error) error {
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		f := &fault{max(int(r.d.InputOffset())-1, start), syntax.Msg, "mend this place; in a text, < is written &lt; and & is written &amp;"}
		if errors.Is(err, io.EOF) || strings.Contains(syntax.Msg, "EOF") {
			f.at, f.cause = start, "the file ends in the middle of something"
		}
		return f
	}
	return &fault{at: start, cause: err.Error()}
}

func (r *xmlReader) token(t xml.Token, start int) error {
	raw := r.text[start:r.d.InputOffset()]
	switch t := t.(type) {
	case xml.StartElement:
		if attributesTouch(raw) {
			return &fault{start, "there is no blank between two attributes", "write one"}
		}
		return r.start(t, start)
	case xml.EndElement:
		return r.end(written(t.Name), start)
	case xml.CharData:
		if len(r.open) == 0 {
			if bytes.HasPrefix(raw, []byte("<!")) || len(bytes.TrimLeft(t, " \t\r\n")) > 0 {
				return &fault{start, "there is text outside of the root element", "remove it"}
			}
			return nil
		}
		if bytes.HasPrefix(raw, []byte("<![CDATA[")) {
			if last := r.last(); last != nil && last.kind == cdataNode {
				last.more = append(last.more, string(t)) // libxml2 makes one of two neighbours
				return nil
			}
			r.add(&xmlNode{kind: cdataNode, content: string(t), at: start})
			return nil
		}
		return r.texts(string(t), raw, start)
	case xml.Comment:
		r.add(&xmlNode{kind: otherNode, content: string(t), at: start})
	case xml.ProcInst:
		if strings.EqualFold(t.Target, "xml") {
			return &fault{start, "<?xml ?> is allowed only at the start of the file", "remove what stands before it"}
		}
		if after := raw[len("<?")+len(t.Target)]; after != '?' && strings.IndexByte(" \t\r\n", after) < 0 {
			return &fault{start, "behind <?" + t.Target + " there must be a blank", "mend or remove it"}
		}
		r.add(&xmlNode{kind: otherNode, content: string(t.Inst), empty: len(t.Inst) == 0, at: start})
	case xml.Directive:
		if r.doctype || r.root != nil || !regexp.MustCompile(documentType).Match(t) {
			return &fault{start, "a <!…> cannot stand here", "remove it"}
		}
		r.doctype = true
		return r.declare(string(t), start)
	}
	return nil
}

// add puts a node where the walk is. Deep down it is only counted as being there.
func (r *xmlReader) add(n *xmlNode) {
	if at := len(r.open); at > 0 {
		up := r.open[at-1]
		up.nodes = append(up.nodes, n)
	}
}

// last is the newest node of the innermost element.
func (r *xmlReader) last() *xmlNode {
	if at := len(r.open); at > 0 && len(r.open[at-1].nodes) > 0 {
		nodes := r.open[at-1].nodes
		return nodes[len(nodes)-1]
	}
	return nil
}

// written is a name as it stands in the file.
func written(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

func (r *xmlReader) start(t xml.StartElement, at int) error {
	if len(r.open) == 0 && r.root != nil {
		return &fault{at, "there is a second root element", "put one element around all"}
	}
	if len(r.open) >= maxNesting {
		return &fault{at, fmt.Sprintf("here the nesting is deeper than %d", maxNesting), "write the options below each other"}
	}
	n := &xmlNode{name: t.Name.Local, at: at}
	var declared []string
	seen := make(map[xml.Name]bool, len(t.Attr))
	for _, a := range t.Attr {
		if seen[a.Name] {
			return &fault{at, fmt.Sprintf("the attribute %s stands there twice", written(a.Name)), "remove one of the two"}
		}
		seen[a.Name] = true
		value, err := r.attribute(a.Value, at)
		if err != nil {
			return err
		}
		switch {
		case a.Name.Space == "xmlns":
			declared = append(declared, a.Name.Local)
			r.prefixes[a.Name.Local]++
		case a.Name.Local == "id" && (n.id == nil || a.Name.Space == ""):
			n.id = value
		case a.Name.Local == "mountpoint":
			n.mount = *value
		}
	}
	if t.Name.Space != "" && r.prefixes[t.Name.Space] == 0 { // libxml2 takes an unknown prefix for a part of the name
		n.name = written(t.Name)
	}
	if r.root == nil {
		r.root = n
	}
	r.add(n)
	r.open, r.ends, r.scopes = append(r.open, n), append(r.ends, written(t.Name)), append(r.scopes, declared)
	return nil
}

// attributesTouch tells whether something other than a blank or the end follows a quoted value.
func attributesTouch(tag []byte) bool {
	for i := 0; i < len(tag); i++ {
		if b := tag[i]; b == '"' || b == '\'' {
			i += bytes.IndexByte(tag[i+1:], b) + 1
			if i+1 < len(tag) && strings.IndexByte(" \t\r\n/>", tag[i+1]) < 0 {
				return true
			}
		}
	}
	return false
}

// documentType is the form of a document type declaration; what the declarations in it say is not judged.
const documentType = `^DOCTYPE\s+[\pL_:][\pL\pN._:-]*(?:\s+(?:SYSTEM|PUBLIC\s+` + literal + `)\s+` + literal + `)?\s*` +
	`(?:\[(?:\s|%[\pL_:][\pL\pN._:-]*;|<\?[^?]*\?>|<!(?:ENTITY|ELEMENT|ATTLIST|NOTATION)\s+(?:%\s+)?[\pL_:](?:[^<>"']|` + literal + `)*>)*\]\s*)?$`

const literal = `(?:"[^"]*"|'[^']*')`

func (r *xmlReader) end(name string, at int) error {
	last := len(r.open) - 1
	switch {
	case last < 0:
		return &fault{at, fmt.Sprintf("</%s> closes nothing", name), "remove it"}
	case r.ends[last] != name:
		return &fault{at, fmt.Sprintf("</%s> stands where <%s> must be closed", name, r.ends[last]), "write </" + r.ends[last] + ">"}
	}
	for _, p := range r.scopes[last] {
		r.prefixes[p]--
	}
	r.open, r.ends, r.scopes = r.open[:last], r.ends[:last], r.scopes[:last]
	return nil
}
