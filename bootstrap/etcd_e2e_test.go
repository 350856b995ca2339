//go:build e2e

package bootstrap_test

import (
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/controlplane/pki"
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

// add takes nodes into etcd, all as learners at first, and waits until they vote.
func (r *rig) add(from string, names ...string) {
	r.t.Helper()
	if _, err := bootstrap.EtcdSnapshot(r.ctx, r.host(from)); err != nil {
		r.t.Fatal(err)
	}
	ids := map[string]string{}
	for _, name := range names {
		id, err := bootstrap.EtcdAdd(r.ctx, r.host(from), name, r.nodes[name].address())
		if err != nil {
			r.t.Fatal(err)
		}
		ids[name] = id
	}
	for _, name := range names {
		if err := bootstrap.EtcdPromote(r.ctx, r.host(from), ids[name], 2*time.Minute, func(l string) { r.t.Log(l) }); err != nil {
			r.t.Fatal(err)
		}
	}
}

// etcdState waits until a node's agent says of its member what is wanted.
func (r *rig) etcdState(name string, want templates.EtcdState) templates.Status {
	r.t.Helper()
	var s templates.Status
	r.eventually(name+" is "+string(want), 30*time.Second, func() string {
		if s = r.status(name); s.Etcd != nil && s.Etcd.State == want {
			return ""
		}
		return fmt.Sprintf("%+v", s.Etcd)
	})
	return s
}

// TestE2EEtcdLife makes three of one, throws one out while it runs and takes it back, changes an address, loses two of three
// for good and goes on with the last, and at the end goes back to a snapshot.
func TestE2EEtcdLife(t *testing.T) {
	r := newEtcdRig(t)
	cp := []string{"cp-0", "cp-1", "cp-2"}
	r.make("cp-0", "worker")
	r.install([]string{"cp-0", "worker"}, cp[:1], false)
	r.serve("cp-0")
	r.members("cp-0", "cp-0")
	p, end := r.watch("worker", localEndpoint), r.write("worker", localEndpoint)

	begun := time.Now()
	r.make("cp-1", "cp-2")
	r.install([]string{"cp-0"}, cp, true) // from now on it is one of several
	r.members("cp-0", "cp-0")
	r.install([]string{"cp-1", "cp-2"}, cp, true)
	r.etcdState("cp-2", templates.EtcdJoining)
	r.add("cp-0", "cp-1", "cp-2")
	r.install([]string{"worker"}, cp, true)
	r.serve(cp...)
	r.members("cp-2", cp...)
	_, _, summary := p.end()
	t.Logf("one to three: %.1fs, %s", time.Since(begun).Seconds(), summary)

	// Thrown out while it runs, it says so and stays off; then it is taken back.
	if err := bootstrap.EtcdWipe(r.ctx, r.host("cp-1")); err == nil {
		t.Error("a member that is in order was wiped")
	}
	if err := bootstrap.EtcdMoveLeader(r.ctx, r.host("cp-0"), "", "cp-1"); err != nil {
		t.Fatal(err)
	}
	p = r.watch("worker", localEndpoint)
	if err := bootstrap.EtcdRemove(r.ctx, r.host("cp-0"), "cp-1"); err != nil {
		t.Fatal(err)
	}
	s := r.etcdState("cp-1", templates.EtcdRemoved)
	t.Logf("removed: %v", s.Problems)
	restarts := r.restarts("cp-1", "etcd")
	time.Sleep(4 * time.Second)
	if again := r.restarts("cp-1", "etcd"); again != restarts || restarts > 3 {
		t.Errorf("etcd of the removed member was started %d times, then %d", restarts, again)
	}
	if err := bootstrap.EtcdWipe(r.ctx, r.host("cp-1")); err != nil {
		t.Fatal(err)
	}
	r.etcdState("cp-1", templates.EtcdJoining)
	r.add("cp-0", "cp-1")
	r.serve("cp-1")
	r.members("cp-1", cp...)
	_, _, summary = p.end()
	t.Logf("thrown out and taken back: %s", summary)

	r.address(cp)

	// Two of three are lost for good.
	acked := end()
	time.Sleep(time.Second)
	r.lose("cp-1")
	r.lose("cp-2")
	time.Sleep(3 * time.Second)
	rep, err := bootstrap.EtcdMembers(r.ctx, r.host("cp-0"))
	if err != nil || rep.Quorum || len(rep.Members) != 3 {
		t.Fatalf("without a quorum: %+v, %v", rep, err)
	}
	begun = time.Now()
	if err := bootstrap.EtcdRestore(r.ctx, r.host("cp-0"), "", func(l string) { t.Log(l) }); err != nil {
		t.Fatal(err)
	}
	r.install([]string{"cp-0", "worker"}, cp[:1], false)
	r.serve("cp-0")
	r.members("cp-0", "cp-0")
	t.Logf("restored from the survivor: %.1fs", time.Since(begun).Seconds())
	if missing := r.lost("worker", localEndpoint, acked); len(missing) > 0 || len(acked) < 20 {
		t.Errorf("%d of %d acknowledged writes are lost: %s", len(missing), len(acked), strings.Join(missing, " "))
	}

	snap, err := bootstrap.EtcdSnapshot(r.ctx, r.host("cp-0"))
	if err != nil {
		t.Fatal(err)
	}
	end = r.write("worker", localEndpoint)
	time.Sleep(3 * time.Second)
	later := end()
	begun = time.Now()
	if err := bootstrap.EtcdRestore(r.ctx, r.host("cp-0"), snap.Path, func(l string) { t.Log(l) }); err != nil {
		t.Fatal(err)
	}
	r.serve("cp-0")
	t.Logf("restored from a snapshot: %.1fs", time.Since(begun).Seconds())
	fresh := slices.DeleteFunc(later, func(n string) bool { return slices.Contains(acked, n) })
	if missing := r.lost("worker", localEndpoint, acked); len(missing) > 0 {
		t.Errorf("%d writes of before the snapshot are lost", len(missing))
	}
	if missing := r.lost("worker", localEndpoint, fresh); len(missing) != len(fresh) {
		t.Errorf("%d of %d writes of after the snapshot are lost, want all", len(missing), len(fresh))
	}
}

// address gives cp-2 another address, while its machine keeps the old one for SSH only.
func (r *rig) address(cp []string) {
	r.t.Helper()
	n := r.nodes["cp-2"]
	old := n.address()
	b := old.As4()
	b[3] = 77
	n.moved = netip.AddrFrom4(b)
	r.on("cp-2", "ip addr add "+n.moved.String()+"/24 dev eth0")
	p := r.watch("worker", localEndpoint)
	before := r.pids("cp-2")
	begun := time.Now()
	r.install([]string{"cp-2"}, cp, true)
	rep := r.members("cp-0", cp...)
	if m, _ := rep.Find("cp-2"); m.Address != n.moved {
		r.t.Errorf("etcd has cp-2 at %s, want %s", m.Address, n.moved)
	}
	pids := r.pids("cp-0")
	r.install([]string{"cp-0", "cp-1", "worker"}, cp, true)
	r.serve("cp-2")
	if err := get(r.client("worker", net.JoinHostPort(n.moved.String(), "6443")), "https://"+n.moved.String()+"/readyz"); err != nil {
		r.t.Errorf("the API server at its new address: %v", err)
	}
	_, _, summary := p.end()
	r.t.Logf("another address: %.1fs, %s", time.Since(begun).Seconds(), summary)
	after := r.pids("cp-2")
	for _, name := range []string{"kube-scheduler", "containerd"} {
		if before[name] != after[name] {
			r.t.Errorf("%s was restarted", name)
		}
	}
	if now := r.pids("cp-0"); !maps.Equal(now, pids) {
		r.t.Errorf("processes of cp-0 were restarted: %v, then %v", pids, now)
	}
}

// restarts returns how often a process was started again.
func (r *rig) restarts(node, process string) int {
	r.t.Helper()
	for _, p := range r.status(node).Processes {
		if p.Name == process {
			return p.Restarts
		}
	}
	return -1
}

// TestE2EEtcdCertificates gives a node certificates that are ten months old, and sees that those that the agent issues in
// their place are shown by the programs that run, none of which is started anew.
func TestE2EEtcdCertificates(t *testing.T) {
	r := newEtcdRig(t)
	r.make("cp-0")
	r.install([]string{"cp-0"}, []string{"cp-0"}, false)
	r.serve("cp-0")
	r.eventually("the control plane is ready", time.Minute, func() string {
		for _, p := range r.status("cp-0").Processes {
			if strings.HasPrefix(p.Name, "kube-") && p.Name != "kube-proxy" && !p.Ready {
				return p.Name
			}
		}
		return ""
	})
	ports := map[string]string{"API server": "6443", "etcd": "2379", "etcd's peers": "2380", "controller manager": "10257", "scheduler": "10259"}
	before, pids := map[string]string{}, r.pids("cp-0")
	for what, port := range ports {
		before[what] = r.serial("cp-0", port)
	}
	for _, name := range []string{"apiserver", "apiserver-kubelet-client", "controller-manager", "scheduler", "node-agent", "admin"} {
		r.age("cp-0", name, r.auth.Cluster)
	}
	for _, name := range []string{"etcd/server", "etcd/peer", "etcd/client", "apiserver-etcd-client"} {
		r.age("cp-0", name, r.auth.Etcd)
	}
	r.age("cp-0", "front-proxy-client", r.auth.FrontProxy)
	old := map[string]string{}
	for what, port := range ports {
		r.eventually(what+" shows the old certificate", 2*time.Minute, func() string {
			if old[what] = r.serial("cp-0", port); old[what] == before[what] {
				return "the one of before"
			}
			return ""
		})
	}
	r.on("cp-0", "node-agent restart node-agent")
	for what, port := range ports {
		took := r.eventually(what+" shows another certificate", 2*time.Minute, func() string {
			if now := r.serial("cp-0", port); now == old[what] {
				return "the old one"
			}
			return ""
		})
		t.Logf("%s: %.1fs", what, took.Seconds())
	}
	if now := r.pids("cp-0"); !maps.Equal(now, pids) {
		t.Errorf("processes were restarted: %v, then %v", pids, now)
	}
	if s := r.status("cp-0"); len(s.Warnings) > 0 {
		t.Errorf("warnings: %v", s.Warnings)
	}
}

// age puts a certificate in the place of a node's own that is the same, but issued ten months ago.
func (r *rig) age(node, name string, by *pki.Authority) {
	r.t.Helper()
	c, err := pki.ParseCertificate([]byte(r.on(node, "cat "+pki.CertFile(name))))
	if err != nil {
		r.t.Fatal(err)
	}
	l := pki.Leaf{CommonName: c.Subject.CommonName, Organizations: c.Subject.Organization, Names: c.DNSNames}
	for _, ip := range c.IPAddresses {
		a, _ := netip.AddrFromSlice(ip)
		l.Addresses = append(l.Addresses, a.Unmap())
	}
	for _, u := range c.ExtKeyUsage {
		l.Usage |= map[x509.ExtKeyUsage]pki.Usage{x509.ExtKeyUsageClientAuth: pki.Client, x509.ExtKeyUsageServerAuth: pki.Server}[u]
	}
	p, err := by.Issue(l, time.Now().Add(-300*24*time.Hour))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.host(node).Put(r.ctx, ssh.File{Path: pki.KeyFile(name), Mode: 0o600, Source: ssh.FromBytes(p.Key)},
		ssh.File{Path: pki.CertFile(name), Mode: 0o600, Source: ssh.FromBytes(p.Cert)}); err != nil {
		r.t.Fatal(err)
	}
}
