package main

import (
	"context"
	"fmt"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/spf13/cobra"
)

func (a *app) restoreCommand() *cobra.Command {
	var from, snapshot string
	c := a.command("restore [FILE] --from NODE", "Make a control plane that has lost its quorum of what one machine holds", func(ctx context.Context, c *cobra.Command, file string, rest []string) error {
		if err := noArgs(c, rest); err != nil {
			return err
		}
		if from == "" {
			return diag.New(diag.BadFlags, "restore needs --from: the control-plane machine whose data is kept.").Next("See which machines there are:", "provision status "+file)
		}
		if err := a.checkAccept(); err != nil {
			return err
		}
		return a.restore(ctx, file, from, snapshot)
	})
	c.Long = `Make a control plane that has lost its quorum for good a cluster of one, with the data that one of its machines holds, or
with a snapshot on that machine. The next apply adds the other machines. What only the lost machines held is lost.

  provision restore --from cp-0 --accept data-loss
  provision restore --from cp-0 --snapshot /var/lib/provision/snapshots/… --accept data-loss`
	f := c.Flags()
	f.StringVar(&from, "from", "", "the control-plane machine whose data is kept: demo-cp-0, cp-0, control-plane[0]")
	f.StringVar(&snapshot, "snapshot", "", "path of a snapshot on that machine, instead of what its etcd holds")
	f.StringSliceVar(&a.flags.accept, "accept", nil, "accept what is lost for good: data-loss")
	f.BoolVar(&a.flags.autoApprove, "auto-approve", false, "do not ask")
	return c
}

// checkAccept refuses words that nobody understands.
func (a *app) checkAccept() error {
	for _, s := range a.flags.accept {
		if s != engine.DataLoss {
			return diag.New(diag.BadFlags, "--accept takes %s; %q is not that.", engine.DataLoss, s)
		}
	}
	return nil
}

func (a *app) restore(ctx context.Context, file, from, snapshot string) error {
	s, err := a.open(ctx, file, false, engine.Options{Accept: a.flags.accept})
	if err != nil {
		return err
	}
	defer s.close()
	r, err := s.engine.PlanRestore(ctx, from, snapshot)
	if err != nil {
		return err
	}
	if len(a.flags.accept) > 0 && !a.flags.autoApprove {
		fmt.Fprintf(a.err, "%s\n\n", r.Words())
		if _, terminal := size(a.in); !terminal {
			return diag.New(diag.PlanRefused, "There is no terminal to ask on. Nothing was changed.").Next("Say so if it is right:", "provision restore "+file+" --from "+from+" --accept data-loss --auto-approve")
		}
		ok, err := ui.Confirm(ctx, a.in, a.err, "Do this?")
		if err != nil {
			return err
		}
		if !ok {
			return diag.New(diag.PlanRefused, "The answer was not yes. Nothing was changed.")
		}
	}
	if err := s.engine.Restore(ctx, r, func(line string) { fmt.Fprintln(a.err, line) }); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "\nDone. Add the other machines:\n\n    %s\n", a.paste("provision apply "+file))
	return nil
}
