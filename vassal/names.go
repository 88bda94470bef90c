package vassal

import (
	"strconv"
	"strings"

	"github.com/emperord/emperord/procname"
)

// names are what ps shall show of the application's processes. uWSGI has no host: it stands between vassald, which is called the
// master, and the workers.
func (a *application) names() procname.Name {
	return procname.Name{
		Name: a.Procname, Master: a.ProcnameMaster, Auto: a.AutoProcname,
		Prefix: a.ProcnamePrefix, Spaced: a.ProcnameSpaced, Append: a.ProcnameAppend,
	}
}

// maxName bounds a name, in bytes.
const maxName = 1 << 10

// shownName cuts a name to what a host is told.
func shownName(text string) string { return text[:min(len(text), maxName)] }

// nameRoom is an argument that a host does not look at. It makes the memory of its command line, where names go, as large as the
// longest of them; empty: none is needed.
func nameRoom(names procname.Name, processes int, args []string) []string {
	need := max(len(shownName(names.OfOther("uWSGI host"))), len(shownName(names.OfOther("uWSGI worker "+strconv.Itoa(processes)))))
	for _, arg := range args {
		need -= len(arg) + 1
	}
	if need++; need < 0 || names == (procname.Name{}) {
		return args
	}
	return append(args, strings.Repeat(" ", need+1))
}
