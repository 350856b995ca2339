//go:build e2e

package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// held is how long a partition lasts before the program is asked about it: four lives of the virtual address's lease.
const held = 11 * time.Second

// partPartition cuts the network between machines, under load: one of three from the others, the one that has the virtual
// address, and that one together with a worker.
func (r *haRig) partPartition() {
	cut := otherThan(r.holder())[0]
	r.partition("one of three, "+cut, []string{cut}, append(otherThan(cut), "workers-0", "workers-1"), false)
	r.partCutOff()
	h := r.holder()
	r.partition("the one with the virtual address, "+h+", and a worker", []string{h, "workers-1"}, append(otherThan(h), "workers-0"), false)
}

// partCutOff cuts off the machine that has the virtual address, and runs the program on both sides.
func (r *haRig) partCutOff() {
	h := r.holder()
	r.partition("the one with the virtual address, "+h, []string{h}, append(otherThan(h), "workers-0", "workers-1"), true)
}

// holder is the machine that has the virtual address.
func (r *haRig) holder() string {
	r.t.Helper()
	return strings.TrimPrefix(r.status().Address.Holder, r.name+"-")
}

// otherThan are the other two of three.
func otherThan(node string) []string {
	return slices.DeleteFunc([]string{"cp-0", "cp-1", "cp-2"}, func(n string) bool { return n == node })
}

// partition cuts two groups of machines from each other: minority, whose first is a control-plane machine, and majority. The
// balancer and the host reach both sides; the host looks who has the virtual address, and, if told to, joins one side after
// the other to run the program there. workers-0, from which the API is probed, is with the majority.
func (r *haRig) partition(what string, minority, majority []string, ask bool) {
	r.t.Helper()
	ways := r.ways()
	for i := range ways {
		ways[i].from = "workers-0"
	}
	w := r.write(fmt.Sprintf("cut-%d", time.Now().Unix()), ways...)
	ps := append(r.probe(ways...), r.serviceProbe("workers-0"))
	asker := r.askARP()
	time.Sleep(time.Second)
	r.cut("machines", minority, r.macs(majority))
	r.cut("machines", majority, r.macs(minority))
	begun := time.Now()
	time.Sleep(3 * time.Second)
	r.refuses(what, minority[0])
	time.Sleep(held - time.Since(begun))
	ps.seen(r.t, what+" is cut off", bound)
	asker.end(r.t, what)

	if ask {
		r.askSides(what, minority, majority)
	}
	asker = r.askARP()
	r.heal("machines", append(minority, majority...))
	took := r.whole("healed", 3, time.Minute)
	ps.seen(r.t, fmt.Sprintf("%s is back: whole after %.1f s", what, took.Seconds()), bound)
	asker.end(r.t, what+" is back")
	ps.end()
	w.end(r.t)
}

// askSides runs the program on both sides.
func (r *haRig) askSides(what string, minority, majority []string) {
	r.t.Helper()
	host := []string{r.hostMAC()}
	r.cut("host", majority, host)
	r.says(what, "from the minority", 1, "NO QUORUM", "Control plane has no quorum")
	r.heal("host", majority)
	r.cut("host", minority, host)
	r.says(what, "from the majority", 0, "2 of 3 voting members are well", "does not answer")
	r.heal("host", minority)
}

// refuses sees that a machine alone neither writes nor tells old things as if they were new.
func (r *haRig) refuses(what, alone string) {
	r.t.Helper()
	c := r.client(r.machineWay(alone), 6*time.Second, false)
	var all sync.WaitGroup
	var written, read int
	all.Go(func() {
		written, _, _ = request(c, http.MethodPost, "https://api/api/v1/namespaces/default/configmaps", fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"split-%d"}}`, time.Now().UnixNano()))
	})
	all.Go(func() { read, _, _ = request(c, http.MethodGet, "https://api/api/v1/namespaces/default", "") })
	all.Wait()
	if written == http.StatusCreated || read == http.StatusOK {
		r.t.Errorf("%s: %s, alone, answers a write with %d and a read with %d", what, alone, written, read)
	}
}

// says runs status and plan, which must say the words within a bounded time, plan with the exit code.
func (r *haRig) says(what, where string, code int, status, plan string) {
	r.t.Helper()
	for _, v := range []struct {
		verb, words string
		code        int
	}{{"status", status, 0}, {"plan", plan, code}} {
		begun := time.Now()
		out := r.expect(v.code, v.words, v.verb, r.file)
		r.t.Logf("%s: %s %s says, after %.1f s:\n%s", what, v.verb, where, time.Since(begun).Seconds(), out)
	}
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

// cut makes machines deaf to hardware addresses: below IP, so for the virtual address and for ARP too.
func (r *haRig) cut(name string, deaf, to []string) {
	r.t.Helper()
	rules := fmt.Sprintf("table netdev provision-e2e-%s { chain in { type filter hook ingress device eth0 priority 0; ether saddr { %s } drop; }; }\n", name, strings.Join(to, ", "))
	for _, n := range deaf {
		r.nft(n, rules)
	}
}

// heal removes what cut made.
func (r *haRig) heal(name string, nodes []string) {
	r.t.Helper()
	for _, n := range nodes {
		r.nft(n, "delete table netdev provision-e2e-"+name+"\n")
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

// macs are the hardware addresses of machines.
func (r *haRig) macs(nodes []string) []string {
	r.t.Helper()
	var all []string
	for _, n := range nodes {
		all = append(all, r.mac(n))
	}
	return all
}

// hostMAC is that of the host on the machines' link.
func (r *haRig) hostMAC() string {
	r.t.Helper()
	link, err := linkOf(net.ParseIP(r.network + ".1"))
	if err != nil {
		r.t.Fatal(err)
	}
	return link.HardwareAddr.String()
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
