package doctor

import (
	"context"

	"github.com/emperord/emperord/configs/check"
)

// tenant lets package check look at the file, for this user, and keeps what stops the application.
func (x *Examiner) tenant(ctx context.Context, t Tenant) []Finding {
	report, err := check.Run(ctx, []string{t.File}, check.Options{Tyrant: x.Tyrant, User: t.User.Name})
	if err != nil {
		return []Finding{{Code: CannotLook, Subject: t.Vassal, Place: t.File, Cause: err.Error()}}
	}
	var list []Finding
	for _, file := range report.Files {
		for _, f := range file.Findings {
			if f.Level != check.Error {
				continue
			}
			one := Finding{Code: string(f.Code), Subject: t.Vassal, Place: f.Place.String(), Cause: f.What, Why: f.Why}
			if f.Runs {
				one.Commands = []string{f.Mend}
			} else {
				one.Note = f.Mend
			}
			list = append(list, one)
		}
	}
	return list
}
