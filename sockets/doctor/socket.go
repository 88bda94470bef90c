package doctor

import (
	"context"
	"path/filepath"

	"github.com/emperord/emperord/sockets"
	"github.com/emperord/emperord/sockets/access"
)

// socket goes from the outside in: the way, the file, the listener, the answer.
func (x *Examiner) socket(ctx context.Context, s Socket, web access.User) []Finding {
	a, err := sockets.ParseAddress(s.Address)
	if err != nil {
		return []Finding{{Code: BadAddress, Subject: s.subject(), Place: s.place(), Cause: err.Error()}}
	}
	if a.Kind != sockets.Unix {
		return nil
	}
	var list []Finding
	found, err := access.Walk(web, filepath.Clean(a.Path), access.Write)
	if err != nil {
		return []Finding{{Code: BadAddress, Subject: s.subject(), Place: s.place(), Cause: err.Error()}}
	}
	for _, o := range found {
		list = append(list, Finding{Code: NoAccess, Subject: s.subject(), Place: o.Path, Cause: o.Cause, Why: denied, Commands: o.Commands, Note: o.Note})
	}
	return list
}
