//go:build linux

package local

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// preflight returns why this host cannot have machines, as far as that can be said without making one.
func (p *Provider) preflight() error {
	if os.Geteuid() != 0 {
		return fail(providers.Denied, "machines on this host need root; this process is user %d", os.Geteuid())
	}
	if !filepath.IsAbs(p.folder) {
		return fail(providers.Invalid, "folder %q must be an absolute path", p.folder)
	}
	if _, err := sshd(); err != nil {
		return err
	}
	return nil
}

// sshd returns the path of the host's SSH server.
func sshd() (string, error) {
	for _, path := range []string{"/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"} {
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	if path, err := exec.LookPath("sshd"); err == nil {
		return filepath.Abs(path)
	}
	return "", fail(providers.Unsupported, "this host has no sshd, which machines run: install the package openssh-server")
}

// installProgram puts a copy of the running program below the folder, so that machines outlive its upgrade and removal.
// It returns the copy's name, which is made of what is in it. The lock of the whole folder is held.
func (p *Provider) installProgram() (string, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer self.Close()
	h := sha256.New()
	if _, err := io.Copy(h, self); err != nil {
		return "", err
	}
	name := hex.EncodeToString(h.Sum(nil)[:16])
	path := p.program(name)
	if _, err := os.Stat(path); err == nil {
		return name, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	if _, err := self.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return name, copyProgram(path, self)
}

func copyProgram(path string, from io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, from)
	if err := errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("copy this program to %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// program is the path of a copy.
func (p *Provider) program(name string) string { return filepath.Join(p.folder, "bin", name) }

// sweepPrograms removes the copies that no machine and no balancer runs. The lock of the whole folder is held.
func (p *Provider) sweepPrograms() error {
	files, err := os.ReadDir(filepath.Join(p.folder, "bin"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ms, err := records[providers.MachineSpec](p, providers.MachineNoun, "")
	if err != nil {
		return err
	}
	bs, err := records[providers.LoadBalancerSpec](p, providers.BalancerNoun, "")
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, m := range ms {
		used[m.Program], used[m.Door] = true, true
	}
	for _, b := range bs {
		used[b.Program] = true
	}
	for _, f := range files {
		if !used[f.Name()] {
			if err := os.Remove(p.program(f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
