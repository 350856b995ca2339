package bootstrap_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	"github.com/provisionhq/provision/templates"
)

// record returns a report function and what it has got: "phase kind", without progress.
func record() (func(bootstrap.Event), *[]string) {
	var got []string
	return func(e bootstrap.Event) {
		switch e.Kind {
		case bootstrap.Progress:
		case bootstrap.Said:
			got = append(got, e.Phase+" said "+strings.TrimSpace(e.Line))
		default:
			got = append(got, fmt.Sprint(e.Phase, " ", e.Kind))
		}
	}, &got
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n  %s\nwant\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestInstallAndJoin(t *testing.T) {
	m := newMachine(sshtest.Options{})
	defer m.Close()
	tg := target(t, m, programs(), newKeys(t))
	ctx := context.Background()

	todo, err := bootstrap.Check(ctx, tg, bootstrap.Install())
	equal(t, "check of a fresh machine", todo, "upload", "install", "configure", "enable")
	if err != nil || m.count != 1 {
		t.Fatalf("check: %v, %d commands, want 1", err, m.count)
	}
	report, got := record()
	if err := bootstrap.Run(ctx, tg, bootstrap.Install(), report); err != nil {
		t.Fatal(err)
	}
	equal(t, "install", *got, "preflight skipped", "upload started", "upload finished", "install started", "install finished",
		"configure started", "configure finished", "enable started", "enable finished")
	if n := len(m.Log.Lines()); n != 8 { // the check's facts, facts, probe, agent, bundle, install, configure, enable
		t.Errorf("%d commands, want 8: %q", n, m.Log.Lines())
	}
	if m.current != "1234" || !m.enabled || string(m.files[templates.PKIDir+"/ca.key"]) != "a secret key" {
		t.Errorf("machine: %+v", m)
	}

	report, got = record()
	if err := bootstrap.Run(ctx, forJoin(tg), bootstrap.Join(), report); err != nil {
		t.Fatal(err)
	}
	equal(t, "join", *got, "join started", "join finished", "ready started", "ready said 0.01s containerd ready", "ready finished")

	before := len(m.Log.Lines())
	report, got = record()
	again := append(bootstrap.Install(), append(bootstrap.Serve(), bootstrap.Join()...)...)
	if err := bootstrap.Run(ctx, forJoin(tg), again, report); err != nil {
		t.Fatal(err)
	}
	equal(t, "again", *got, "preflight skipped", "upload skipped", "install skipped", "configure skipped", "enable skipped",
		"serve skipped", "join skipped", "ready skipped")
	if n := len(m.Log.Lines()) - before; n != 1 {
		t.Errorf("again: %d commands, want 1", n)
	}
}

// TestOnlyWhatChanged changes one thing at a time and sees which phases run.
func TestOnlyWhatChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*machine, *bootstrap.Target)
		want   string
	}{
		"nothing": {func(*machine, *bootstrap.Target) {}, ""},
		"agent": {func(_ *machine, tg *bootstrap.Target) {
			p := programs()
			p.Agent = ssh.FromBytes([]byte("a new agent"))
			tg.Programs = p
		}, "upload"},
		"agent that runs is old": {func(m *machine, _ *bootstrap.Target) { m.stale = true }, "enable"},
		"bundle gone":            {func(m *machine, _ *bootstrap.Target) { m.bundles = nil }, "upload install"},
		"other bundle in use":    {func(m *machine, _ *bootstrap.Target) { m.current = "other" }, "install"},
		"label":                  {func(_ *machine, tg *bootstrap.Target) { tg.Node.Labels = map[string]string{"a": "b"} }, "configure"},
		"key":                    {func(_ *machine, tg *bootstrap.Target) { tg.Files[0].Content = []byte("another key") }, "configure"},
		"not enabled":            {func(m *machine, _ *bootstrap.Target) { m.enabled = false }, "enable"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(sshtest.Options{})
			defer m.Close()
			tg := target(t, m, programs(), newKeys(t))
			if err := bootstrap.Run(context.Background(), tg, bootstrap.Install(), nil); err != nil {
				t.Fatal(err)
			}
			c.change(m, tg)
			todo, err := bootstrap.Check(context.Background(), tg, bootstrap.Install())
			if got := strings.Join(todo, " "); err != nil || got != c.want {
				t.Errorf("to do: %q, %v; want %q", got, err, c.want)
			}
			if err := bootstrap.Run(context.Background(), tg, bootstrap.Install(), nil); err != nil {
				t.Error(err)
			}
			if todo, err = bootstrap.Check(context.Background(), tg, bootstrap.Install()); err != nil || len(todo) > 0 {
				t.Errorf("after it: %q, %v", todo, err)
			}
		})
	}
}

// TestDiesAnywhere lets the machine die at each command, before and after its effect. The next run ends as a clean one.
func TestDiesAnywhere(t *testing.T) {
	keys := newKeys(t)
	phases := append(bootstrap.Install(), bootstrap.Join()...)
	clean := newMachine(sshtest.Options{})
	defer clean.Close()
	if err := bootstrap.Run(context.Background(), forJoin(target(t, clean, programs(), keys)), phases, nil); err != nil {
		t.Fatal(err)
	}
	if clean.count != 6 { // facts, install, configure, enable, join, wait
		t.Errorf("a clean run has %d commands", clean.count)
	}
	for n := 1; n <= clean.count; n++ {
		for _, late := range []bool{false, true} {
			m := newMachine(sshtest.Options{})
			m.cutAt, m.late = n, late
			tg := forJoin(target(t, m, programs(), keys))
			err := bootstrap.Run(context.Background(), tg, phases, nil)
			var host *bootstrap.HostError
			if lost := new(ssh.LostError); !errors.As(err, &host) || !errors.As(err, &lost) {
				t.Errorf("cut at %d, late %v: got %v", n, late, err)
			}
			if err := bootstrap.Run(context.Background(), tg, phases, nil); err != nil {
				t.Errorf("cut at %d, late %v: the next run: %v", n, late, err)
			}
			if fmt.Sprint(m.bundles, m.current, m.enabled, m.files) != fmt.Sprint(clean.bundles, clean.current, clean.enabled, clean.files) {
				t.Errorf("cut at %d, late %v: machine differs from a clean one", n, late)
			}
			m.Close()
		}
	}
}

// TestUploadFaults has what goes wrong with uploads of a real run.
func TestUploadFaults(t *testing.T) {
	for name, c := range map[string]struct {
		faults sshtest.Faults
		check  func(error) bool
	}{
		"disk full":   {sshtest.Faults{FullAfter: 100 << 10}, func(err error) bool { return errors.As(err, new(*ssh.SpaceError)) }},
		"damaged":     {sshtest.Faults{Damage: 10}, func(err error) bool { return errors.As(err, new(*ssh.MismatchError)) }},
		"cut and off": {sshtest.Faults{CutAfter: 100 << 10, Refuse: -1}, func(err error) bool { return errors.As(err, new(*ssh.UnreachableError)) }},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(sshtest.Options{})
			defer m.Close()
			tg := target(t, m, programs(), newKeys(t))
			m.Fail(c.faults)
			err := bootstrap.Run(context.Background(), tg, bootstrap.Install(), nil)
			var host *bootstrap.HostError
			if !errors.As(err, &host) || host.Phase != "upload" || host.Host != "demo-cp-0" || !c.check(err) {
				t.Errorf("got %v", err)
			}
			m.Fail(sshtest.Faults{})
			if err := bootstrap.Run(context.Background(), tg, bootstrap.Install(), nil); err != nil {
				t.Errorf("the next run: %v", err)
			}
		})
	}
}

func TestSudoPassword(t *testing.T) {
	m := newMachine(sshtest.Options{})
	defer m.Close()
	m.Fail(sshtest.Faults{Sudo: "sudo: a password is required"})
	h, err := ssh.Dial(context.Background(), ssh.Options{User: "admin", Sudo: true, Addr: "a", HostKeys: []string{m.HostKey()}, Through: m, Keys: newKeys(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	err = bootstrap.Run(context.Background(), &bootstrap.Target{Host: h, Programs: programs(), Node: controlPlaneNode()}, bootstrap.Install(), nil)
	var sudo *ssh.SudoError
	if !errors.As(err, &sudo) || !sudo.Password {
		t.Errorf("got %v", err)
	}
}

// TestWords sees what of the machine's own words comes with a failure.
func TestWords(t *testing.T) {
	for name, c := range map[string]struct {
		fail, words string
		phase       string
		output      string
		damaged     bool
	}{
		"install": {"install", "node-agent: bundle /x: bundle is corrupt at bin/kube, near byte 12\n", "install",
			"node-agent: bundle /x: bundle is corrupt at bin/kube, near byte 12", true},
		"configure": {"configure", "node-agent: payload: no\n", "configure", "node-agent: payload: no", false},
		"ready, in the agent's words": {"status", "etcd: exit status 1\npanic\ncannot listen\nnode-agent: not ready after 5m0s\n", "ready",
			"etcd: exit status 1|panic|cannot listen|node-agent: not ready after 5m0s", false},
		"ready, in the logs' words": {"status", "node-agent: not ready after 5m0s\n", "ready",
			"node-agent: not ready after 5m0s|etcd: back-off, 3 restarts, exit status 1|last words of etcd", false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(sshtest.Options{})
			defer m.Close()
			m.fail, m.words = c.fail, c.words
			tg := target(t, m, programs(), newKeys(t))
			err := bootstrap.Run(context.Background(), tg, append(bootstrap.Install(), bootstrap.Settle()...), nil)
			var host *bootstrap.HostError
			if !errors.As(err, &host) || host.Phase != c.phase || strings.Join(host.Output, "|") != c.output {
				t.Fatalf("got %v\n%q", err, host.Output)
			}
			if errors.Is(err, bootstrap.ErrDamaged) != c.damaged {
				t.Errorf("damaged bundle: %v", err)
			}
			if strings.Contains(fmt.Sprint(err, host.Output, m.Log.Lines()), "secret") {
				t.Error("a secret is in an error or a command line")
			}
		})
	}
}

func TestNodeCommands(t *testing.T) {
	m := newMachine(sshtest.Options{})
	defer m.Close()
	tg := target(t, m, programs(), newKeys(t))
	ctx := context.Background()
	out, err := bootstrap.Kubectl(ctx, tg.Host, []string{"apply", "-f", "-"}, []byte("manifest"))
	if want := "--kubeconfig /etc/kubernetes/admin.conf --cache-dir /run/provision/kubectl apply -f -|manifest"; err != nil || string(out) != want {
		t.Errorf("kubectl: %q, %v", out, err)
	}
	large := strings.Repeat("x", 3<<20)
	if out, err = bootstrap.Kubectl(ctx, tg.Host, []string{"get"}, []byte(large)); err != nil || !strings.HasSuffix(string(out), large) {
		t.Errorf("kubectl with a large answer: %d bytes, %v", len(out), err)
	}
	if _, err := bootstrap.Status(ctx, tg.Host); err == nil || !strings.Contains(err.Error(), "node-agent status: exit status 127") {
		t.Errorf("status of no node: %v", err)
	}
	if err := bootstrap.Run(ctx, tg, bootstrap.Install(), nil); err != nil {
		t.Fatal(err)
	}
	if s, err := bootstrap.Status(ctx, tg.Host); err != nil || len(s.Processes) != 3 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if err := bootstrap.Reset(ctx, tg.Host); err != nil || m.enabled {
		t.Errorf("reset: %v", err)
	}
}

// BenchmarkHosts installs many machines at once that are 20 ms away, in one process with the machines.
func BenchmarkHosts(b *testing.B) {
	for _, n := range []int{100, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			keys, p := newKeys(b), programs()
			for b.Loop() {
				b.StopTimer()
				ms := make([]*machine, n)
				for i := range ms {
					ms[i] = newMachine(sshtest.Options{Latency: 10 * time.Millisecond})
				}
				b.StartTimer()
				var all sync.WaitGroup
				for _, m := range ms {
					all.Go(func() {
						tg := forJoin(target(b, m, p, keys))
						if err := bootstrap.Run(context.Background(), tg, append(bootstrap.Install(), bootstrap.Join()...), nil); err != nil {
							b.Error(err)
						}
					})
				}
				all.Wait()
				b.StopTimer()
				for _, m := range ms {
					m.Close()
				}
				b.StartTimer()
			}
		})
	}
}
