package bootstrap

import (
	"context"
	"slices"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

// uploads is the folder that a bundle is put in until it is unpacked.
const uploads = "/var/lib/provision/bundle/"

// upload puts the node agent and the bundle on the machine, by way of other machines if it can.
func upload() Phase {
	return Phase{
		Name: "upload",
		Done: func(ctx context.Context, t *Target) (bool, error) {
			files, err := t.missing(ctx)
			return len(files) == 0, err
		},
		Do: func(ctx context.Context, t *Target) error {
			files, err := t.missing(ctx)
			if err != nil {
				return err
			}
			if err := t.bring(ctx, files...); err != nil {
				return err
			}
			return t.noteAgent()
		},
	}
}

// missing returns the programs that the machine does not have.
func (t *Target) missing(ctx context.Context) ([]ssh.File, error) {
	f, err := t.gather(ctx)
	if err != nil {
		return nil, err
	}
	agent, err := t.Programs.Agent.Sum()
	if err != nil {
		return nil, err
	}
	var files []ssh.File
	if f.Agent != agent {
		files = append(files, ssh.File{Path: templates.AgentPath, Mode: 0o755, Source: t.Programs.Agent, Progress: t.progress()})
	}
	if !slices.Contains(f.Bundles, t.Programs.Manifest.ID) {
		path, err := t.bundlePath()
		if err != nil {
			return nil, err
		}
		files = append(files, ssh.File{Path: path, Mode: 0o600, Source: t.Programs.Bundle, Progress: t.progress()})
	}
	return files, nil
}

func (t *Target) bundlePath() (string, error) {
	sum, err := t.Programs.Bundle.Sum()
	return uploads + sum + ".tar.zst", err
}

// noteAgent notes that the machine has our node agent, which a running one is not yet.
func (t *Target) noteAgent() error {
	sum, err := t.Programs.Agent.Sum()
	if err != nil {
		return err
	}
	t.change(func(f *Facts) {
		f.Stale = f.Stale || f.Agent != sum
		f.Agent = sum
	})
	return nil
}
