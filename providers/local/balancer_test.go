//go:build linux

package local

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// balance makes a balancer for SSH on port 2222 to the machines.
func (w *world) balance(name string, ms ...providers.Machine) (providers.LoadBalancerSpec, providers.LoadBalancer) {
	w.t.Helper()
	s := providers.LoadBalancerSpec{Owner: ms[0].Owner, Name: name, Network: ms[0].Network,
		Ports: []providers.BalancerPort{{Name: "ssh", Protocol: "tcp", Port: 2222, TargetPort: 22}}}
	for _, m := range ms {
		s.Targets = append(s.Targets, m.ID)
	}
	b, err := w.LoadBalancers().Create(w.t.Context(), s)
	if err != nil {
		log, _ := os.ReadFile(logOf(w.dir(providers.BalancerNoun, s.Key())))
		w.t.Fatalf("%v\n%s", err, log)
	}
	return s, b
}

// who says which of the machines answers at the address, by its host key; "" if none does.
func (w *world) who(address string, ms ...providers.Machine) (name string) {
	seen := errors.New("seen")
	c, err := ssh.Dial("tcp", address, &ssh.ClientConfig{User: "nobody", Timeout: 2 * time.Second,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			for _, m := range ms {
				if slices.Contains(m.HostKeys, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))) {
					name = m.Name
				}
			}
			return seen
		}})
	if err == nil {
		c.Close()
	}
	return name
}

func (w *world) process(b providers.LoadBalancer) process {
	w.t.Helper()
	s, err := listening(w.dir(providers.BalancerNoun, providers.Key{Owner: b.Owner, Name: b.Name}))
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Process
}

// TestBalancer looks at one balancer from the host, from a machine and from outside, while its targets and its process die.
func TestBalancer(t *testing.T) {
	w := newWorld(t)
	x, y := w.create(w.spec("demo", "x")), w.create(w.spec("demo", "y"))
	spec, b := w.balance("api", x, y)
	at := netip.AddrPortFrom(b.Address, 2222).String()
	if n := w.network("demo"); !n.CIDR.Contains(b.Address) || b.Address == x.Private || b.Address == y.Private {
		t.Errorf("its address is %s, want one of %s that is nobody's", b.Address, n.CIDR)
	}
	w.within(10*time.Second, "both answer in turn", func() bool {
		first, second := w.who(at, x, y), w.who(at, x, y)
		return first != "" && second != "" && first != second
	})
	if out := w.run(x, fmt.Sprintf("exec 3<>/dev/tcp/%s/2222 && head -c 4 <&3", b.Address)); out != "SSH-" {
		t.Errorf("a machine that is a target reaches it and reads %q", out)
	}
	tryOutside(t, w, spec, b)
	tryDeadTarget(t, w, at, x, y)
	tryDeadProcess(t, w, spec, b)
	if err := w.Machines().Delete(t.Context(), y.ID); err != nil {
		t.Fatal(err)
	}
	if now, err := w.LoadBalancers().Get(t.Context(), b.ID); err != nil || !slices.Equal(now.Targets, []providers.ID{x.ID}) {
		t.Errorf("after a target was deleted it is %+v, %v; want %s alone", now, err, x.ID)
	}
	if err := w.Networks().Delete(t.Context(), b.Network); providers.KindOf(err) != providers.Conflict || !strings.Contains(err.Error(), "balancer api") {
		t.Errorf("Delete of its network = %v, want Conflict that names it", err)
	}
	p := w.process(b)
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if err := w.LoadBalancers().Delete(t.Context(), b.ID); err != nil {
		t.Fatal(err)
	}
	if p.alive() || dialTCP(at) == nil {
		t.Errorf("after Delete its process lives (%v) or it answers", p.alive())
	}
}

// tryOutside connects from outside, before and after only another range may, and when it is none of the outside's business.
func tryOutside(t *testing.T, w *world, spec providers.LoadBalancerSpec, b providers.LoadBalancer) {
	o, at := newOutside(t), netip.AddrPortFrom(b.Address, 2222).String()
	w.within(5*time.Second, "it answers outside, whose link was just made", func() bool { return o.connect(at) == nil })
	if err := o.connect(netip.AddrPortFrom(b.Address, 22).String()); err == nil {
		t.Error("a port that it does not have answers outside")
	}
	spec.Sources = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	if _, err := w.LoadBalancers().Update(t.Context(), b.ID, spec); err != nil {
		t.Fatal(err)
	}
	if err := o.connect(at); err == nil {
		t.Error("from outside, which is no source any more, it answers")
	}
	if who := w.who(at); who != "" {
		t.Errorf("the host, which is no source, is answered by %s", who)
	}
	spec.Sources = nil
	if _, err := w.LoadBalancers().Update(t.Context(), b.ID, spec); err != nil {
		t.Fatal(err)
	}
	if err := o.connect(at); err != nil {
		t.Errorf("from outside, which is a source again: %v", err)
	}
	spec.Name, spec.Internal = "inner", true
	inner, err := w.LoadBalancers().Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	at = netip.AddrPortFrom(inner.Address, 2222).String()
	if inner.Address == b.Address || dialTCP(at) != nil || o.connect(at) == nil {
		t.Errorf("an internal one has address %s, does not answer the host or answers outside", inner.Address)
	}
	if err := w.LoadBalancers().Delete(t.Context(), inner.ID); err != nil {
		t.Error(err)
	}
	if err := o.connect(netip.AddrPortFrom(b.Address, 2222).String()); err != nil {
		t.Errorf("from outside after another one was deleted: %v", err)
	}
}

// tryDeadTarget pulls a target's plug. Only the other may answer after 2 seconds, and nobody may be turned away after that.
func tryDeadTarget(t *testing.T, w *world, at string, dead, left providers.Machine) {
	now := w.state(dead)
	if err := errors.Join(now.Supervisor.signal(unix.SIGKILL), now.Init.signal(unix.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	began, slow := time.Now(), 0
	for time.Since(began) < 3*time.Second {
		start := time.Now()
		who := w.who(at, dead, left)
		took := time.Since(start)
		if took > 300*time.Millisecond {
			slow++
		}
		if since := start.Sub(began); since > 2*time.Second && (who != left.Name || took > time.Second) {
			t.Errorf("%s after its target died, %q answered in %s", since, who, took)
		}
	}
	t.Logf("%d answers took longer than 0.3 s after a target had died", slow)
	if _, err := w.Machines().Create(t.Context(), w.spec(dead.Owner, dead.Name)); err != nil {
		t.Fatal(err)
	}
	w.within(3*time.Second, "the target that is back answers", func() bool { return w.who(at, dead, left) == dead.Name })
}

// tryDeadProcess ends the balancer's process, and its link.
func tryDeadProcess(t *testing.T, w *world, spec providers.LoadBalancerSpec, b providers.LoadBalancer) {
	at := netip.AddrPortFrom(b.Address, 2222).String()
	if err := w.process(b).signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.within(2*time.Second, "it is Partial", func() bool {
		now, err := w.LoadBalancers().Get(t.Context(), b.ID)
		return err == nil && now.Partial
	})
	if got, err := w.LoadBalancers().Update(t.Context(), b.ID, spec); err != nil || !got.Partial {
		t.Errorf("Update of a dead one = %+v, %v; want it Partial still", got, err)
	}
	again, err := w.LoadBalancers().Create(t.Context(), spec)
	if err != nil || again.ID != b.ID || again.Address != b.Address || again.Partial {
		t.Fatalf("Create of a dead one = %+v, %v; want %+v", again, err, b)
	}
	w.within(2*time.Second, "it answers again", func() bool { return dialTCP(at) == nil })
	if err := (balancers{w.Provider}).unplug(&balancerRecord{Netns: networks{w.Provider}.netns(mustRecord(t, w, b.Network)), Address: b.Address}); err != nil {
		t.Fatal(err)
	}
	w.within(7*time.Second, "without its link it is Partial", func() bool {
		now, err := w.LoadBalancers().Get(t.Context(), b.ID)
		return err == nil && now.Partial
	})
	if _, err := w.LoadBalancers().Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	w.within(2*time.Second, "it answers again", func() bool { return dialTCP(at) == nil })
}

func mustRecord(t *testing.T, w *world, id providers.ID) *networkRecord {
	t.Helper()
	r, err := byID[providers.NetworkSpec](w.Provider, providers.NetworkNoun, id)
	if err != nil || r == nil {
		t.Fatal(r, err)
	}
	return r
}

// TestBalancerAddress asks for addresses, good and bad ones.
func TestBalancerAddress(t *testing.T) {
	w := newWorld(t)
	n := w.network("demo")
	at := func(i byte) netip.Addr {
		b := n.CIDR.Addr().As4()
		b[3] = i
		return netip.AddrFrom4(b)
	}
	spec := providers.LoadBalancerSpec{Owner: "demo", Name: "a", Network: n.ID, Internal: true, Address: at(77)}
	b, err := w.LoadBalancers().Create(t.Context(), spec)
	if err != nil || b.Address != at(77) {
		t.Fatalf("Create at %s = %+v, %v", at(77), b, err)
	}
	for a, want := range map[netip.Addr]providers.Kind{
		at(0): providers.Invalid, at(1): providers.Invalid, at(255): providers.Invalid,
		netip.MustParseAddr("192.0.2.1"): providers.Invalid, at(77): providers.Conflict,
	} {
		other := spec
		other.Name, other.Address = "b", a
		if _, err := w.LoadBalancers().Create(t.Context(), other); providers.KindOf(err) != want {
			t.Errorf("Create at %s = %v, want %s", a, err, want)
		}
	}
	if _, err := w.LoadBalancers().Update(t.Context(), b.ID, providers.LoadBalancerSpec{Owner: "demo", Name: "a", Internal: true, Address: at(78)}); providers.KindOf(err) != providers.Invalid {
		t.Errorf("Update to another address = %v, want Invalid", err)
	}
	if m := w.create(w.spec("demo", "m")); m.Private == b.Address {
		t.Errorf("a machine has the balancer's address %s", m.Private)
	}
}

// TestBalancerRefused is about specs that mean nothing.
func TestBalancerRefused(t *testing.T) {
	w := newWorld(t)
	n := w.network("demo")
	good := providers.BalancerPort{Name: "web", Protocol: "tcp", Port: 80, TargetPort: 8080}
	for name, spoil := range map[string]func(*providers.LoadBalancerSpec){
		"protocol":       func(s *providers.LoadBalancerSpec) { s.Ports[0].Protocol = "sctp" },
		"target port":    func(s *providers.LoadBalancerSpec) { s.Ports[0].TargetPort = 0 },
		"health port":    func(s *providers.LoadBalancerSpec) { s.Ports[0].HealthPort = -1 },
		"health path":    func(s *providers.LoadBalancerSpec) { s.Ports[0].HealthPath = "healthz" },
		"idle":           func(s *providers.LoadBalancerSpec) { s.Ports[0].IdleSeconds = -1 },
		"twice":          func(s *providers.LoadBalancerSpec) { s.Ports = append(s.Ports, s.Ports[0]) },
		"proxy over udp": func(s *providers.LoadBalancerSpec) { s.Ports[0].Protocol, s.Ports[0].ProxyProtocol = "udp", true },
		"source": func(s *providers.LoadBalancerSpec) {
			s.Sources = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
		},
	} {
		s := providers.LoadBalancerSpec{Owner: "demo", Name: "a", Network: n.ID, Ports: []providers.BalancerPort{good}}
		spoil(&s)
		if _, err := w.LoadBalancers().Create(t.Context(), s); providers.KindOf(err) != providers.Invalid {
			t.Errorf("%s: Create = %v, want Invalid", name, err)
		}
	}
	both := []providers.BalancerPort{good, {Name: "web-udp", Protocol: "udp", Port: 80, TargetPort: 8080}}
	b, err := w.LoadBalancers().Create(t.Context(), providers.LoadBalancerSpec{Owner: "demo", Name: "a", Network: n.ID, Ports: both})
	if err != nil {
		t.Fatalf("one port number of two protocols: %v", err)
	}
	if err := dialTCP(netip.AddrPortFrom(b.Address, 80).String()); errors.Is(err, unix.ECONNREFUSED) { // a reset is right
		t.Errorf("a balancer without targets does not even listen: %v", err)
	}
}

// TestRulesOfBefore takes a rule away as others do.
func TestRulesOfBefore(t *testing.T) {
	w := newWorld(t)
	rule := providers.Rule{Name: "ssh", Protocol: "tcp", Port: 22}
	spec := providers.NetworkSpec{Owner: "demo", Name: "main", Allow: []providers.Rule{rule}}
	n, err := w.Networks().Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	r := mustRecord(t, w, n.ID)
	for name, mend := range map[string]func() error{
		"Create": func() error { _, err := w.Networks().Create(t.Context(), spec); return err },
		"Update": func() error { _, err := w.Networks().Update(t.Context(), n.ID, spec); return err },
	} {
		if err := writeRules(w.linkName(spec.Key()), r.ranges(), nil, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Networks().Get(t.Context(), n.ID); err != nil || !got.Partial {
			t.Errorf("without its rule it is %+v, %v; want Partial", got, err)
		}
		if err := mend(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := w.Networks().Get(t.Context(), n.ID); err != nil || got.Partial {
			t.Errorf("after %s it is %+v, %v; want it whole", name, got, err)
		}
	}
}
