package bootstrap

import (
	"context"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

// defaultWait is how long a phase waits for a node.
const defaultWait = 5 * time.Minute

// waitFor waits until the node is ready, or one of its processes. What the node agent tells meanwhile becomes events.
func waitFor(phase, condition string) Phase {
	return Phase{
		Name: phase,
		Done: func(ctx context.Context, t *Target) (bool, error) {
			f, err := t.gatherNode(ctx)
			if err != nil || f.Status == nil || t.changed {
				return false, err
			}
			return reached(f.Status, condition), nil
		},
		Do: func(ctx context.Context, t *Target) error {
			d := t.Wait
			if d == 0 {
				d = defaultWait
			}
			line := ssh.Quote(templates.AgentPath, "status", "--wait", condition, "--timeout", d.String())
			if _, err := t.Host.Run(ctx, ssh.Command{Line: line, Lines: t.say}); err != nil {
				return t.inWords(ctx, named(err, "wait for "+condition))
			}
			return nil
		},
	}
}

// reached says whether the node fulfilled the condition when it was asked.
func reached(s *templates.Status, condition string) bool {
	if condition == "ready" {
		return s.Ready
	}
	for _, p := range s.Processes {
		if p.Name == condition {
			return p.Ready
		}
	}
	return false
}
