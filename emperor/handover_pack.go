package emperor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A clock turns moments into times and back. A time that something is due at counts in the kernel's monotonic clock, which
// goes on over an exec, so that nobody who sets the clock meanwhile makes us wait; what is only shown keeps its face.
type clock struct {
	now  time.Time
	mono time.Duration // CLOCK_MONOTONIC at now
}

func newClock() clock {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it is always there (clock_gettime(2))
	return clock{time.Now(), time.Duration(ts.Nano())}
}

// A moment is a time on both clocks. The zero moment is the zero time.
type moment struct {
	Wall time.Time     `json:"wall,omitzero"`
	Mono time.Duration `json:"mono,omitempty"`
}

func (c clock) moment(t time.Time) moment {
	if t.IsZero() {
		return moment{}
	}
	return moment{t.Round(0), c.mono + t.Sub(c.now)}
}

func (c clock) time(m moment) time.Time {
	if m.Wall.IsZero() {
		return time.Time{}
	}
	return c.now.Add(m.Mono - c.mono)
}

// pack turns a struct of exported fields into JSON: states by their names, because their numbers may be others in another
// version, and times as moments. So a new field of Life is handed over without a line here.
func pack(value any, c clock) (json.RawMessage, error) {
	return json.Marshal(packed(reflect.ValueOf(value), c))
}

func packed(v reflect.Value, c clock) any {
	switch x := v.Interface().(type) {
	case time.Time:
		return c.moment(x)
	case time.Duration:
		return x
	case State:
		return x.String()
	}
	switch v.Kind() {
	case reflect.Struct:
		all := map[string]any{}
		for i := range v.NumField() {
			all[v.Type().Field(i).Name] = packed(v.Field(i), c)
		}
		return all
	case reflect.Slice:
		all := make([]any, v.Len())
		for i := range all {
			all[i] = packed(v.Index(i), c)
		}
		return all
	}
	return v.Interface()
}

// unpack undoes pack. Fields that value has not got are skipped.
func unpack(text json.RawMessage, value any, c clock) error {
	return unpacked(text, reflect.ValueOf(value).Elem(), c)
}

func unpacked(text json.RawMessage, v reflect.Value, c clock) error {
	switch v.Interface().(type) {
	case time.Time:
		var m moment
		if err := json.Unmarshal(text, &m); err != nil {
			return err
		}
		v.Set(reflect.ValueOf(c.time(m)))
		return nil
	case time.Duration:
		return json.Unmarshal(text, v.Addr().Interface())
	case State:
		var name string
		if err := json.Unmarshal(text, &name); err != nil {
			return err
		}
		i := slices.Index(stateNames[:], name)
		if i < 0 {
			return fmt.Errorf("it is %q, which this emperord does not know; restart emperord instead", name)
		}
		v.Set(reflect.ValueOf(State(i)))
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		var all map[string]json.RawMessage
		if err := json.Unmarshal(text, &all); err != nil {
			return err
		}
		for i := range v.NumField() {
			if part, there := all[v.Type().Field(i).Name]; there && !bytes.Equal(part, []byte("null")) {
				if err := unpacked(part, v.Field(i), c); err != nil {
					return fmt.Errorf("%s: %w", v.Type().Field(i).Name, err)
				}
			}
		}
		return nil
	case reflect.Slice:
		var all []json.RawMessage
		if err := json.Unmarshal(text, &all); err != nil || len(all) == 0 {
			return err
		}
		v.Set(reflect.MakeSlice(v.Type(), len(all), len(all)))
		for i, part := range all {
			if err := unpacked(part, v.Index(i), c); err != nil {
				return err
			}
		}
		return nil
	}
	return json.Unmarshal(text, v.Addr().Interface())
}
