package emperor

import (
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/children"
	"github.com/emperord/emperord/protocol/api"
)

// keptExits is how many ends of a vassal's processes are remembered.
const keptExits = 5

// remember notes the end of a generation's process; said are its own words, if it had any.
func (v *vassal) remember(a *attempt, x children.Exit, said string) {
	end := api.Exit{
		Generation: uint64(a.id), PID: x.PID, Role: v.role(a.id), Started: a.since, At: time.Now(),
		Text: x.String(), Core: x.Status.CoreDump(), Asked: a.told, Reason: said,
	}
	if x.Status.Exited() {
		code := x.Status.ExitStatus()
		end.Code = &code
	} else if x.Status.Signaled() {
		end.Signal = unix.SignalName(x.Status.Signal())
	}
	v.exits = append([]api.Exit{end}, v.exits[:min(len(v.exits), keptExits-1)]...)
}

// role tells what a generation is doing.
func (v *vassal) role(id Generation) api.Role {
	switch id {
	case v.life.Serving:
		return api.Serving
	case v.life.Coming:
		return api.Coming
	}
	return api.Leaving
}

// why tells all that is remembered of a vassal.
func (e *Emperor) why(v *vassal) api.Why {
	return api.Why{Vassal: e.describe(v), Failures: v.life.Failures, Refused: v.refused, Exits: v.exits, Lines: v.lines(time.Now())}
}

func (e *Emperor) serveWhy(w http.ResponseWriter, r *http.Request) {
	var found []api.Vassal
	var why api.Why
	e.withVassal(w, r, r.PathValue("name"), func(v *vassal) (int, any) {
		why = e.why(v)
		found = append(found, why.Vassal)
		return http.StatusOK, &why
	}, func() {
		e.directory.giveNames(found)
		for _, d := range found {
			why.Vassal = d
		}
	})
}
