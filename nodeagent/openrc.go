package nodeagent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/templates"
)

// enableOpenRC makes OpenRC start the agent now and at every boot, and again if its script has changed or the program is stale.
func enableOpenRC(ctx context.Context, stale bool) error {
	old, err := os.ReadFile(templates.OpenRCPath)
	changed := err != nil || !bytes.Equal(old, templates.RenderOpenRC())
	if changed {
		if err := supervisor.WriteFile(templates.OpenRCPath, templates.RenderOpenRC(), 0o755); err != nil {
			return err
		}
	}
	if err := openrc(ctx, "rc-update", "add", "node-agent", "default"); err != nil {
		return err
	}
	if stale || changed {
		return openrc(ctx, "rc-service", "node-agent", "restart")
	}
	return openrc(ctx, "rc-service", "--ifstopped", "node-agent", "start")
}

// openrc runs one of OpenRC's programs, which lie where not everybody's PATH looks.
func openrc(ctx context.Context, program string, args ...string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		path = "/sbin/" + program
	}
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w: %s", program, args, err, bytes.TrimSpace(out))
	}
	return nil
}
