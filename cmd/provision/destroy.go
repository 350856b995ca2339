package main

import (
	"context"

	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/spf13/cobra"
)

func (a *app) destroyCommand() *cobra.Command {
	c := a.command("destroy [FILE]", "List all that the cluster has, ask, remove it, and look whether anything is left", a.destroy)
	a.workFlags(c)
	return c
}

func (a *app) destroy(ctx context.Context, c *cobra.Command, file string, rest []string) error {
	if err := noArgs(c, rest); err != nil {
		return err
	}
	return a.work(ctx, file, "destroy", (*engine.Engine).PlanDestroy, (*engine.Engine).Destroy)
}
