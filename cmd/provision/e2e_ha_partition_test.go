//go:build e2e

package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// held is how long a partition lasts in the test: four lives of the virtual address's lease.
const held = 11 * time.Second

// partPartition cuts the network between machines, under load: one of three from the others, the one that has the virtual
// address, and that one together with a worker.
func (r *haRig) partPartition() {
	holder := func() string { return strings.TrimPrefix(r.status().Address.Holder, r.name+"-") }
	others := func(not string) []string {
		return slices.DeleteFunc([]string{"cp-0", "cp-1", "cp-2"}, func(n string) bool { return n == not })
	}
	h := holder()
	cut := others(h)[0]
	r.partition("one of three, "+cut, []string{cut}, append(others(cut), "workers-0", "workers-1"), cut)
	h = holder()
	r.partition("the one with the virtual address, "+h, []string{h}, append(others(h), "workers-0", "workers-1"), h)
	h = holder()
	r.partition("the one with the virtual address, "+h+", and a worker", []string{h, "workers-1"}, append(others(h), "workers-0"), h)
}

// partition cuts two groups of machines from each other; minority is the control-plane machine that is alone. The host, from
// which the virtual address and the balancer are probed, reaches both sides.
func (r *haRig) partition(what string, a, b []string, minority string) {
	r.t.Helper()
	w := r.write("cut-" + minority + fmt.Sprint(time.Now().Unix()))
	ps := append(r.probe(), r.serviceProbe("workers-0"))
	asker := r.askARP()
	alone := r.machineWay(minority)
	time.Sleep(time.Second)
	r.cut(a, b)
	begun := time.Now()
	time.Sleep(3 * time.Second)

	// The minority refuses to write, and does not tell old things as if they were new.
	c := r.client(alone, 12*time.Second, false)
	var asked sync.WaitGroup
	var written, read int
	asked.Go(func() {
		written, _, _ = request(c, http.MethodPost, "https://api/api/v1/namespaces/default/configmaps", fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"split-%d"}}`, begun.UnixNano()))
	})
	asked.Go(func() {
		read, _, _ = request(c, http.MethodGet, "https://api/api/v1/namespaces/default", "")
	})
	here := r.from(minority, "status", r.file)
	there := r.from(b[0], "status", r.file)
	planned := r.from(minority, "plan", r.file)
	asked.Wait()
	if written == http.StatusCreated || read == http.StatusOK {
		r.t.Errorf("%s: the minority answers a write with %d and a read with %d", what, written, read)
	}
	for side, want := range map[*seenFrom][]string{&here: {"NO QUORUM", "not ready"}, &there: {"2 of 3 voting members are well"}, &planned: {"etcd"}} {
		for _, words := range want {
			if !strings.Contains(side.text, words) || side.took > 40*time.Second {
				r.t.Errorf("%s: from %s, %s does not say %q within 40 s, but after %v:\n%s", what, side.node, side.verb, words, side.took, side.text)
			}
		}
	}
	r.t.Logf("%s: from the minority, after %.1f s:\n%s\nfrom the others, after %.1f s:\n%s\nplan from the minority, after %.1f s:\n%s",
		what, here.took.Seconds(), here.text, there.took.Seconds(), there.text, planned.took.Seconds(), planned.text)

	time.Sleep(held - time.Since(begun))
	ps.seen(r.t, what+" is cut off", bound)
	r.heal(append(a, b...))
	took := r.whole("healed", 3, time.Minute)
	ps.seen(r.t, fmt.Sprintf("%s is back: whole after %.1f s", what, took.Seconds()), bound)
	asker.end(r.t, what)
	ps.end()
	w.end(r.t)
}

// seenFrom is what the program said that ran in a machine's network.
type seenFrom struct {
	node, verb, text string
	took             time.Duration
}

// from runs the program in a machine's network, as an administrator's computer on that side of the partition.
func (r *haRig) from(node string, args ...string) seenFrom {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", r.pid(node)), filepath.Join(r.bin, "provision")}, args...)...)
	c.Env = r.environ
	begun := time.Now()
	out, err := c.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	return seenFrom{node, args[0], string(out), time.Since(begun)}
}

// machineWay is the way from the host to a machine's own API server.
func (r *haRig) machineWay(node string) way {
	r.t.Helper()
	for _, n := range r.status().Nodes {
		if n.Name == r.full(node) {
			return way{name: node, address: n.IP + ":6443"}
		}
	}
	r.t.Fatalf("there is no %s", node)
	return way{}
}

// cutTable is what makes a partition, in the machines' networks.
const cutTable = "provision-e2e-cut"

// cut makes each of one group deaf to each of the other: below IP, so for the virtual address and for ARP too.
func (r *haRig) cut(a, b []string) {
	r.t.Helper()
	for _, side := range []struct{ deaf, to []string }{{a, b}, {b, a}} {
		var macs []string
		for _, n := range side.to {
			macs = append(macs, r.mac(n))
		}
		rules := fmt.Sprintf("table netdev %s { chain in { type filter hook ingress device eth0 priority 0; ether saddr { %s } drop; }; }\n", cutTable, strings.Join(macs, ", "))
		for _, n := range side.deaf {
			r.nft(n, rules)
		}
	}
}

// heal removes what cut made.
func (r *haRig) heal(nodes []string) {
	r.t.Helper()
	for _, n := range nodes {
		r.nft(n, "delete table netdev "+cutTable+"\n")
	}
}

func (r *haRig) nft(node, rules string) {
	r.t.Helper()
	c := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", r.pid(node)), "nft", "-f", "-")
	c.Stdin = strings.NewReader(rules)
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Fatalf("nft in %s: %v\n%s", node, err, out)
	}
}

// mac is the hardware address of a machine.
func (r *haRig) mac(node string) string {
	r.t.Helper()
	out, err := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", r.pid(node)), "ip", "-j", "link", "show", "eth0").CombinedOutput()
	var links []struct{ Address string }
	if err == nil {
		err = json.Unmarshal(out, &links)
	}
	if err != nil || len(links) != 1 {
		r.t.Fatalf("link of %s: %v\n%s", node, err, out)
	}
	return links[0].Address
}

// An arpAsker asks who has the virtual address, ten times a second, and notes whenever two answer at once.
type arpAsker struct {
	stop chan struct{}
	done chan struct{}

	asked, silent int
	twice         time.Duration // for how long more than one answered
	said          []string      // who answered, from when on
	err           error
}

// askARP asks from the host, which is on the machines' link and on no side.
func (r *haRig) askARP() *arpAsker {
	r.t.Helper()
	a := &arpAsker{stop: make(chan struct{}), done: make(chan struct{})}
	vip := netip.MustParseAddr(r.network + "." + r.spec.address).As4()
	gateway := netip.MustParseAddr(r.network + ".1").As4()
	link, err := linkOf(net.IP(gateway[:]))
	if err != nil {
		r.t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(networkOrder(unix.ETH_P_ARP)))
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: link.Index})
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20_000})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	q := make([]byte, 8, 28)
	binary.BigEndian.PutUint16(q[0:], 1)
	binary.BigEndian.PutUint16(q[2:], unix.ETH_P_IP)
	q[4], q[5], q[7] = 6, 4, 1
	q = append(append(append(append(q, link.HardwareAddr...), gateway[:]...), make([]byte, 6)...), vip[:]...)
	names := map[string]string{}
	for _, n := range []string{"cp-0", "cp-1", "cp-2"} {
		names[r.mac(n)] = n
	}
	go func() {
		defer close(a.done)
		defer unix.Close(fd)
		a.run(fd, q, unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: link.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}, vip, names)
	}()
	return a
}

func (a *arpAsker) run(fd int, question []byte, to unix.SockaddrLinklayer, vip [4]byte, names map[string]string) {
	const every = 100 * time.Millisecond
	begun, last := time.Now(), "?"
	for {
		select {
		case <-a.stop:
			return
		default:
		}
		round := time.Now()
		if err := unix.Sendto(fd, question, 0, &to); err != nil {
			a.err = err
			return
		}
		a.asked++
		var who []string
		for time.Since(round) < every {
			p := make([]byte, 64)
			n, _, err := unix.Recvfrom(fd, p, 0)
			if err != nil || n < 28 || binary.BigEndian.Uint16(p[6:]) != 2 || [4]byte(p[14:18]) != vip {
				continue
			}
			name := names[net.HardwareAddr(p[8:14]).String()]
			if !slices.Contains(who, name) {
				who = append(who, name)
			}
		}
		slices.Sort(who)
		switch {
		case len(who) == 0:
			a.silent++
		case len(who) > 1:
			a.twice += every
		}
		if now := strings.Join(who, " and "); now != last {
			a.said = append(a.said, fmt.Sprintf("%.1f s: %q", round.Sub(begun).Seconds(), now))
			last = now
		}
	}
}

// end fails if two machines had the address at once. By the lease's arithmetic that is never.
func (a *arpAsker) end(t *testing.T, what string) {
	t.Helper()
	close(a.stop)
	<-a.done
	t.Logf("%s: who has the virtual address was asked %d times, nobody answered %d times, two answered for %v: %s", what, a.asked, a.silent, a.twice, strings.Join(a.said, ", "))
	if a.err != nil {
		t.Error(a.err)
	}
	if a.twice > 0 {
		t.Errorf("%s: two machines had the virtual address for %v", what, a.twice)
	}
}

// linkOf is the link of the host that has an address.
func linkOf(ip net.IP) (net.Interface, error) {
	links, err := net.Interfaces()
	if err != nil {
		return net.Interface{}, err
	}
	for _, l := range links {
		as, _ := l.Addrs()
		for _, a := range as {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
				return l, nil
			}
		}
	}
	return net.Interface{}, fmt.Errorf("no link has %v", ip)
}

// networkOrder is a number as the network writes it.
func networkOrder(p uint16) uint16 { return p<<8 | p>>8 }
