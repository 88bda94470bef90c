package doctor

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/shell"
	"github.com/emperord/emperord/sockets"
	"github.com/emperord/emperord/sockets/access"
)

// leftOver looks whether a vassal does not start because a dead socket of somebody else is in its place: emperord removes only
// those of the vassal's own user, and its own.
func (x *Examiner) leftOver(ctx context.Context, s Socket, a sockets.Address, v *api.Vassal) *Finding {
	if v == nil || v.State != api.Backoff && v.State != api.Refused || a.Kind != sockets.Unix {
		return nil
	}
	at, err := access.Look(a.Path)
	if err != nil || at.Mode.Type() != fs.ModeSocket || at.UID == v.UID || at.UID == 0 {
		return nil
	}
	conn, err := dial(ctx, a, x.patience())
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	f := s.finding(NobodyListens, refused, "a dead socket (%s) is in the place of the vassal's, and emperord does not remove what is another user's", at)
	f.Place = a.Path
	f.Note = "a uWSGI that ran as that user has left it"
	// As the folder's owner: whoever may change names on the way could have root remove something else.
	dir := filepath.Dir(a.Path)
	as := access.AsOwner(dir)
	if as == "" && !access.Trusted(dir) {
		f.Note += "; others than root may change the names on the way, so look where it leads before you remove " + a.Path
		return &f
	}
	f.Commands = []string{as + "rm -f " + shell.Quote(a.Path), start(v.Name)}
	return &f
}

func start(vassal string) string { return "emperorctl start " + shell.Quote(vassal) }

// Again lets a vassal that has failed be started at once, behind the commands that mend why it fails. Where no such command is
// known, starting it again would not help. The list is all that was found, in the order in which it is shown.
func (x *Examiner) Again(list []Finding) {
	for i, f := range list {
		v := x.vassal(f.Subject)
		if f.Code != SocketMissing && f.Code != VassalNotReady || len(f.Commands) > 0 || v == nil || v.State != api.Backoff {
			continue
		}
		if slices.ContainsFunc(list[:i], func(o Finding) bool { return o.Subject == f.Subject && len(o.Commands) > 0 }) {
			list[i].Commands = []string{start(v.Name)}
		}
	}
}
