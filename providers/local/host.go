//go:build linux

package local

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// PowerOff switches the machine off as its power button does, and waits until it is Stopped. Create starts it again.
// NotFound if there is none of that ID.
func (p *Provider) PowerOff(ctx context.Context, id providers.ID) (err error) {
	key, _ := keyOf(id)
	defer about("power off", providers.MachineNoun, key, &err)
	r, err := byID[providers.MachineSpec](p, providers.MachineNoun, id)
	if err != nil {
		return err
	}
	if r == nil {
		return providers.NotFound
	}
	for asked := false; ; {
		now, err := observe(p.dir(providers.MachineNoun, key))
		if err != nil || now.Phase == stopped {
			return err
		}
		if now.Phase == running && !asked {
			asked = true
			if err := now.Init.signal(unix.SIGTERM); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// LogFile is where on the host the machine's /var/log/NAME is. It need not exist.
func (p *Provider) LogFile(id providers.ID, name string) string {
	key, _ := keyOf(id)
	return filepath.Join(p.dir(providers.MachineNoun, key), "disk", "log", filepath.Clean("/"+name))
}

// Owners returns whose objects there are, sorted.
func (p *Provider) Owners() (all []providers.Owner, err error) {
	dirs, err := filepath.Glob(filepath.Join(globQuote(p.folder), "*", "*s", "*", "record.json"))
	for _, d := range dirs {
		all = append(all, providers.Owner(filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(d))))))
	}
	return slices.Compact(all), err
}
