package main

import (
	"context"
	"fmt"

	"github.com/emperord/emperord/protocol/api"
)

// each gives one order for each name and goes on when one fails.
func (o *options) each(ctx context.Context, names []string, order func(context.Context, string) (api.Answer, error)) error {
	failed := false
	for _, name := range names {
		answer, err := order(ctx, name)
		if err != nil {
			fmt.Fprintf(o.err, "emperorctl: %s: %s\n", oneLine(name), text(err.Error()))
			failed = true
			continue
		}
		fmt.Fprintln(o.out, text(answer.Message))
	}
	if failed {
		return silent{exitFailed}
	}
	return nil
}
