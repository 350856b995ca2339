//go:build e2e

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// refused runs apply, which must end with the exit code and say all of the words.
func (r *rig) refused(code int, args []string, words ...string) {
	r.t.Helper()
	o, e, err := r.try(3*time.Minute, append([]string{"apply", r.file, "--auto-approve"}, args...)...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		r.t.Errorf("apply %v: %v, want exit code %d\n%s%s", args, err, code, o, e)
	}
	for _, w := range words {
		if !strings.Contains(e, w) {
			r.t.Errorf("apply %v does not say %q:\n%s", args, w, e)
		}
	}
}

// partTrouble: what goes wrong before there is a cluster. Each is said, and the next apply goes on.
func (r *rig) partTrouble() {
	good, err := os.ReadFile(r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	old := bytes.Replace(good, []byte("1.37.2"), []byte("1.36.3"), 1)
	if err := os.WriteFile(r.file, old, 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.refused(2, nil, "Version not in the bundle", "1.37.2", "cluster.hcl line")
	if err := os.WriteFile(r.file, good, 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.refused(2, []string{"--bundle", "/nonexistent.tar.zst"}, "Bundle not found", "make build")
	r.damaged(2, func(b []byte) []byte { return b[:1000] }, "Bundle is cut short")
	r.damaged(1, func(b []byte) []byte { return b[:len(b)/2] }, "Bundle is cut short")
	r.damaged(1, func(b []byte) []byte { b[len(b)/2] ^= 0xff; return b }, "Bundle is damaged")
	r.interrupt()
	r.machineDies()
}

// damaged tries a bundle that was changed on its way here. What is wrong with its beginning is seen before anything is
// touched, the rest by the machines.
func (r *rig) damaged(code int, spoil func([]byte) []byte, words string) {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.bin, "bundle-linux-amd64.tar.zst"))
	if err != nil {
		r.t.Fatal(err)
	}
	bad := r.file + ".bundle.tar.zst"
	if err := os.WriteFile(bad, spoil(b), 0o600); err != nil {
		r.t.Fatal(err)
	}
	defer os.Remove(bad)
	r.refused(code, []string{"--bundle", bad}, words)
}

// start begins an apply and returns it with what it will have written.
func (r *rig) start() (*exec.Cmd, *lockedBuffer) {
	c := exec.Command(filepath.Join(r.bin, "provision"), "apply", r.file, "--auto-approve")
	c.Env = r.environ
	out := &lockedBuffer{}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	return c, out
}

// interrupt presses Ctrl-C in the middle of an apply: it ends cleanly, with exit code 3, and says what is left.
func (r *rig) interrupt() {
	r.t.Helper()
	c, out := r.start()
	r.eventually("machines begin", 30*time.Second, func() (bool, string) {
		return strings.Contains(out.String(), "upload"), out.String()
	})
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		r.t.Fatal(err)
	}
	err := c.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		r.t.Errorf("an interrupted apply ends with %v, want exit code 3\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "Interrupted") || !strings.Contains(out.String(), "- node.workers[0]") {
		r.t.Errorf("an interrupted apply does not say what is left:\n%s", out.String())
	}
}

// machineDies takes the power from a machine while it is set up: apply says so; the next one goes on.
func (r *rig) machineDies() {
	r.t.Helper()
	c, out := r.start()
	r.eventually("join", 2*time.Minute, func() (bool, string) {
		return strings.Contains(out.String(), "serve"), out.String()
	})
	r.powerOff("workers-1")
	err := c.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		r.t.Errorf("apply without one of its machines ends with %v, want exit code 1\n%s", err, out.String())
	}
	for _, w := range []string{"Error: Machine stopped while it was set up", "node.workers[1]", "provision apply"} {
		if !strings.Contains(out.String(), w) {
			r.t.Errorf("the words of an apply that lost a machine lack %q:\n%s", w, out.String())
		}
	}
}
