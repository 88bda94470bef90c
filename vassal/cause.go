package vassal

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/protocol/control"
	"github.com/emperord/emperord/protocol/pipe"
)

// A failedLoad says why the application could not be loaded: cause, then remedy.
type failedLoad struct {
	text  string
	exile bool // the application asked not to be started again
}

func (f *failedLoad) Error() string { return f.text }

// asksForExile tells whether the application ended itself, while it was loaded, with the exit code that means "do not
// start me again": by sys.exit, or by os._exit and its like.
func asksForExile(failure *control.Report, stage stage, end children.Exit) bool {
	if failure != nil {
		return failure.Kind == "SystemExit" && failure.Text == strconv.Itoa(pipe.Exile)
	}
	return stage == loading && end.Status.Exited() && end.Status.ExitStatus() == pipe.Exile
}

// cause turns what a host says of a failed load into one line for the person who has to mend it.
func (l *launcher) cause(r *control.Report) string {
	a := l.app
	setting := "module = " + a.Module
	names := []string{"module", "wsgi"}
	if a.File != "" {
		setting, names = "wsgi-file = "+a.File, []string{"wsgi-file", "file"}
	}
	place := a.place(names...)
	if place != "" {
		place += ": "
	}
	where := fmt.Sprintf(" (%s, chdir %s)", setting, l.folder())
	text := oneLine(r.Text)
	switch r.Kind {
	case "Worker":
		return text + "; the log may say more"
	case "Interpreter":
		return fmt.Sprintf("the interpreter is %s; CPython 3.9 or later is needed: name one with plugin = python3 or home = /path/of/a/virtual/environment", text)
	case "chdir2":
		return fmt.Sprintf("%scannot enter the folder %s: %s; make it, or correct chdir2", prefix(a.place("chdir2")), a.Chdir2, text)
	case "NoCallable":
		remedy := "add callable = NAME"
		if r.File != "" { // names that are there
			remedy = "it has " + strings.ReplaceAll(r.File, ",", " and ") + ": add callable = " + strings.Split(r.File, ",")[0]
		}
		return fmt.Sprintf("%sthere is no %q in the application%s; %s", place, r.Text, where, remedy)
	case "NotCallable":
		return fmt.Sprintf("%s%q is %s, which cannot be called as a WSGI application%s; name the application with callable = NAME", place, r.Text, r.File, where)
	case "SystemExit":
		return fmt.Sprintf("%sthe application ended itself while it was loaded: SystemExit: %s%s%s; its log says why", place, text, at(r), where)
	case "ModuleNotFoundError":
		name := strings.SplitN(a.Module, ":", 2)[0]
		if a.File == "" && (name == text || strings.HasPrefix(name, text+".")) {
			return fmt.Sprintf("%sModuleNotFoundError: No module named '%s'%s; correct module or chdir, or name its folder with pythonpath = /folder", place, text, where)
		}
		remedy := "install it for " + first(a.plainPython(), "python3")
		if a.Home != "" {
			remedy = fmt.Sprintf("install it: %s/bin/pip install %s", strings.TrimRight(a.Home, "/"), strings.SplitN(text, ".", 2)[0])
		}
		return fmt.Sprintf("%sModuleNotFoundError: No module named '%s'%s%s; %s, or name its folder with pythonpath = /folder", place, text, at(r), where, remedy)
	case "FileNotFoundError":
		if a.File != "" && strings.Contains(text, "'"+a.File+"'") {
			return fmt.Sprintf("%sthere is no file %s%s; correct wsgi-file or chdir", place, a.File, where)
		}
	}
	return fmt.Sprintf("%s%s%s%s%s%s; the traceback is in the log", place, r.Kind, prefixed(": ", text), at(r), where, l.limited(r))
}

// limited says which limit of the vassal file may have made a load fail, and what to do.
func (l *launcher) limited(r *control.Report) string {
	space := r.Kind == "MemoryError" || strings.HasPrefix(r.Text, "[Errno 12]")
	processes := r.Kind == "BlockingIOError" && strings.HasPrefix(r.Text, "[Errno 11]")
	if r.Kind == "RuntimeError" && r.Text == "can't start new thread" {
		space, processes = true, true
	}
	text := ""
	if space {
		text += l.app.limitText("limit-as", l.app.LimitAS, "MiB are too few")
	}
	if processes {
		text += l.app.limitText("limit-nproc", l.app.LimitNproc, "are the processes and threads that the user may have, those of vassald included")
	}
	return text
}

// limitText is "" where there is no limit.
func (a *application) limitText(option string, limit int, why string) string {
	if limit == 0 {
		return ""
	}
	return fmt.Sprintf("; %s%s = %d: these %s: write a larger number", prefix(a.place(option)), option, limit, why)
}

func prefixed(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// at says where in the application something has happened.
func at(r *control.Report) string {
	if r.File == "" {
		return ""
	}
	return fmt.Sprintf(" at %s:%d", r.File, r.Line)
}

func prefix(place string) string {
	if place == "" {
		return ""
	}
	return place + ": "
}

// plainPython is the interpreter that the plugin names, "" if none does.
func (a *application) plainPython() string {
	for _, p := range a.Plugins {
		if n := pythonName(p); n != "" {
			return n
		}
	}
	return ""
}
