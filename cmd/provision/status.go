package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/templates"
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
	a.rehearseFlag(c)
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
	fmt.Fprint(a.out, ui.Table(header, rows, a.style(a.out)))
	if s.Etcd != nil {
		a.showEtcd(*s.Etcd)
	}
	if v := s.Address; v != nil {
		words := v.Problem
		if v.Holder != "" {
			words = strings.TrimSuffix("at "+v.Holder+"; "+v.Problem, "; ")
		}
		fmt.Fprintf(a.out, "\nVirtual address %s: %s\n", v.Address, words)
	}
	a.showServices(s.Services)
	return nil
}

// showServices shows where the addresses of Services are, one in a line.
func (a *app) showServices(list []engine.AddressHealth) {
	if len(list) == 0 {
		return
	}
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{s.Address.String(), s.Holder, s.Problem})
	}
	fmt.Fprintf(a.out, "\n%s", ui.Table([]string{"SERVICE ADDRESS", "NODE", "PROBLEM"}, rows, a.style(a.out)))
}

// showEtcd shows etcd's members, one in a line.
func (a *app) showEtcd(e engine.EtcdHealth) {
	voters, well := templates.EtcdReport{Members: e.Members}.Voters()
	switch {
	case e.Quorum:
		fmt.Fprintf(a.out, "\netcd: %d of %d voting members are well\n", well, voters)
	case len(e.Members) == 0:
		fmt.Fprintf(a.out, "\netcd: nobody says who its members are. %s\n", sentence(e.Problem))
		return
	default:
		fmt.Fprintf(a.out, "\netcd: NO QUORUM. Nothing in the cluster can change. The members, as %s remembers them:\n", e.Witness)
	}
	var rows [][]string
	for _, m := range e.Members {
		role := "voter"
		switch {
		case m.Leader:
			role = "leader"
		case m.Learner:
			role = "learner"
		}
		rows = append(rows, []string{m.Name, m.Address.String(), role, fmt.Sprint(m.Lag), fmt.Sprintf("%d MiB", m.Size>>20), m.Problem})
	}
	fmt.Fprint(a.out, ui.Table([]string{"MEMBER", "ADDRESS", "ROLE", "BEHIND", "SIZE", "PROBLEM"}, rows, a.style(a.out)))
}
