package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) destroyCommand() *cobra.Command {
	c := a.command("destroy [FILE]", "List all that the cluster has, ask, remove it, and look whether anything is left", a.destroy)
	c.Long = `List all that bears the cluster's name at the vendor, what its services and claims made included, ask, remove it, and look again
whether anything is left. Nothing that bears another owner is touched. It needs no state and no secrets.

Where a state knows of objects and the vendor shows none of them, it refuses: the account, the region or the path may be wrong.
If they are gone for good, --accept data-loss removes the state.`
	a.workFlags(c)
	c.Flags().StringSliceVar(&a.flags.keep, "keep", nil, "leave these: volumes (and their snapshots), or snapshots")
	c.Flags().StringSliceVar(&a.flags.accept, "accept", nil, "accept that the cluster is gone, and remove its state: data-loss")
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
	if err := a.do(ctx, w); err != nil {
		return err
	}
	return a.endRehearsal(ctx)
}
