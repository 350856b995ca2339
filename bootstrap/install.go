package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

// install unpacks the bundle and makes it the one in use.
func install() Phase {
	return Phase{
		Name: "install",
		Done: func(ctx context.Context, t *Target) (bool, error) {
			f, err := t.gather(ctx)
			if err != nil {
				return false, err
			}
			id := t.Programs.Manifest.ID
			return f.Current == id && slices.Contains(f.Bundles, id), nil
		},
		Do: doInstall,
	}
}

func doInstall(ctx context.Context, t *Target) error {
	id := t.Programs.Manifest.ID
	if t.Node.Bundle != id {
		return fmt.Errorf("the node is to run bundle %s, at hand is bundle %s", t.Node.Bundle, id)
	}
	path, err := t.bundlePath()
	if err != nil {
		return err
	}
	f, err := t.gather(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(f.Bundles, id) {
		if err := t.bring(ctx, ssh.File{Path: path, Mode: 0o600, Source: t.Programs.Bundle, Progress: t.progress()}); err != nil {
			return err // unpacked once and not in use now: the agent reads the manifest and switches
		}
	}
	// A bundle that cannot be unpacked is no use there either.
	line := fmt.Sprintf("%s; s=$?; rm -f %s; exit $s", ssh.Quote(templates.AgentPath, "install", "--bundle", path), ssh.Quote(path))
	res, err := t.Host.Run(ctx, ssh.Command{Line: line})
	if err != nil {
		return damaged(named(err, "node-agent install"))
	}
	lines := lastLines(res.Stdout)
	if len(lines) == 0 || strings.TrimSpace(lines[len(lines)-1]) != id {
		return fmt.Errorf("node-agent install: printed %q, wanted bundle %s", res.Stdout, id)
	}
	t.change(func(f *Facts) { f.Current, f.Bundles = id, append(f.Bundles, id) })
	return nil
}

// ErrDamaged says that the bundle could not be unpacked because it is corrupt or cut short. It arrived as it was sent, so
// the file at hand is damaged.
var ErrDamaged = errors.New("the bundle is damaged")

func damaged(err error) error {
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		words := string(exit.Stderr)
		if strings.Contains(words, "is corrupt") || strings.Contains(words, "is cut short") {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return err
}
