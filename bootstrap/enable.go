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
			sum, err := t.Programs.Agent.Sum()
			return f.Enabled && f.Status != nil && !t.renewed && f.Agent == sum, err
		},
		Do: func(ctx context.Context, t *Target) error {
			f, err := t.gather(ctx)
			if err != nil {
				return err
			}
			line := ssh.Quote(templates.AgentPath, "enable")
			if t.renewed && f.Status != nil {
				line += " && " + ssh.Quote(templates.AgentPath, "restart", "node-agent")
			}
			if _, err := t.Host.Run(ctx, ssh.Command{Line: line}); err != nil {
				return t.inWords(ctx, named(err, "node-agent enable"))
			}
			t.change(func(f *Facts) { f.Enabled = true })
			t.renewed = false
			return nil
		},
	}
}
