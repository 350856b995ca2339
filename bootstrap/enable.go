package bootstrap

import (
	"context"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

// enable makes the machine's init system run the node agent, now and after each boot.
func enable() Phase {
	return Phase{
		Name: "enable",
		Done: func(ctx context.Context, t *Target) (bool, error) {
			f, err := t.gather(ctx)
			if err != nil {
				return false, err
			}
			return f.Enabled && f.Status != nil && !f.Stale, nil
		},
		Do: func(ctx context.Context, t *Target) error {
			// An agent that was replaced while it ran is started anew by this too.
			if _, err := t.Host.Run(ctx, ssh.Command{Line: ssh.Quote(templates.AgentPath, "enable")}); err != nil {
				return t.inWords(ctx, named(err, "node-agent enable"))
			}
			t.change(func(f *Facts) { f.Enabled, f.Stale = true, false })
			return nil
		},
	}
}
