package configs

import (
	"fmt"
	"strings"
)

// lexXML returns the settings of an XML file: of its root <uwsgi>, or of the first <uwsgi> in another root whose id is the
// wanted one or is not there. Each child element is a setting whose value is the content of its first node, be that text, a
// comment or whatever: uWSGI looks no further. An empty element is "1".
//
// encoding/xml cuts the text; it has no external entities, and those that a document declares are never replaced inside
// each other. Where it is more lenient than libxml2, the walk is strict.
func lexXML(text []byte, at *counter, id string) (cut, error) {
	var c cut
	root, err := parseXML(text)
	if err != nil {
		return c, err
	}
	section := root
	if root.name != "uwsgi" {
		section = nil
		for _, child := range root.nodes {
			if child.kind == elementNode && child.name == "uwsgi" && child.answers(id) {
				section = child
				break
			}
		}
		if section == nil {
			if len(root.nodes) == 0 {
				return c, nil
			}
			return c, &fault{root.at, fmt.Sprintf("the root element is <%s>, and there is no <uwsgi> in it", root.name) + wantedID(id), "write <uwsgi> around the options"}
		}
	}
	c.found = true
	for _, n := range section.nodes {
		line := at.line(n.at)
		switch {
		case n.kind == cdataNode: // uWSGI's way to have code in a configuration
			code, _ := n.text()
			c.add("eval", code, line)
		case n.kind == textNode && strings.TrimSpace(n.content) != "":
			c.remark(line, "uWSGI passes over text outside of elements; write <option>value</option>")
		case n.kind != elementNode || !n.answers(id):
		case n.name == "app":
			n.app(&c, line)
		default:
			value, ok := n.value()
			if !ok {
				return c, &fault{n.at, fmt.Sprintf("<%s> begins with another element or an empty instruction, and uWSGI dies of that", n.name), "write the value there, and inner options beside it"}
			}
			if len(n.nodes) > 1 {
				c.remark(line, fmt.Sprintf("uWSGI takes only the beginning of <%s>, up to the first comment, element, CDATA or declared entity; write the value in one piece", n.name))
			}
			c.add(n.name, value, line)
		}
	}
	return c, nil
}

func wantedID(id string) string {
	if id == "" {
		return ""
	}
	return fmt.Sprintf(" with id %q, or without any", id)
}

type xmlKind int

const (
	elementNode xmlKind = iota
	textNode
	cdataNode
	otherNode // a comment, a processing instruction, a declared entity
)

// An xmlNode is an element or what stands in one. Of an element deeper than the settings' own children only that it is there
// is kept.
type xmlNode struct {
	kind    xmlKind
	name    string
	content string
	more    []string // of a CDATA section, those that follow it at once
	empty   bool     // a processing instruction that has no content at all
	id      *string
	mount   string
	nodes   []*xmlNode
	at      int
}

// answers tells whether an element is meant when a section is asked for.
func (n *xmlNode) answers(id string) bool { return id == "" || n.id == nil || *n.id == id }

// text is the content of a node itself.
func (n *xmlNode) text() (string, bool) {
	return n.content + strings.Join(n.more, ""), n.kind != elementNode && !n.empty
}

// value is the content of an element's first node.
func (n *xmlNode) value() (string, bool) {
	if len(n.nodes) == 0 {
		return "1", true
	}
	return n.nodes[0].text()
}

// app is <app mountpoint="/x"><script>mod</script></app>, an old way to write mount = /x=mod. uWSGI takes the content of the
// second node, or the first one if it is the only one; where that is none, the whole element is nothing.
func (n *xmlNode) app(c *cut, line int) {
	if len(n.nodes) == 0 {
		c.add("app", "", line)
		return
	}
	value, ok := n.nodes[0].text()
	if len(n.nodes) > 1 {
		ok = len(n.nodes[1].nodes) > 0
		if ok {
			value, ok = n.nodes[1].nodes[0].text()
		}
	}
	if !ok {
		c.remark(line, `uWSGI sees nothing in this <app>; write <mount>/path=module</mount>`)
		return
	}
	if n.mount != "" {
		value = n.mount + "=" + value
	}
	c.add("mount", value, line)
	c.add("app", "", line)
}
