//go:build linux

package local

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
)

// rehearseEnv makes the test's program make and remove a machine in that folder, to be killed meanwhile.
const rehearseEnv = "PROVISION_LOCAL_TEST_REHEARSE"

func rehearse(folder string) int {
	ctx := context.Background()
	p := New(Options{Folder: folder})
	p.reap = 0
	n, err := p.Networks().Create(ctx, providers.NetworkSpec{Owner: "demo", Name: "main"})
	if err != nil && providers.KindOf(err) != providers.Exists {
		return complain(err)
	}
	m, err := p.Machines().Create(ctx, providers.MachineSpec{Owner: "demo", Name: "a", Network: n.ID, Type: "micro"})
	if err != nil {
		return complain(err)
	}
	spec := rehearsedBalancer(n.ID)
	b, err := p.LoadBalancers().Create(ctx, spec)
	if err != nil {
		return complain(err)
	}
	spec.Targets = []providers.ID{m.ID}
	if _, err := p.LoadBalancers().Update(ctx, b.ID, spec); err != nil {
		return complain(err)
	}
	if err := p.Machines().Delete(ctx, m.ID); err != nil {
		return complain(err)
	}
	if err := p.LoadBalancers().Delete(ctx, b.ID); err != nil {
		return complain(err)
	}
	if err := p.Networks().Delete(ctx, n.ID); err != nil {
		return complain(err)
	}
	return 0
}

func rehearsedBalancer(n providers.ID) providers.LoadBalancerSpec {
	return providers.LoadBalancerSpec{Owner: "demo", Name: "b", Network: n,
		Ports: []providers.BalancerPort{{Name: "ssh", Protocol: "tcp", Port: 2222, TargetPort: 22}}}
}

// TestKilledAnywhere kills a process that makes and removes a network, a machine and a balancer, a little later each time. What it leaves
// must be listed, be completed by Create, and be removed by Delete.
func TestKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	began := time.Now()
	if !w.killed(rehearseEnv, time.Minute) {
		t.Fatal("the rehearsal does not end")
	}
	pace := time.Since(began) / 16
	for after := pace; ; after += pace {
		if w.killed(rehearseEnv, after) {
			t.Logf("killed at each %s up to %s", pace, after)
			return
		}
		if after/pace%2 == 0 { // every other time what is left is removed as it is
			w.clean()
			continue
		}
		m, err := w.Machines().Create(t.Context(), w.spec("demo", "a"))
		if err != nil && providers.KindOf(err) != providers.Exists {
			t.Fatalf("Create after a kill at %s: %v\n%s", after, err, w.words(providers.Key{Owner: "demo", Name: "a"}))
		}
		if err == nil {
			w.run(m, "true")
		}
		b, err := w.LoadBalancers().Create(t.Context(), rehearsedBalancer(m.Network))
		if err != nil && providers.KindOf(err) != providers.Exists || b.Partial {
			t.Fatalf("Create of a balancer after a kill at %s: %+v, %v", after, b, err)
		}
		if now := w.get(m); now.Partial || now.State != providers.Running {
			t.Fatalf("after a kill at %s Create left %+v", after, now)
		}
		w.clean()
	}
}

// killed starts the rehearsal and kills it after a while; true if it was at its end before.
func (w *world) killed(rehearsal string, after time.Duration) (ended bool) {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = append(os.Environ(), rehearsal+"="+w.folder)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { c.Process.Kill() })
	defer timer.Stop()
	err = c.Wait()
	if c.ProcessState.Exited() && err != nil {
		w.t.Fatalf("the rehearsal failed: %v", err)
	}
	return err == nil
}

// TestNotRoot runs the rehearsal as a user who may nothing.
func TestNotRoot(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	if err := errors.Join(copyProgram(program, self), os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program)
	c.Env = append(os.Environ(), rehearseEnv+"="+filepath.Join(dir, "local"))
	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := c.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "create network demo/main: denied: machines on this host need root") {
		t.Errorf("as nobody: %v, %s; want Denied that says why", err, out)
	}
}
