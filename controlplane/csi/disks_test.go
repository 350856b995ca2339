package csi_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/provisionhq/provision/providers"
)

// A disked is a vendor whose volumes are loop devices of this host while they are attached.
type disked struct {
	providers.Provider
	volumes *diskedVolumes
}

// Volumes returns the volumes.
func (d disked) Volumes() providers.Volumes { return d.volumes }

// A diskedVolumes is the vendor's volumes. What they hold is in sparse files here.
type diskedVolumes struct {
	providers.Volumes
	dir string

	mu    sync.Mutex
	loops map[providers.ID]string
}

// disks makes loop devices of a vendor's volumes, and takes them away after the test.
func disks(t *testing.T, p providers.Provider) disked {
	t.Helper()
	v := &diskedVolumes{Volumes: p.Volumes(), dir: t.TempDir(), loops: map[providers.ID]string{}}
	t.Cleanup(func() {
		for id := range v.loops {
			if err := v.release(id); err != nil {
				t.Error(err)
			}
		}
	})
	return disked{p, v}
}

func (v *diskedVolumes) file(id providers.ID) string {
	return filepath.Join(v.dir, strings.NewReplacer("/", "_", ":", "_").Replace(string(id)))
}

func (v *diskedVolumes) Attach(ctx context.Context, id, machine providers.ID) (providers.Volume, error) {
	o, err := v.Volumes.Attach(ctx, id, machine)
	if err != nil {
		return o, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.loops[id] == "" {
		if v.loops[id], err = bind(v.file(id), o.SizeGiB); err != nil {
			return o, fmt.Errorf("%w: %w", providers.Unavailable, err)
		}
	}
	o.Device = v.loops[id]
	return o, nil
}

// bind makes a loop device of a file.
func bind(file string, sizeGiB int) (string, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := f.Truncate(int64(sizeGiB) << 30); err != nil {
		return "", err
	}
	for try := 0; ; try++ { // another process may take the same free device
		out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
		if err == nil {
			return strings.TrimSpace(string(out)), nil
		}
		if try == 20 {
			return "", fmt.Errorf("losetup: %w: %s", err, out)
		}
	}
}

func (v *diskedVolumes) Detach(ctx context.Context, id, machine providers.ID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.Volumes.Detach(ctx, id, machine); err != nil {
		return err
	}
	if o, err := v.Volumes.Get(ctx, id); err == nil && o.Machine != "" {
		return nil
	}
	return v.release(id)
}

func (v *diskedVolumes) release(id providers.ID) error {
	loop := v.loops[id]
	if loop == "" {
		return nil
	}
	delete(v.loops, id)
	if out, err := exec.Command("losetup", "--detach", loop).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: losetup: %w: %s", providers.Unavailable, err, out)
	}
	return nil
}

func (v *diskedVolumes) Resize(ctx context.Context, id providers.ID, sizeGiB int) (providers.Volume, error) {
	o, err := v.Volumes.Resize(ctx, id, sizeGiB)
	v.mu.Lock()
	defer v.mu.Unlock()
	loop := v.loops[id]
	if err != nil || loop == "" {
		return o, err
	}
	if err := os.Truncate(v.file(id), int64(o.SizeGiB)<<30); err != nil {
		return o, err
	}
	if out, err := exec.Command("losetup", "--set-capacity", loop).CombinedOutput(); err != nil {
		return o, fmt.Errorf("%w: losetup: %w: %s", providers.Unavailable, err, out)
	}
	return o, nil
}

func (v *diskedVolumes) Delete(ctx context.Context, id providers.ID) error {
	if err := v.Volumes.Delete(ctx, id); err != nil {
		return err
	}
	_ = os.Remove(v.file(id))
	return nil
}
