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
		offer, err := a.offline(ctx, cl)
		if err != nil {
			return err
		}
		in, err := a.inside(cl.Provider, offer.Caps)
		if err != nil {
			return err
		}
		if err := engine.Check(engine.Options{Cluster: cl, Bundle: a.bundle(), Agent: a.agent(), Inside: in}, offer); err != nil {
			return err
		}
		if a.flags.json {
			return a.printJSON(map[string]any{"valid": true, "cluster": cl.Name})
		}
		_, err = fmt.Fprintf(a.out, "%s is valid: cluster %q, machines: %d.\n", file, cl.Name, cl.Machines())
		return err
	})
	c.Long = `Check the file without touching anything: its form, names, counts, addresses, versions, and what its provider block and pools say.

Only the file is looked at, with those that it names, and the bundle if there is one. No vendor is asked, so neither credentials
nor a network are needed. What only the vendor knows (machine types, images, quotas, permissions) is looked at by the verb plan.`
	c.Flags().BoolVar(&a.flags.json, "json", false, "write the result as JSON to stdout")
	a.programFlags(c)
	return c
}
