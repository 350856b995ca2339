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
			if err := t.noteAgent(); err != nil {
				return err
			}
			return t.noteBesides()
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
	more, err := t.lacking(f)
	return append(files, more...), err
}

// besides brings a running node the programs that it alone gets, before a configuration names them.
func besides() Phase {
	return Phase{
		Name: "programs",
		Done: func(ctx context.Context, t *Target) (bool, error) {
			files, err := t.lackingNow(ctx)
			return len(files) == 0, err
		},
		Do: func(ctx context.Context, t *Target) error {
			files, err := t.lackingNow(ctx)
			if err != nil {
				return err
			}
			if err := t.Host.Put(ctx, files...); err != nil { // they are few
				return err
			}
			return t.noteBesides()
		},
	}
}

func (t *Target) lackingNow(ctx context.Context) ([]ssh.File, error) {
	if len(t.Besides) == 0 {
		return nil, nil
	}
	f, err := t.gatherNode(ctx)
	if err != nil {
		return nil, err
	}
	return t.lacking(f)
}

// lacking are those of Besides that the machine does not have.
func (t *Target) lacking(f *Facts) (files []ssh.File, err error) {
	for _, p := range t.Besides {
		sum, err := p.Source.Sum()
		if err != nil {
			return nil, err
		}
		if f.Files[p.Path] != sum {
			files = append(files, ssh.File{Path: p.Path, Mode: 0o755, Source: p.Source, Progress: t.progress()})
		}
	}
	return files, nil
}

// noteBesides notes that the machine has all of Besides.
func (t *Target) noteBesides() error {
	for _, p := range t.Besides {
		sum, err := p.Source.Sum()
		if err != nil {
			return err
		}
		t.change(func(f *Facts) { f.Files[p.Path] = sum })
	}
	return nil
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
