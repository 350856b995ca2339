//go:build linux

package csi_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/providers/local/keeper"
)

// TestMain lets the test's program be a part of the machines that provider local makes.
func TestMain(m *testing.M) {
	if ran, code := keeper.Part(os.Args, local.Clear); ran {
		syscall.Exit(code)
	}
	if ran, code := local.Machine(os.Args); ran {
		syscall.Exit(code)
	}
	os.Exit(m.Run())
}

// openLocal opens a provider that makes real machines and volumes here.
func openLocal(t *testing.T) (providers.Provider, string) {
	dir := t.TempDir()
	keeper.Keep(t, keeper.Kept{Folder: filepath.Join(dir, "local"), Dir: dir}, local.Clear)
	p := local.New(local.Options{Folder: filepath.Join(dir, "local")})
	t.Cleanup(func() { empty(t, p) })
	return p, "micro"
}

// empty removes the machines and networks, and sees that nothing is left.
func empty(t *testing.T, p *local.Provider) {
	ctx := context.Background()
	machines, err := p.Machines().List(ctx, owner)
	if err != nil {
		t.Error(err)
	}
	for _, m := range machines {
		if err := p.Machines().Delete(ctx, m.ID); err != nil {
			t.Error(err)
		}
	}
	networks, err := p.Networks().List(ctx, owner)
	if err != nil {
		t.Error(err)
	}
	for _, n := range networks {
		if err := p.Networks().Delete(ctx, n.ID); err != nil {
			t.Error(err)
		}
	}
	if owners, err := p.Owners(); err != nil || len(owners) > 0 {
		t.Errorf("there are still objects of %q, %v", owners, err)
	}
}

// A hosted is provider local as its host sees it: the node half runs here, and not in the machine that a volume is attached to.
type hosted struct{ providers.Provider }

// Volumes returns the volumes.
func (h hosted) Volumes() providers.Volumes { return hostedVolumes{h.Provider.Volumes()} }

type hostedVolumes struct{ providers.Volumes }

// Attach names the loop device that the machine has been given a node of.
func (v hostedVolumes) Attach(ctx context.Context, id, machine providers.ID) (providers.Volume, error) {
	o, err := v.Volumes.Attach(ctx, id, machine)
	if err != nil {
		return o, err
	}
	out, err := exec.CommandContext(ctx, "losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").Output()
	if err != nil {
		return o, fmt.Errorf("%w: losetup: %w", providers.Unavailable, err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 && strings.HasSuffix(f[1], fmt.Sprintf("/%s/volumes/%s/data", o.Owner, o.Name)) {
			o.Device = f[0]
			return o, nil
		}
	}
	return o, fmt.Errorf("%w: no loop device of %s among\n%s", providers.Unavailable, id, out)
}
