package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const resolutionVersion = 1

// Limits of the parts of a resolution document.
const (
	maxError   = 8 << 10 // bytes of Error
	maxNotice  = 2 << 10 // bytes of one notice
	maxNotices = 500
	maxName    = 256     // bytes of a user's or group's name
	maxFileLen = 4 << 10 // bytes of a file's name (PATH_MAX)
)

// Encode writes the document. One that would be larger than MaxResolution is replaced by its refusal.
func (r *Resolution) Encode(w io.Writer) error {
	text, err := json.Marshal(toWire(r))
	if err != nil {
		return err
	}
	if len(text) >= MaxResolution {
		text, err = json.Marshal(toWire(&Resolution{Version: resolutionVersion,
			Error: fmt.Sprintf("the resolved configuration is too large: %d bytes, and at most %d are taken; look for a loop or for a large @(file)", len(text), MaxResolution)}))
		if err != nil {
			return err
		}
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// DecodeResolution reads a document from a process that is not trusted. It takes at most MaxResolution bytes, and what
// it returns keeps the limits: control characters in Error and Notices are escaped, addresses are absolute and proper.
func DecodeResolution(rd io.Reader) (*Resolution, error) {
	text, err := io.ReadAll(io.LimitReader(rd, MaxResolution+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer of --resolve: %w", err)
	}
	if len(text) > MaxResolution {
		return nil, fmt.Errorf("the answer of --resolve is longer than %d bytes", MaxResolution)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("the answer of --resolve is empty")
	}
	var doc wire
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("the answer of --resolve is not understood: %w", err)
	}
	if doc.Version != resolutionVersion {
		return nil, fmt.Errorf("the answer of --resolve has version %d, and %d is understood; emperord and vassald must be of the same release", doc.Version, resolutionVersion)
	}
	if doc.Error != "" {
		return &Resolution{Version: resolutionVersion, Error: clip(Printable(doc.Error), maxError), Passing: doc.Passing}, nil
	}
	r, err := doc.resolution()
	if err != nil {
		return nil, fmt.Errorf("the answer of --resolve is refused: %w", err)
	}
	return r, nil
}

// A wire is the document as it travels: lists are counted before they are made, and texts that are not UTF-8 go as bytes.
type wire struct {
	Version  int                                 `json:"version"`
	Error    string                              `json:"error,omitempty"`
	Passing  bool                                `json:"passing,omitempty"`
	Notices  bounded[string, notices]            `json:"notices,omitempty"`
	Settings bounded[wireSetting, settingsLimit] `json:"settings"`
	Sockets  bounded[SocketWish, socketsLimit]   `json:"sockets"`
	UID      string                              `json:"uid,omitempty"`
	GID      string                              `json:"gid,omitempty"`
	Mercy    int                                 `json:"mercy,omitempty"`
	Vacuum   bool                                `json:"vacuum,omitempty"`
	OnDemand *bool                               `json:"on_demand,omitempty"`
	Emperor  bool                                `json:"emperor,omitempty"`

	Attributes bounded[Attribute, attributesLimit] `json:"attributes,omitempty"`
}

type wireSetting struct {
	Setting
	Key64   []byte `json:"key64,omitempty"`
	Value64 []byte `json:"value64,omitempty"`
}

// A bounded list stops decoding at its limit.
type bounded[T any, L interface{ limit() int }] []T

type (
	notices       struct{}
	settingsLimit struct{}
	socketsLimit  struct{}
)

func (notices) limit() int       { return maxNotices }
func (settingsLimit) limit() int { return MaxSettings }
func (socketsLimit) limit() int  { return MaxSockets }

func (b *bounded[T, L]) UnmarshalJSON(text []byte) error {
	*b = nil
	if string(text) == "null" {
		return nil
	}
	var l L
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.New("a list was expected")
	}
	for d.More() {
		if len(*b) >= l.limit() {
			return fmt.Errorf("a list has more than %d items", l.limit())
		}
		var item T
		if err := d.Decode(&item); err != nil {
			return err
		}
		*b = append(*b, item)
	}
	return nil
}

func toWire(r *Resolution) *wire {
	doc := &wire{Version: r.Version, Error: r.Error, Passing: r.Passing, Notices: r.Notices, Sockets: r.Sockets, UID: r.UID, GID: r.GID, Mercy: r.Mercy, Vacuum: r.Vacuum, OnDemand: r.OnDemand, Emperor: r.Emperor, Attributes: r.Attributes}
	doc.Settings = make([]wireSetting, len(r.Settings))
	for i, s := range r.Settings {
		doc.Settings[i].Setting = s
		if !utf8.ValidString(s.Key) {
			doc.Settings[i].Key64, doc.Settings[i].Key = []byte(s.Key), ""
		}
		if !utf8.ValidString(s.Value) {
			doc.Settings[i].Value64, doc.Settings[i].Value = []byte(s.Value), ""
		}
	}
	return doc
}

func (doc *wire) resolution() (*Resolution, error) {
	r := &Resolution{Version: doc.Version, Sockets: doc.Sockets, UID: doc.UID, GID: doc.GID, Mercy: doc.Mercy, Vacuum: doc.Vacuum, OnDemand: doc.OnDemand, Emperor: doc.Emperor, Attributes: doc.Attributes}
	if err := checkAttributes(r.Attributes); err != nil {
		return nil, err
	}
	if !isName(r.UID) || !isName(r.GID) {
		return nil, errors.New("uid or gid is not a name")
	}
	if r.Emperor && len(r.Sockets) > 0 {
		return nil, errors.New("an emperor has no sockets of an application")
	}
	if r.Mercy < 0 || r.Mercy > longest {
		return nil, errors.New("mercy is out of range")
	}
	for _, n := range doc.Notices {
		r.Notices = append(r.Notices, clip(Printable(n), maxNotice))
	}
	r.Settings = make(Settings, len(doc.Settings))
	for i, s := range doc.Settings {
		if s.Key64 != nil {
			s.Key = string(s.Key64)
		}
		if s.Value64 != nil {
			s.Value = string(s.Value64)
		}
		if strings.IndexByte(s.Key, 0) >= 0 || strings.IndexByte(s.Value, 0) >= 0 {
			return nil, fmt.Errorf("setting %d holds a NUL byte", i)
		}
		if err := s.Place.check(); err != nil {
			return nil, fmt.Errorf("setting %d: %w", i, err)
		}
		r.Settings[i] = s.Setting
	}
	for i := range r.Sockets {
		if err := r.Sockets[i].check(); err != nil {
			return nil, fmt.Errorf("socket %d: %w", i, err)
		}
		r.Sockets[i].Place.File = Printable(r.Sockets[i].Place.File) // it stands in messages
	}
	return r, nil
}

func (p Place) check() error {
	if p.Line < 0 || p.Line > maxFile || len(p.File) > maxFileLen || strings.IndexByte(p.File, 0) >= 0 {
		return errors.New("its place is not one")
	}
	return nil
}

// check judges a wish that a tenant's process has sent.
func (w *SocketWish) check() error {
	switch {
	case w.Protocol != "uwsgi":
		return fmt.Errorf("protocol %.20q is not known", w.Protocol)
	case len(w.Address) > maxName || strings.IndexFunc(w.Address, unicode.IsControl) >= 0 || !utf8.ValidString(w.Address):
		return errors.New("the address is too long or holds a control character")
	case w.Mode != nil && *w.Mode&^fs.ModePerm != 0:
		return errors.New("the mode is not within 0777")
	case !isName(w.Owner) || !isName(w.Group):
		return errors.New("owner or group is not a name")
	case w.Backlog < 0 || w.Backlog > 65535:
		return errors.New("the backlog is out of range")
	}
	if err := w.Place.check(); err != nil {
		return err
	}
	switch a := w.Address; {
	case strings.HasPrefix(a, "/"):
		if len(a) > maxPath || filepath.Clean(a) != a || a == "/" {
			return fmt.Errorf("%.120q is not the clean path of a socket", a)
		}
	case strings.HasPrefix(a, "@"):
		if len(a) < 2 || len(a) > maxPath {
			return errors.New("the abstract name has the wrong length")
		}
	default:
		_, port, err := net.SplitHostPort(a)
		n, bad := strconv.Atoi(port)
		if err != nil || bad != nil || n < 1 || n > 65535 {
			return fmt.Errorf("%.120q is not an address", a)
		}
	}
	return nil
}

// clip shortens a text to so many bytes at most.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len("…")], "") + "…"
}

// Printable escapes what could deceive the reader of a log or a terminal: texts of configurations may be hostile.
func Printable(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0 {
		return s
	}
	var out strings.Builder
	for _, c := range s {
		if unicode.IsPrint(c) {
			out.WriteRune(c)
			continue
		}
		q := strconv.QuoteRune(c)
		out.WriteString(q[1 : len(q)-1])
	}
	return out.String()
}
