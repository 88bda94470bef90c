package emperor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/logs"
)

// Names of the fields of log lines.
const (
	fieldVassal = "vassal"
	fieldPID    = "pid"
	fieldUser   = "user"
	fieldUID    = "uid"
	fieldReason = "reason"
	fieldNext   = "next"
	fieldSocket = "socket"
	fieldState  = "state"
)

// about returns the log for one line about a vassal: that of the emperor, or none if its user has used up what may be
// said about it. It is for the loop.
func (e *Emperor) about(v *vassal) *zap.Logger {
	if v.maker == 0 { // root's word
		return e.log
	}
	may, lost := e.lines.take(v.maker, time.Now())
	if !may {
		return zap.NewNop()
	}
	if lost > 0 {
		e.log.Warn("too much happens to the vassals of one user; lines about them were left out", zap.Uint32(fieldUID, v.maker), zap.Int("lines", lost))
	}
	return e.log
}

// A style is how the log is written.
type style struct {
	encoder zapcore.Encoder // of lines as JSON; nil: text
	journal bool            // text goes to the journal, which reads the priority of a line from a number in front (sd-daemon(3))
}

// newStyle returns the style of lines that go to file, if that is not nil.
func newStyle(json bool, file io.Writer, env []string) style {
	if json {
		c := zap.NewProductionEncoderConfig()
		c.EncodeTime = zapcore.RFC3339NanoTimeEncoder
		c.EncodeDuration = zapcore.StringDurationEncoder
		return style{encoder: zapcore.NewJSONEncoder(c)}
	}
	if w, is := file.(*witnessed); is { // after an upgrade
		file = w.to
	}
	f, isFile := file.(*os.File)
	return style{journal: isFile && isJournal(f, env)}
}

// isJournal tells whether what is written to f goes to the journal (systemd.exec(5), "$JOURNAL_STREAM").
func isJournal(f *os.File, env []string) bool {
	for _, kv := range env {
		if text, found := strings.CutPrefix(kv, "JOURNAL_STREAM="); found {
			var st unix.Stat_t
			return unix.Fstat(int(f.Fd()), &st) == nil && text == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
		}
	}
	return false
}

// logger returns a logger that writes to s in this style.
func (f style) logger(s *sink) *zap.Logger {
	if f.encoder != nil {
		return zap.New(zapcore.NewCore(f.encoder, s, zapcore.InfoLevel))
	}
	c := zap.NewProductionEncoderConfig()
	c.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02 15:04:05.000")
	c.EncodeLevel = zapcore.CapitalLevelEncoder
	c.ConsoleSeparator = " "
	if !f.journal {
		return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(c), s, zapcore.InfoLevel))
	}
	c.TimeKey = "" // the journal has its own
	var cores []zapcore.Core
	for _, p := range []struct {
		number    string
		low, high zapcore.Level
	}{{"<6>", zapcore.InfoLevel, zapcore.InfoLevel}, {"<4>", zapcore.WarnLevel, zapcore.WarnLevel}, {"<3>", zapcore.ErrorLevel, zapcore.FatalLevel}} {
		cores = append(cores, zapcore.NewCore(zapcore.NewConsoleEncoder(c), priority{s, p.number},
			zap.LevelEnablerFunc(func(l zapcore.Level) bool { return l >= p.low && l <= p.high })))
	}
	return zap.New(zapcore.NewTee(cores...))
}

// A priority puts the number of a priority in front of each line.
type priority struct {
	*sink
	number string
}

// Write takes one line.
func (p priority) Write(line []byte) (int, error) {
	_, err := p.sink.Write(append([]byte(p.number), line...))
	return len(line), err
}

// said appends one line of a vassal's output to out. In the journal it gets
// no priority of its own: it begins with the vassal's name, so it cannot claim one.
func (f style) said(out []byte, level zapcore.Level, vassal string, uid int, text []byte) []byte {
	if f.encoder == nil {
		out = append(append(append(out, '['), vassal...), "] "...)
		return append(append(out, text...), '\n')
	}
	fields := []zapcore.Field{zap.String(fieldVassal, vassal), zap.Int(fieldUID, uid)}
	return f.encode(out, level, string(text), fields)
}

// own makes a line of the log from what there is to say about the log itself.
func (f style) own(level zapcore.Level, text string) []byte {
	if f.encoder == nil {
		return append(tame(nil, []byte("emperord: "+text)), '\n')
	}
	return f.encode(nil, level, text, nil)
}

func (f style) encode(out []byte, level zapcore.Level, text string, fields []zapcore.Field) []byte {
	line, err := f.encoder.EncodeEntry(zapcore.Entry{Level: level, Time: time.Now(), Message: text}, fields)
	if err != nil {
		return out // it has nothing that could not be encoded
	}
	defer line.Free()
	return append(out, line.Bytes()...)
}

// openLog opens the emperor's log: the file that logto names and the addresses that lines are sent to, or stderr. A file that cannot be
// opened is a mistake; syslog may be started after the emperor.
func (e *Emperor) openLog() (io.Writer, func(), error) {
	set := e.c.Log
	if !set.Any() {
		e.style = newStyle(e.c.LogJSON, e.o.Stderr, e.o.Env)
		return e.o.Stderr, func() {}, nil
	}
	e.style = newStyle(e.c.LogJSON, nil, nil)
	e.style.journal = !e.c.LogJSON && set.Path == "" && !slices.ContainsFunc(set.To, func(d configs.Destination) bool { return d.Syslog == "" })
	say := func(text string) []byte { return e.style.own(zapcore.ErrorLevel, text) }
	var all logs.All
	if set.Path != "" {
		l, err := logs.Open(logs.Options{Path: e.inDir(set.Path), Truncate: set.Truncate && e.o.Handover == nil, Max: set.Max, Backup: e.inDir(set.Backup), Instead: e.o.Stderr, Say: say})
		if err != nil {
			l.Close()
			return nil, nil, mistake("cannot open the log %s: %w", e.inDir(set.Path), err)
		}
		all = append(all, l)
	}
	for _, to := range set.To {
		all = append(all, e.openDestination(to, say))
	}
	return all, all.Close, nil
}

// openDestination opens the way to one address. What is wrong there the first line tells.
func (e *Emperor) openDestination(to configs.Destination, say func(string) []byte) logs.Writer {
	o := logs.DatagramOptions{Address: to.Address, Path: e.inDir(to.Path), Instead: e.o.Stderr, Say: say}
	if to.Syslog != "" {
		o.Path, o.Head = logs.SyslogSocket, &logs.Head{Name: to.Syslog, Facility: to.Facility, Levels: e.style.journal}
	}
	d, _ := logs.OpenDatagrams(o)
	return d
}

// inDir is a path seen from where the emperor was started; empty: there is none.
func (e *Emperor) inDir(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(e.o.Dir, path)
}
