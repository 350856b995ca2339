package bootstrap_test

import (
	"context"
	"testing"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	"github.com/provisionhq/provision/templates"
)

// TestBesides gives one machine a program that others do not get: with the bundle, and anew while the node runs.
func TestBesides(t *testing.T) {
	m := newMachine(sshtest.Options{})
	defer m.Close()
	tg, path := target(t, m, programs(), newKeys(t)), templates.PluginPath("rack")
	ctx := context.Background()
	for _, step := range []struct {
		what, program string
		phases        []bootstrap.Phase
		want          []string
	}{
		{"install", "one", bootstrap.Install(), []string{"preflight skipped", "upload started", "upload finished", "install started", "install finished",
			"configure started", "configure finished", "enable started", "enable finished"}},
		{"install again", "one", bootstrap.Install(), []string{"preflight skipped", "upload skipped", "install skipped", "configure skipped", "enable skipped"}},
		{"the same", "one", bootstrap.Reconfigure(), []string{"programs skipped", "configure skipped"}},
		{"another", "two", bootstrap.Reconfigure(), []string{"programs started", "programs finished", "configure skipped"}},
		{"upgrade", "three", bootstrap.Install(), []string{"preflight skipped", "upload started", "upload finished", "install skipped", "configure skipped", "enable skipped"}},
	} {
		tg.Besides = []bootstrap.Program{{Path: path, Source: ssh.FromBytes([]byte(step.program))}}
		report, got := record()
		if err := bootstrap.Run(ctx, tg, step.phases, report); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		equal(t, step.what, *got, step.want...)
		if b, mode, ok := m.File(path); !ok || string(b) != step.program || mode != 0o755 {
			t.Errorf("%s: the machine has %q, mode %v", step.what, b, mode)
		}
	}
}
