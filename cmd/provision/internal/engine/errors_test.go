package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/providers"
)

// TestExplain holds which diagnostic each failure of a step becomes: its place, its advice, and none that calls a
// machine's or vendor's trouble a mistake of ours.
func TestExplain(t *testing.T) {
	pool := config.Pool{Name: "workers", Count: 1, Machine: "small"}
	at := diag.Range{File: "cluster.hcl", Start: diag.Pos{Line: 9, Column: 3}}
	e := New(Options{Cluster: &config.Cluster{Name: "demo", File: "cluster.hcl", Pools: []config.Pool{pool}, Ranges: map[string]diag.Range{"pool.workers": at}}})
	unreachable := &ssh.UnreachableError{Host: "m", Addr: "a", Err: io.EOF}
	tests := []struct {
		err  error
		want diag.ID
	}{
		{&ssh.HostKeyChanged{Host: "m", Addr: "a", Got: "x", Want: []string{"y"}}, diag.HostKeyChanged},
		{&ssh.SilentError{Host: "m", Addr: "a"}, diag.SSHSilent},
		{unreachable, diag.SSHUnreachable},
		{&ssh.AuthError{Host: "m", Addr: "a", User: "u"}, diag.SSHDenied},
		{&ssh.SudoError{Host: "m", User: "u", Password: true}, diag.SudoPassword},
		{&ssh.SpaceError{Host: "m", Path: "/x", Need: 2, Free: 1}, diag.DiskFull},
		{&ssh.LostError{Host: "m", Err: io.EOF}, diag.MachineDied},
		{&ssh.MismatchError{Host: "m", Path: "/x"}, diag.BundleCorrupt},
		{&bundle.DamageError{Kind: bundle.ErrTruncated, Entry: "x"}, diag.BundleTruncated},
		{&bundle.DamageError{Kind: bundle.ErrCorrupt, Entry: "x"}, diag.BundleCorrupt},
		{&bootstrap.HostError{Host: "m", Phase: "install", Err: errors.New("x"), Output: []string{"bundle is corrupt at y"}}, diag.BundleCorrupt},
		{&bootstrap.HostError{Host: "m", Phase: "install", Err: syscall.ENOSPC}, diag.DiskFull},
		{&bootstrap.HostError{Host: "m", Phase: "ready", Err: errors.New("x")}, diag.NodeNotReady},
		{&bootstrap.HostError{Host: "m", Phase: "serve", Err: errors.New("x")}, diag.APINotAnswering},
		{&bootstrap.HostError{Host: "m", Phase: "enable", Err: errors.New("x")}, diag.BootstrapFailed},
		{&bootstrap.HostError{Host: "m", Phase: "upload", Err: unreachable}, diag.SSHUnreachable},
		{&bootstrap.HostError{Host: "m", Phase: "preflight", Err: &bootstrap.PreflightError{Problems: []bootstrap.Problem{{ID: bootstrap.OtherCluster, What: "x", Mend: "y"}}}}, diag.NodeForeign},
		{&bootstrap.HostError{Host: "m", Phase: "preflight", Err: &bootstrap.PreflightError{Problems: []bootstrap.Problem{{ID: bootstrap.NoTool, What: "x", Mend: "y"}}}}, diag.ToolMissing},
		{fmt.Errorf("run: %w", providers.Capacity), diag.OutOfCapacity},
		{fmt.Errorf("run: %w", providers.Denied), diag.PermissionMissing},
		{diag.Wrap(unreachable, diag.MachineDied, "It stopped."), diag.MachineDied},
	}
	for _, tt := range tests {
		ds := e.explain("node.workers[0]", fmt.Errorf("step: %w", tt.err))
		if len(ds) != 1 || ds[0].ID != tt.want {
			t.Errorf("%T %v: got %v, want %s", tt.err, tt.err, ds, tt.want)
			continue
		}
		if d := ds[0]; d.Address != "node.workers[0]" || d.Range == nil || d.Advice == "" || strings.Contains(d.Advice, "mistake in provision") {
			t.Errorf("%s: address %q, range %v, advice %q", tt.want, d.Address, d.Range, d.Advice)
		}
		if code := ds.ExitCode(); code != diag.ExitFailed {
			t.Errorf("%s: exit code %d, want %d", tt.want, code, diag.ExitFailed)
		}
	}
}

// TestFailedPhaseNamesDoctor: what a machine waits for in vain is often blocked by another one, which only doctor sees.
func TestFailedPhaseNamesDoctor(t *testing.T) {
	e := New(Options{Cluster: &config.Cluster{Name: "demo", File: "cluster.hcl"}})
	var d diag.Diagnostic
	if err := e.etcdError(errors.New("x"), "A member was not added"); !errors.As(err, &d) || !slices.Contains(d.Commands, "provision doctor cluster.hcl") {
		t.Errorf("a member that was not added: %v, want a command that runs doctor", err)
	}
	for _, phase := range []string{"serve", "ready", "enable"} {
		ds := e.diagnose(&bootstrap.HostError{Host: "m", Phase: phase, Err: errors.New("not ready after 5m0s")})
		if len(ds) != 1 || !slices.Contains(ds[0].Commands, "provision doctor cluster.hcl") {
			t.Errorf("%s: got %v, want a command that runs doctor", phase, ds)
		}
	}
}
