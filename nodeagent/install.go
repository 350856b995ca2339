package nodeagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/templates"
)

// install unpacks a bundle, makes it the current one and removes those that nobody needs. It returns the bundle's ID. A
// bundle that is there already is only made current.
func install(ctx context.Context, file string) (string, error) {
	b, err := bundle.Open(file)
	if err != nil {
		return "", err
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	m, err := bundle.Unpack(ctx, f, filepath.Join(templates.BundleDir, b.Manifest.ID))
	if err != nil {
		return "", err
	}
	old, _ := os.Readlink(templates.Current)
	if err := link(m.ID, templates.Current); err != nil {
		return "", err
	}
	return m.ID, tidy(m.ID, filepath.Base(old))
}

// link makes a symbolic link, or makes it anew in one step.
func link(target, path string) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// tidy removes bundles other than those to keep and the one that the node is configured for.
func tidy(keep ...string) error {
	if raw, err := os.ReadFile(templates.NodePath); err == nil {
		if n, err := templates.ParseNode(raw); err == nil {
			keep = append(keep, n.Bundle)
		}
	}
	dirs, err := os.ReadDir(templates.BundleDir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		wanted := !d.IsDir() || d.Name() == filepath.Base(templates.PluginDir)
		for _, k := range keep {
			wanted = wanted || d.Name() == k
		}
		if !wanted {
			if err := os.RemoveAll(filepath.Join(templates.BundleDir, d.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// enable makes the machine run the agent now and after every boot, and the program that is in its place now: an agent that
// was started before it was replaced is started again, which leaves the node's processes alone.
func enable(ctx context.Context) error {
	before, runs := holder()
	stale := runs && !current(before)
	switch h := look(); h.initSystem() {
	case initSystemd:
		if err := enableSystemd(ctx, stale); err != nil {
			return err
		}
	case initOpenRC:
		if err := enableOpenRC(ctx, stale); err != nil {
			return err
		}
	default:
		run := filepath.Join(templates.ServiceDir, "run")
		if err := supervisor.WriteFile(run, templates.RenderRun(), 0o755); err != nil {
			return err
		}
		if stale {
			_ = syscall.Kill(before, syscall.SIGTERM)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err := watchStatus(ctx, func(templates.Status) bool {
		now, runs := holder()
		return runs && (!stale || now != before)
	})
	if err == nil {
		return nil
	}
	if now, runs := holder(); runs && stale && now == before {
		return fmt.Errorf("the node agent that ran before (process %d) does not end", before)
	}
	if h := look(); errors.Is(err, errNotRunning) && h.initSystem() == initRunit {
		return fmt.Errorf("%w: nothing started %s/run, and neither systemd nor OpenRC is there", err, templates.ServiceDir)
	}
	return err
}

// current reports whether a process runs the program that is installed.
func current(pid int) bool {
	running, err1 := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	installed, err2 := os.Stat(templates.AgentPath)
	return err1 == nil && err2 == nil && os.SameFile(running, installed)
}

func enableSystemd(ctx context.Context, stale bool) error {
	old, err := os.ReadFile(templates.UnitPath)
	changed := err != nil || !bytes.Equal(old, templates.RenderUnit())
	if changed {
		if err := supervisor.WriteFile(templates.UnitPath, templates.RenderUnit(), 0o644); err != nil {
			return err
		}
		if err := systemctl(ctx, "daemon-reload"); err != nil {
			return err
		}
	}
	if err := systemctl(ctx, "enable", "--now", "node-agent"); err != nil {
		return err
	}
	if stale || changed {
		return systemctl(ctx, "restart", "node-agent")
	}
	return nil
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

func runInstall(ctx context.Context, file string, out io.Writer) error {
	id, err := install(ctx, file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, id)
	return err
}
