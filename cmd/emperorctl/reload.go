package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func newReload(o *options) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "reload NAME… | --all",
		Short: "Start a new generation of vassals; the old one serves until the new one accepts",
		Args: func(c *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usageError{errors.New("reload takes names of vassals, or --all; see emperorctl reload --help")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if !all {
				return o.each(c.Context(), args, o.client().Reload)
			}
			answer, err := o.client().ReloadAll(c.Context())
			if err == nil {
				fmt.Fprintln(o.out, text(answer.Message))
			}
			return err
		},
	}
	c.Flags().BoolVar(&all, "all", false, "reload every vassal")
	return c
}
