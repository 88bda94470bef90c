// Package shape tells what a JSON document looks like apart from its values: keys, their order, nesting, types. Two
// documents of the same shape are the same to a reader.
package shape

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Of returns the shape, a line for each key: "vassals[].pid integer". The elements of an array must be alike.
func Of(text []byte) ([]string, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	lines, err := value(d, "")
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the document")
	}
	return lines, nil
}

func value(d *json.Decoder, path string) ([]string, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			return array(d, path)
		}
		return object(d, path)
	case string:
		return []string{path + " string"}, nil
	case bool:
		return []string{path + " boolean"}, nil
	case json.Number:
		if strings.ContainsAny(t.String(), ".eE") {
			return []string{path + " fraction"}, nil
		}
		return []string{path + " integer"}, nil
	}
	return []string{path + " null"}, nil
}

func object(d *json.Decoder, path string) ([]string, error) {
	lines := []string{path + " object"}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		inner, err := value(d, fmt.Sprintf("%s.%v", path, key))
		if err != nil {
			return nil, err
		}
		lines = append(lines, inner...)
	}
	_, err := d.Token()
	return lines, err
}

func array(d *json.Decoder, path string) ([]string, error) {
	var first []string
	for n := 0; d.More(); n++ {
		inner, err := value(d, path+"[]")
		if err != nil {
			return nil, err
		}
		if n == 0 {
			first = inner
		} else if !slices.Equal(first, inner) {
			return nil, fmt.Errorf("the elements of %s are not alike: %q and %q", path, first, inner)
		}
	}
	_, err := d.Token()
	return append([]string{path + " array"}, first...), err
}
