//go:build e2e

package scout_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/bootstrap/doctor"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/providers/local/keeper"
	"github.com/provisionhq/provision/templates"
	gossh "golang.org/x/crypto/ssh"
)

// TestMain lets the test's program be a part of the machines that it makes.
func TestMain(m *testing.M) {
	if ran, code := keeper.Part(os.Args, local.Clear); ran {
		syscall.Exit(code)
	}
	if ran, code := local.Machine(os.Args); ran {
		syscall.Exit(code)
	}
	os.Exit(m.Run())
}

// A rig is real machines of provider local, reached by SSH.
type rig struct {
	t        *testing.T
	p        *local.Provider
	network  providers.Network
	machines []providers.Machine
	keys     *ssh.Keys
	hosts    map[string]ssh.Host
	scout    *ssh.Source
	bin      string
}

func newRig(t *testing.T, owner string, workers int) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("machines of provider local need root")
	}
	ctx := context.Background()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := gossh.MarshalPrivateKey(key, "")
	must(t, err)
	signer, err := gossh.NewSignerFromKey(key)
	must(t, err)
	r := &rig{t: t, p: local.New(local.Options{}), hosts: map[string]ssh.Host{}, bin: t.TempDir()}
	r.keys, err = ssh.NewKeys(ssh.KeyOptions{PEM: [][]byte{pem.EncodeToMemory(block)}})
	must(t, err)
	keeper.Keep(t, keeper.Kept{Owner: providers.Owner(owner)}, local.Clear)
	t.Cleanup(func() { r.remove(providers.Owner(owner)) })
	r.network, err = r.p.Networks().Create(ctx, providers.NetworkSpec{Owner: providers.Owner(owner), Name: "main"})
	must(t, err)
	names := []string{owner + "-cp-0"}
	for i := range workers {
		names = append(names, fmt.Sprintf("%s-workers-%d", owner, i))
	}
	for _, n := range names {
		m, err := r.p.Machines().Create(ctx, providers.MachineSpec{Owner: providers.Owner(owner), Name: n, Network: r.network.ID, Type: "small",
			AuthorizedKeys: []string{strings.TrimSpace(string(gossh.MarshalAuthorizedKey(signer.PublicKey())))}})
		must(t, err)
		h, err := r.dial(ctx, m)
		must(t, err)
		r.machines, r.hosts[n] = append(r.machines, m), h
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", r.bin+"/node-scout", "../../cmd/node-scout")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	r.scout, err = ssh.FromFile(r.bin + "/node-scout")
	must(t, err)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) remove(owner providers.Owner) {
	for _, h := range r.hosts {
		h.Close()
	}
	ctx := context.Background()
	for _, m := range r.machines {
		if err := r.p.Machines().Delete(ctx, m.ID); err != nil {
			r.t.Error(err)
		}
	}
	if err := r.p.Networks().Delete(ctx, r.network.ID); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) dial(ctx context.Context, m providers.Machine) (ssh.Host, error) {
	return ssh.Dial(ctx, ssh.Options{Name: m.Name, Addr: m.SSH.String(), User: m.User, Keys: r.keys, HostKeys: m.HostKeys, Timeout: 20 * time.Second})
}

// on runs a command on a machine.
func (r *rig) on(machine, line string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	res, err := r.hosts[machine].Run(ctx, ssh.Command{Line: line})
	if err != nil {
		r.t.Fatalf("%s: %s: %v", machine, line, err)
	}
	return string(res.Stdout)
}

func (r *rig) patients() []doctor.Host {
	var hs []doctor.Host
	for _, m := range r.machines {
		role := templates.Worker
		if strings.Contains(m.Name, "-cp-") {
			role = templates.ControlPlane
		}
		hs = append(hs, doctor.Host{Name: m.Name, Role: role, Address: m.Private, Dial: func(ctx context.Context) (ssh.Host, error) { return r.dial(ctx, m) }})
	}
	return hs
}

func (r *rig) examine(hs []doctor.Host) *doctor.Report {
	r.t.Helper()
	report, err := doctor.Examine(context.Background(), hs, doctor.Options{Cluster: "demo", Arch: "amd64", Scout: r.scout, DiskTime: 200 * time.Millisecond,
		Pods: netip.MustParsePrefix("10.244.0.0/16"), Services: netip.MustParsePrefix("10.96.0.0/16"), Machines: r.network.CIDR, Install: 300 << 20})
	must(r.t, err)
	return report
}

// TestE2EDoctorFaults plants faults on real machines, one at a time.
func TestE2EDoctorFaults(t *testing.T) {
	r := newRig(t, "doctor", 2)
	cp, w0, w1 := r.machines[0], r.machines[1], r.machines[2]
	left := r.leftovers()
	r.sound("before")
	const chain = "nft add table inet x; nft add chain inet x in '{ type filter hook input priority 0; }'; nft add chain inet x out '{ type filter hook output priority 0; }'; nft add chain inet x fw '{ type filter hook forward priority 0; }'; "
	const unchain = "nft delete table inet x"
	for _, f := range []struct {
		name, host, plant, mend string
		id                      doctor.ID
		says                    string
		also                    doctor.ID // that comes with it
	}{
		{"API port dropped", cp.Name, chain + "nft add rule inet x in tcp dport 6443 drop", unchain, doctor.PortBlocked, "TCP 6443", ""},
		{"kubelet port refused", w0.Name, chain + "nft add rule inet x in tcp dport 10250 reject with tcp reset", unchain, doctor.PortBlocked, "TCP 10250", ""},
		{"overlay dropped", w1.Name, chain + "nft add rule inet x in udp dport 8472 drop", unchain, doctor.PortBlocked, "datagrams do not come", ""},
		{"overlay's answers dropped", w1.Name, chain + "nft add rule inet x out udp sport 8472 drop", unchain, doctor.PortBlocked, "answers are dropped", ""},
		{"node ports dropped", w0.Name, chain + "nft add rule inet x in tcp dport 30000-32767 drop", unchain, doctor.PortBlocked, "NodePort", ""},
		{"sends nothing to the API", w0.Name, chain + "nft add rule inet x out udp dport 8472 drop", unchain, doctor.PortBlocked, "any other host", ""},
		{"large packets lost", w0.Name, chain + "nft add rule inet x in meta length gt 1400 udp dport 8472 drop", unchain, doctor.PathMTU, "at most 1", ""},
		{"forwarding dropped", w1.Name, chain + "nft add rule inet x fw drop", unchain, doctor.FirewallDrops, "passes on", ""},
		{"smaller packets", w0.Name, "ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500", doctor.MTUsDiffer, "1400", doctor.PathMTU},
		{"port taken", w0.Name, "python3 -m http.server 10250 >/dev/null 2>&1 & sleep 1", "kill $(ss -ltnpH 'sport = :10250' | grep -o 'pid=[0-9]*' | cut -d= -f2)", doctor.PortTaken, "10250", ""},
		{"name lost", w0.Name, "cp /etc/hosts /etc/hosts.x; grep -v 10.88 /etc/hosts.x | grep -v workers-0 >/etc/hosts", "cat /etc/hosts.x >/etc/hosts; rm /etc/hosts.x", doctor.HostnameLost, w0.Name, ""},
		{"bad name", w0.Name, "python3 -c 'import socket; socket.sethostname(\"Bad_Name\")'", "hostname " + w0.Name, doctor.BadHostname, "Bad_Name", ""},
		{"same name", w0.Name, "hostname " + w1.Name, "hostname " + w0.Name, doctor.SameHostname, w1.Name, doctor.HostnameLost},
		{"another cluster's", w0.Name, `mkdir -p /etc/provision; echo '{"cluster":"other","uid":"77","name":"other-cp-0"}' >/etc/provision/node.json`, "rm -r /etc/provision", doctor.OtherCluster, "other-cp-0", ""},
		{"etcd's data left", cp.Name, "mkdir /var/lib/etcd/member", "rmdir /var/lib/etcd/member", doctor.LeftOver, "/var/lib/etcd/member", ""},
		{"half wiped", w1.Name, "mkdir -p /etc/kubernetes/pki; touch /etc/kubernetes/pki/ca.crt /usr/local/bin/node-agent", "rm -r /etc/kubernetes /usr/local/bin/node-agent", doctor.HalfWiped, "ca.crt", ""},
		{"runtime runs", w0.Name, "cp /bin/sleep /tmp/dockerd; /tmp/dockerd 300 >/dev/null 2>&1 & sleep 0.3", "kill $(pidof dockerd); rm /tmp/dockerd", doctor.RuntimeRuns, "dockerd", ""},
		{"read-only", w0.Name, "mount -o remount,bind,ro /var/lib/kubelet", "mount -o remount,bind,rw /var/lib/kubelet", doctor.ReadOnly, "/var/lib/kubelet", ""},
		{"noexec", w0.Name, "mount -o remount,bind,noexec /var/lib/containerd", "mount -o remount,bind,exec /var/lib/containerd", doctor.NoExec, "/var/lib/containerd", ""},
		{"disk full", w0.Name, "mount -t tmpfs -o size=64m none /opt/provision", "umount /opt/provision", doctor.DiskFull, "64 MiB left", ""},
		{"unfit file system", w0.Name, "mount -t tmpfs -o size=2g none /var/lib/containerd", "umount /var/lib/containerd", doctor.WrongFS, "tmpfs", ""},
		{"address in pods' range", w0.Name, "ip addr add 10.244.3.1/24 dev eth0", "ip addr del 10.244.3.1/24 dev eth0", doctor.RangeConflict, "10.244.3.1/24", ""},
		{"route in services' range", w0.Name, "ip route add 10.96.8.0/24 via 10.88.0.1 || ip route add 10.96.8.0/24 dev eth0", "ip route del 10.96.8.0/24", doctor.RangeConflict, "10.96.8.0/24", ""},
		{"nft missing", w0.Name, "mv $(command -v nft) /root/nft.x; hash -r", "mv /root/nft.x /usr/sbin/nft", doctor.ToolMissing, "nft", ""},
		{"no name server", w0.Name, "cp /etc/resolv.conf /root/r.x; : >/etc/resolv.conf", "cat /root/r.x >/etc/resolv.conf; rm /root/r.x", doctor.NoNameserver, "resolv.conf", ""},
		{"name server silent", w0.Name, "cp /etc/resolv.conf /root/r.x; echo nameserver 10.88.0.250 >>/etc/resolv.conf", "cat /root/r.x >/etc/resolv.conf; rm /root/r.x", doctor.NameserverDead, "10.88.0.250", ""},
		{"name server is the host", w0.Name, "cp /etc/resolv.conf /root/r.x; echo nameserver 127.0.0.53 >/etc/resolv.conf", "cat /root/r.x >/etc/resolv.conf; rm /root/r.x", doctor.NameserverLoop, "127.0.0.53", ""},
		{"same machine ID", w0.Name, "cp /etc/machine-id /root/id.x; echo " + strings.TrimSpace(r.on(w1.Name, "cat /etc/machine-id")) + " >/etc/machine-id", "cat /root/id.x >/etc/machine-id; rm /root/id.x", doctor.SameMachineID, w1.Name, ""},
		{"setting undone", w0.Name, "echo 'net.ipv4.ip_forward = 0' >/etc/sysctl.d/99-x.conf", "rm /etc/sysctl.d/99-x.conf", doctor.SettingUndone, "99-x.conf", ""},
		{"ufw", w0.Name, "mkdir -p /etc/ufw; echo ENABLED=yes >/etc/ufw/ufw.conf", "rm -r /etc/ufw", doctor.FirewallActive, "ufw", ""},
		{"time zone", w0.Name, "ln -sf /usr/share/zoneinfo/Asia/Kolkata /etc/localtime", "ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime", doctor.ZonesDiffer, "+0530", ""},
	} {
		t.Run(f.name, func(t *testing.T) {
			r := *r
			r.t = t
			r.on(f.host, f.plant)
			report := r.examine(r.patients())
			r.on(f.host, f.mend)
			r.expect(report, f.host, f.id, f.says, f.also)
		})
	}
	t.Run("same host twice", func(t *testing.T) {
		r := *r
		r.t = t
		second := w0.Private.Next().Next().Next().Next().Next()
		r.on(w0.Name, fmt.Sprintf("ip addr add %s/24 dev eth0", second))
		hs := append(r.patients(), doctor.Host{Name: "again", Role: templates.Worker, Address: second, Keep: true, Dial: func(context.Context) (ssh.Host, error) { return r.hosts[w0.Name], nil }})
		report := r.examine(hs)
		r.on(w0.Name, fmt.Sprintf("ip addr del %s/24 dev eth0", second))
		r.expect(report, w0.Name, doctor.SameHost, "again", doctor.PortTaken)
	})
	t.Run("off", func(t *testing.T) {
		r := *r
		r.t = t
		hs := r.patients()
		hs[2].Dial = func(ctx context.Context) (ssh.Host, error) {
			return ssh.Dial(ctx, ssh.Options{Name: w1.Name, Addr: "10.88.0.251", Keys: r.keys, HostKeys: w1.HostKeys, Timeout: time.Second})
		}
		r.expect(r.examine(hs), w1.Name, doctor.Unreachable, "10.88.0.251", "")
	})
	t.Run("host key changed", func(t *testing.T) {
		r := *r
		r.t = t
		hs := r.patients()
		hs[2].Dial = func(ctx context.Context) (ssh.Host, error) {
			return ssh.Dial(ctx, ssh.Options{Name: w1.Name, Addr: w1.SSH.String(), Keys: r.keys, HostKeys: w0.HostKeys, Timeout: 5 * time.Second})
		}
		r.expect(r.examine(hs), w1.Name, doctor.HostKeyChanged, "SHA256:", "")
	})
	r.sound("after")
	time.Sleep(time.Second) // for sshd to end its sessions
	if now := r.leftovers(); now != left {
		t.Errorf("left on the machines:\n%s\nbefore:\n%s", now, left)
	}
}

// leftovers is what doctor could have left on the machines.
func (r *rig) leftovers() string {
	var b strings.Builder
	for _, m := range r.machines {
		b.WriteString(r.on(m.Name, `find / -xdev -name '.node-scout*' -not -path '/proc/*' 2>/dev/null; ls -A /run /tmp /var/tmp | grep -vxE 'sshd|mount|sshd.pid'; ps -e -o comm= | grep -c node-scout; ss -Hltun | wc -l`))
	}
	return b.String()
}

// sound expects nothing but notes.
func (r *rig) sound(when string) {
	r.t.Helper()
	report := r.examine(r.patients())
	for _, f := range report.Findings {
		if f.Severity != doctor.Note && f.ID != doctor.DiskSlow { // the disk is this computer's, and others may use it
			r.t.Errorf("%s: %s: %s: %s", when, f.Host, f.ID, f.What)
		}
	}
	for _, h := range report.Hosts {
		if len(h.Skipped) > 0 {
			r.t.Errorf("%s: %+v", when, h)
		}
	}
	r.t.Logf("%s: sound, in %v", when, report.Took)
}

// expect looks for the one finding, and for others that should not be there.
func (r *rig) expect(report *doctor.Report, host string, id doctor.ID, says string, also doctor.ID) {
	r.t.Helper()
	found := false
	for _, f := range report.Findings {
		switch {
		case f.ID == id && f.Host == host && strings.Contains(f.What, says):
			found = true
			if f.Mend == "" {
				r.t.Errorf("%s has no mend", f.ID)
			}
			r.t.Logf("%s: %s: %s | %s | %q", f.Severity, f.Host, f.What, f.Mend, f.Run)
		case f.Severity == doctor.Note, f.ID == id, f.ID == also, f.ID == doctor.DiskSlow: // the disk is this computer's, and others may use it
		default:
			r.t.Errorf("also found: %s: %s: %s", f.Host, f.ID, f.What)
		}
	}
	if !found {
		var b strings.Builder
		report.WriteText(&b)
		r.t.Errorf("no %s on %s that says %q:\n%s", id, host, says, b.String())
	}
}

// TestE2EHandedOn puts programs on six machines behind a slow line, with and without machines handing them on.
func TestE2EHandedOn(t *testing.T) {
	r := newRig(t, "spread", 4)
	bridge, _, _ := strings.Cut(strings.Fields(command(t, "sh", "-c", fmt.Sprintf("ip -br -4 addr | grep -w %s", r.network.CIDR.Addr().Next())))[0], "@")
	size := 20 << 20
	if s := os.Getenv("PROVISION_E2E_BUNDLE"); s != "" {
		fmt.Sscan(s, &size)
	}
	took := map[bool]time.Duration{}
	for _, spread := range []bool{false, true} {
		p := r.programs(size, spread)
		command(t, "tc", "qdisc", "add", "dev", bridge, "root", "tbf", "rate", "50mbit", "burst", "64k", "latency", "400ms")
		before := transmitted(t, bridge)
		start := time.Now()
		var all sync.WaitGroup
		for i, m := range r.machines {
			all.Go(func() {
				tg := &bootstrap.Target{Host: r.hosts[m.Name], Programs: p, Node: templates.Node{Name: m.Name, Cluster: "demo", UID: fmt.Sprint(i), Address: m.Private}}
				if err := bootstrap.Run(context.Background(), tg, bootstrap.Install()[1:2], func(e bootstrap.Event) {
					if e.Kind == bootstrap.Said {
						t.Log(e.Host, e.Line)
					}
				}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		took[spread] = time.Since(start)
		t.Logf("handed on: %-5v %d machines, bundle %d MiB, line of 50 Mbit/s: %5.1f s, %4d MiB sent from here", spread, len(r.machines), size>>20, took[spread].Seconds(), (transmitted(t, bridge)-before)>>20)
		command(t, "tc", "qdisc", "del", "dev", bridge, "root")
		sums := map[string]bool{}
		for _, m := range r.machines {
			sums[r.on(m.Name, "sha256sum </usr/local/bin/node-agent; cat /var/lib/provision/bundle/* | sha256sum; ls /var/lib/provision/bundle | wc -l; rm -r /usr/local/bin/node-agent /var/lib/provision/bundle; ls /usr/local/bin | grep -c node-scout || true")] = true
		}
		if len(sums) != 1 {
			t.Errorf("machines got different files: %v", sums)
		}
	}
	if took[true]*2 > took[false] {
		t.Errorf("handed on %v, sent to each %v", took[true], took[false])
	}
}

func (r *rig) programs(size int, spread bool) *bootstrap.Programs {
	file := func(name string, n int) *ssh.Source {
		b := make([]byte, n)
		rand.Read(b)
		path := filepath.Join(r.bin, name)
		must(r.t, os.WriteFile(path, b, 0o600))
		s, err := ssh.FromFile(path)
		must(r.t, err)
		return s
	}
	p := &bootstrap.Programs{Agent: file("agent", size/8), Bundle: file("bundle.zst", size), Manifest: &bundle.Manifest{ID: "1234", Arch: "amd64"}}
	if spread {
		p.Spread(r.scout)
	}
	return p
}

func command(t *testing.T, words ...string) string {
	t.Helper()
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", words, err, out)
	}
	return string(out)
}

func transmitted(t *testing.T, dev string) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/sys/class/net/" + dev + "/statistics/tx_bytes")
	must(t, err)
	fmt.Sscan(string(b), &n)
	return n
}
