package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/emperord/emperord/protocol/api"
)

// How long an upgrade is waited for, and how often it is asked after. The emperor gives up earlier.
const (
	upgradePatience = time.Minute
	upgradePace     = 50 * time.Millisecond
)

func newUpgrade(o *options) *cobra.Command {
	var program string
	c := &cobra.Command{
		Use:   "upgrade [--binary PATH]",
		Short: "Let another emperord take the place of the running one; vassals and sockets stay as they are",
		Long: `upgrade lets the emperord that is installed now take the place of the running one: the same process, the same vassals,
the same sockets. It reads its configuration anew. Before anything happens it is tried; where it cannot take over, the
running one goes on. Vassals go on with the vassald that they were started with: emperorctl reload --all afterwards.

Exit code 0: the new one governs.`,
		Args: between(0, 0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if program != "" && !filepath.IsAbs(program) {
				return usageError{errors.New("--binary takes an absolute path")}
			}
			begun, err := o.client().Upgrade(c.Context(), program)
			if err != nil {
				return err
			}
			u, err := o.awaitUpgrade(c.Context(), begun)
			if err != nil {
				return err
			}
			if u.State != api.Upgraded {
				return fmt.Errorf("not upgraded; emperord %s goes on as before: %s", text(u.From), text(u.Reason))
			}
			fmt.Fprintf(o.out, "upgraded from %s to %s (%s)\n", text(u.From), text(u.To), text(u.Program))
			return nil
		},
	}
	c.Flags().StringVar(&program, "binary", "", "the program, by its absolute path; without: that of the running one, as it is there now")
	return c
}

// awaitUpgrade asks until the upgrade has ended. A question that breaks off is asked again: one program may have taken the
// place of the other meanwhile.
func (o *options) awaitUpgrade(ctx context.Context, begun api.Upgrade) (api.Upgrade, error) {
	u := begun
	var err error
	for end := time.Now().Add(upgradePatience); time.Now().Before(end); {
		if err == nil && u.Number == begun.Number && u.State != api.Upgrading {
			return u, nil
		}
		if err == nil && u.Number != begun.Number {
			return u, fmt.Errorf("another upgrade has begun meanwhile (number %d after %d); ask again", u.Number, begun.Number)
		}
		select {
		case <-ctx.Done():
			return u, ctx.Err()
		case <-time.After(upgradePace):
		}
		u, err = o.client().Upgraded(ctx)
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) { // the socket goes on listening, unless the emperor ends
			return u, err
		}
	}
	if err == nil {
		err = fmt.Errorf("the upgrade has not ended within %s; look at emperord's log", upgradePatience)
	}
	return u, err
}
