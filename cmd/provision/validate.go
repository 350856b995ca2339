package main

import (
	"context"
	"fmt"

	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/spf13/cobra"
)

func (a *app) validateCommand() *cobra.Command {
	c := a.command("validate [FILE]", "Check the file without touching anything", func(ctx context.Context, c *cobra.Command, file string, rest []string) error {
		if err := noArgs(c, rest); err != nil {
			return err
		}
		cl, err := a.load(file)
		if err != nil {
			return err
		}
		p, err := a.provider(ctx, cl)
		if err != nil {
			return err
		}
		if err := engine.Check(ctx, engine.Options{Provider: p, Cluster: cl, Bundle: a.bundle(), Agent: a.agent()}); err != nil {
			return err
		}
		if a.flags.json {
			return a.printJSON(map[string]any{"valid": true, "cluster": cl.Name})
		}
		_, err = fmt.Fprintf(a.out, "%s is valid: cluster %q, machines: %d.\n", file, cl.Name, cl.Machines())
		return err
	})
	c.Flags().BoolVar(&a.flags.json, "json", false, "write the result as JSON to stdout")
	a.programFlags(c)
	return c
}
