//go:build e2e

package bootstrap_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/templates"
)

const localEndpoint = templates.LocalEndpoint

// TestE2EEtcdReplacesTheFirst founds a cluster of three, loses its first machine and puts a new one of the same name with
// another address in its place, while a worker asks and writes through its own node agent.
func TestE2EEtcdReplacesTheFirst(t *testing.T) {
	r := newEtcdRig(t)
	begun := time.Now()
	cp := []string{"cp-0", "cp-1", "cp-2"}
	r.make("cp-0", "cp-1", "cp-2", "worker")
	t.Logf("machines: %.1fs", time.Since(begun).Seconds())
	r.install([]string{"cp-0", "cp-1", "cp-2", "worker"}, cp, false)
	t.Logf("installed: %.1fs", time.Since(begun).Seconds())
	r.serve(cp...)
	t.Logf("three API servers: %.1fs", time.Since(begun).Seconds())
	before := r.members("cp-1", cp...)

	probes, end := r.watch("worker", localEndpoint), r.write("worker", localEndpoint)
	time.Sleep(2 * time.Second)
	r.lose("cp-0")
	time.Sleep(6 * time.Second)
	_, gap, summary := probes.end()
	t.Logf("the first is lost: %s", summary)
	if gap > 5*time.Second {
		t.Errorf("the API did not answer for %v", gap)
	}

	begun = time.Now()
	r.make("cp-0")
	snap, err := bootstrap.EtcdSnapshot(r.ctx, r.host("cp-1"))
	if err != nil || snap.Revision == 0 || snap.Size == 0 {
		t.Fatalf("snapshot: %+v, %v", snap, err)
	}
	t.Logf("snapshot: %.1fs, %d KiB, revision %d", time.Since(begun).Seconds(), snap.Size>>10, snap.Revision)
	old, _ := before.Find("cp-0")
	if _, err := bootstrap.EtcdAdd(r.ctx, r.host("cp-1"), "cp-0", r.nodes["cp-0"].machine.Private); err == nil && old.Address != r.nodes["cp-0"].machine.Private {
		t.Fatal("a second cp-0 was taken in")
	}
	if err := bootstrap.EtcdRemove(r.ctx, r.host("cp-1"), old.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := bootstrap.EtcdAdd(r.ctx, r.host("cp-1"), "cp-0", r.nodes["cp-0"].machine.Private); err != nil {
		t.Fatal(err)
	}
	t.Logf("removed and added: %.1fs", time.Since(begun).Seconds())
	r.install([]string{"cp-0"}, cp, true)
	t.Logf("installed: %.1fs", time.Since(begun).Seconds())
	if err := bootstrap.EtcdPromote(r.ctx, r.host("cp-1"), "cp-0", time.Minute, func(l string) { t.Log(l) }); err != nil {
		t.Fatal(err)
	}
	t.Logf("promoted: %.1fs", time.Since(begun).Seconds())
	pids := r.pids("cp-1")
	r.install([]string{"cp-1", "cp-2", "worker"}, cp, true) // with the new address
	r.serve("cp-0")
	t.Logf("replaced: %.1fs", time.Since(begun).Seconds())
	after := r.members("cp-0", cp...)
	if now, _ := after.Find("cp-0"); now.ID == old.ID || now.Address != r.nodes["cp-0"].machine.Private {
		t.Errorf("cp-0 is still the old member: %+v", now)
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		if now := r.pids("cp-1"); now[name] != pids[name] {
			t.Errorf("%s of cp-1 was restarted", name)
		}
	}
	acked := end()
	if missing := r.lost("worker", localEndpoint, acked); len(missing) > 0 || len(acked) < 20 {
		t.Errorf("%d of %d acknowledged writes are lost: %s", len(missing), len(acked), strings.Join(missing, " "))
	} else {
		t.Logf("%d acknowledged writes, none lost", len(acked))
	}
}

// TestE2EEtcdVirtualAddress lets the machine die that holds the virtual address, five times over by cutting its power, and
// probes the address from a worker that is no part of the election.
func TestE2EEtcdVirtualAddress(t *testing.T) {
	r := newEtcdRig(t)
	cp := []string{"cp-0", "cp-1", "cp-2"}
	r.make("cp-0", "cp-1", "cp-2", "worker")
	b := r.nodes["cp-0"].machine.Private.As4()
	b[3] = 200
	r.vip = netip.AddrFrom4(b)
	outside := net.JoinHostPort(r.vip.String(), "6443")
	r.install(append(slices.Clone(cp), "worker"), cp, false)
	r.serve(cp...)
	r.members("cp-1", cp...)
	holder := func() string {
		var here []string
		for name := range r.nodes {
			if name != "worker" && strings.Contains(r.on(name, "ip -o -4 addr show to "+r.vip.String()), r.vip.String()) {
				here = append(here, name)
			}
		}
		return strings.Join(here, " and ")
	}
	r.eventually("one holds the address", 10*time.Second, func() string {
		if h := holder(); slices.Contains(cp, h) {
			return ""
		} else {
			return "it is at " + h
		}
	})
	time.Sleep(2 * time.Second)

	for what, stop := range map[string]string{
		"its API server ends":  "/usr/local/bin/node-agent restart kube-apiserver",
		"its agent is killed":  "kill -9 $(cat /run/provision/agent.lock)",
		"its API server hangs": "kill -STOP $(pidof kube-apiserver); (sleep 12; kill -CONT $(pidof kube-apiserver)) >/dev/null 2>&1 &",
		"its etcd is killed":   "kill -9 $(pidof etcd)",
	} {
		was := holder()
		p := r.watch("worker", outside)
		time.Sleep(time.Second)
		r.on(was, stop)
		time.Sleep(8 * time.Second)
		_, gap, summary := p.end()
		t.Logf("%s (%s -> %s): %s", what, was, holder(), summary)
		if gap > 5*time.Second {
			t.Errorf("%s: the API did not answer for %v", what, gap)
		}
		r.eventually("all are well again", time.Minute, func() string {
			for _, name := range cp {
				if s := r.status(name); !slices.ContainsFunc(s.Processes, func(p templates.ProcessStatus) bool { return p.Name == "kube-apiserver" && p.Ready }) {
					return name + " has no API server"
				}
			}
			return ""
		})
	}
	was := holder()
	inside, p := r.watch("worker", localEndpoint), r.watch("worker", outside)
	time.Sleep(time.Second)
	r.lose(was)
	time.Sleep(8 * time.Second)
	_, gap, summary := p.end()
	_, gapInside, summaryInside := inside.end()
	t.Logf("the holder %s is lost: outside: %s; inside: %s", was, summary, summaryInside)
	if gap > 5*time.Second || gapInside > 5*time.Second {
		t.Errorf("the API did not answer for %v outside and %v inside", gap, gapInside)
	}
}
