package configs

import (
	"io/fs"
	"reflect"
	"strings"
	"time"
)

// fields are the parts of typed structs that carry a tag `option:"NAME"`, by name. A field may name several options;
// names are first spellings.
type fields map[string]reflect.Value

// fieldsOf collects the tagged fields of structs, given by pointer.
func fieldsOf(structs ...any) fields {
	all := make(fields, 48)
	for _, s := range structs {
		v := reflect.ValueOf(s).Elem()
		t := v.Type()
		for i := range t.NumField() {
			tag := t.Field(i).Tag.Get("option")
			for tag != "" {
				var name string
				name, tag, _ = strings.Cut(tag, ",")
				all[name] = v.Field(i)
			}
		}
	}
	return all
}

// store puts a value into the field of its option: a list grows, anything else is replaced.
func store(field reflect.Value, o Option, v value) {
	switch to := field.Addr().Interface().(type) {
	case *bool:
		*to = v.on
	case *int:
		*to = int(v.number)
	case *uint64:
		*to = v.number
	case *time.Duration:
		unit := time.Second
		if o.Unit == "ms" {
			unit = time.Millisecond
		}
		*to = time.Duration(v.number) * unit
	case *string:
		*to = v.text
	case *[]string:
		*to = append(*to, v.text)
	case **fs.FileMode:
		mode := v.mode
		*to = &mode
	}
}

// take reads the value of a known option by its kind, whoever obeys it, stores it where one of ours has a field for
// it, and says what becomes of the option otherwise.
func (p *parser) take(o Option, s Setting) error {
	if p.obeys(o) && o.Standing == Honoured && (o.Kind == String || o.Kind == List) && hasReference(s.Value) {
		p.say(s, "has the value %q: what it refers to is not defined, and it stays as text", s.Value)
	}
	v, taken, err := p.value(o, s)
	if err != nil {
		return err
	}
	field, ours := p.fields[o.First()]
	if ours && taken {
		store(field, o, v)
	}
	if !ours || o.Standing != Honoured {
		p.rest(o, s)
	}
	return nil
}

// obeys reports whether the parser's program obeys an option, now or some day.
func (p *parser) obeys(o Option) bool { return o.Obeys&p.party != 0 }

// keeps reports whether an option's range counts: its program honours it, or accepts it because it does the same anyway.
// What has no effect here may have any number that its kind can hold.
func (p *parser) keeps(o Option) bool {
	return p.obeys(o) && (o.Standing == Honoured || o.Standing == Accepted)
}
