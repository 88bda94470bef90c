package emperor

import (
	"encoding/json"
	"reflect"
	"strings"
	"unicode/utf8"
)

// JSON knows text only, and would give two files whose names are no text one name. So bytes that are no text are handed over
// as characters of a range for private use, and so are the bytes of these characters themselves.
const (
	firstByte = 0x10FF00 + 0x80
	lastByte  = 0x10FF00 + 0xFF
)

// intoText returns s as text; outOfText takes it back. Text remains as it is.
func intoText(s string) string {
	plain := utf8.ValidString(s) && !strings.ContainsFunc(s, standsForByte)
	if plain {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || standsForByte(r) {
			for _, b := range []byte(s[i : i+n]) {
				out.WriteRune(0x10FF00 + rune(b))
			}
		} else {
			out.WriteString(s[i : i+n])
		}
		i += n
	}
	return out.String()
}

func outOfText(s string) string {
	if !strings.ContainsFunc(s, standsForByte) {
		return s
	}
	var out strings.Builder
	for _, r := range s {
		if standsForByte(r) {
			out.WriteByte(byte(r - 0x10FF00))
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

func standsForByte(r rune) bool { return firstByte <= r && r <= lastByte }

// withStrings returns a copy of a document's part in which f was applied to all strings, keys of maps too. What writes its own
// JSON, and what is bytes, is left alone.
func withStrings(v reflect.Value, f func(string) string) reflect.Value {
	if _, own := v.Interface().(json.Marshaler); own {
		return v
	}
	switch v.Kind() {
	case reflect.String:
		return reflect.ValueOf(f(v.String())).Convert(v.Type())
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		made := reflect.New(v.Type().Elem())
		made.Elem().Set(withStrings(v.Elem(), f))
		return made
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 {
			return v
		}
		made := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			made.Index(i).Set(withStrings(v.Index(i), f))
		}
		return made
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		made := reflect.MakeMapWithSize(v.Type(), v.Len())
		for _, key := range v.MapKeys() {
			made.SetMapIndex(withStrings(key, f), withStrings(v.MapIndex(key), f))
		}
		return made
	case reflect.Struct:
		made := reflect.New(v.Type()).Elem()
		made.Set(v)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				made.Field(i).Set(withStrings(v.Field(i), f))
			}
		}
		return made
	}
	return v
}
