//go:build linux

package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// sweep removes what nobody needs any more: folders of objects that there are not, empty ones, programs that no machine
// runs, loop devices without a file, and with the last object the settings of the host and the folder. The lock of the whole folder is held.
func (p *Provider) sweep(ctx context.Context, all *lock) error {
	objects, err := p.sweepFolders()
	if err != nil {
		return err
	}
	if err := p.sweepPrograms(); err != nil {
		return err
	}
	nets, err := records[providers.NetworkSpec](p, providers.NetworkNoun, "")
	if err != nil {
		return err
	}
	if len(nets) == 0 {
		if err := p.restoreSysctls(ctx); err != nil {
			return err
		}
	}
	sweepLoops()
	p.sweepLocks(all)
	if objects > 0 {
		return nil
	}
	os.Remove(filepath.Join(p.folder, "bin"))
	all.remove()
	os.Remove(filepath.Join(p.folder, "locks")) // fails where a lock is in use: its holder sweeps again
	os.Remove(p.folder)
	if p.folder == DefaultFolder {
		os.Remove(filepath.Dir(p.folder))
	}
	return nil
}

// sweepFolders removes folders without a record, which is written first and removed last, and empty ones above them. It
// returns how many objects there are.
func (p *Provider) sweepFolders() (objects int, err error) {
	for _, n := range providers.Nouns() {
		dirs, err := filepath.Glob(filepath.Join(globQuote(p.folder), "*", string(n)+"s", "*"))
		if err != nil {
			return 0, err
		}
		for _, d := range dirs {
			if _, err := os.Stat(filepath.Join(d, "record.json")); err == nil {
				objects++
				continue
			}
			if err := os.RemoveAll(d); err != nil {
				return 0, err
			}
		}
	}
	for _, below := range []string{"networks", "machines", "balancers", "volumes", "snapshots", "."} {
		dirs, err := filepath.Glob(filepath.Join(globQuote(p.folder), "*", below))
		if err != nil {
			return 0, err
		}
		for _, d := range dirs {
			if name := filepath.Base(d); below != "." || name != "bin" && name != "locks" {
				_ = os.Remove(d) // fails where something is left in it
			}
		}
	}
	return objects, nil
}

// sweepLocks removes locks of objects that there are not, but for those that are held.
func (p *Provider) sweepLocks(all *lock) {
	files, _ := os.ReadDir(filepath.Dir(all.path))
	for _, f := range files {
		parts := strings.Split(f.Name(), ".")
		if len(parts) != 3 {
			continue
		}
		dir := p.dir(providers.Noun(parts[1]), providers.Key{Owner: providers.Owner(parts[0]), Name: parts[2]})
		if _, err := os.Stat(filepath.Join(dir, "record.json")); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if l, err := tryLock(filepath.Join(filepath.Dir(all.path), f.Name())); err == nil && l != nil {
			l.remove()
			l.release()
		}
	}
}
