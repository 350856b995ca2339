package main

import (
	"context"
	"fmt"

	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/spf13/cobra"
)

func (a *app) statusCommand() *cobra.Command {
	c := a.command("status [FILE]", "Show what the cluster is like now", func(ctx context.Context, c *cobra.Command, file string, rest []string) error {
		if err := noArgs(c, rest); err != nil {
			return err
		}
		s, err := a.open(ctx, file, true, engine.Options{})
		if err != nil {
			return err
		}
		defer s.close()
		st, err := s.engine.Status(ctx)
		if err != nil {
			return err
		}
		if a.flags.json {
			return a.printJSON(st)
		}
		return a.showStatus(st)
	})
	c.Flags().BoolVar(&a.flags.json, "json", false, "write JSON to stdout")
	return c
}

func (a *app) showStatus(s engine.Status) error {
	health := "ready"
	if !s.Ready {
		health = "not ready"
	}
	fmt.Fprintf(a.out, "Cluster %s on %s, Kubernetes %s, API %s: %s\n\n", s.Cluster, s.Provider, s.Kubernetes, s.API, health)
	header := []string{"NODE", "ROLE", "MACHINE", "ADDRESS", "READY", "VERSION", "PROBLEM"}
	var rows [][]string
	for _, n := range s.Nodes {
		ready := "no"
		if n.Ready {
			ready = "yes"
		}
		if n.Cordoned {
			ready += ", cordoned"
		}
		rows = append(rows, []string{n.Name, n.Role, n.Machine, n.IP, ready, n.Version, n.Problem})
	}
	_, err := fmt.Fprint(a.out, ui.Table(header, rows, a.style(a.out)))
	return err
}
