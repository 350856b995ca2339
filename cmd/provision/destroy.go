package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) destroyCommand() *cobra.Command {
	c := a.command("destroy [FILE]", "List all that the cluster has, ask, remove it, and look whether anything is left", a.destroy)
	c.Long = `List all that bears the cluster's name at the vendor, what its services and claims made included, ask, remove it, and look again
whether anything is left. Nothing that bears another owner is touched. It needs no state and no secrets.`
	a.workFlags(c)
	c.Flags().StringSliceVar(&a.flags.keep, "keep", nil, "leave these: volumes (and their snapshots), or snapshots")
	a.complete(c)
	return c
}

func (a *app) destroy(ctx context.Context, c *cobra.Command, file string, rest []string) error {
	if err := noArgs(c, rest); err != nil {
		return err
	}
	w, err := a.work(file, "destroy", false)
	if err != nil {
		return err
	}
	return a.do(ctx, w)
}
