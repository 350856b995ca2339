//go:build linux

package local

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

func TestRangeInUse(t *testing.T) {
	w := newWorld(t)
	n := w.network("demo")
	for _, cidr := range []netip.Prefix{n.CIDR, netip.PrefixFrom(n.CIDR.Addr(), 16).Masked()} {
		_, err := w.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "other", Name: "main", CIDR: cidr})
		if providers.KindOf(err) != providers.Conflict || !strings.Contains(err.Error(), "network main of cluster demo") {
			t.Errorf("Create with %s = %v; want Conflict that names who has it", cidr, err)
		}
	}
	_, err := w.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "other", Name: "main", CIDR: netip.MustParsePrefix("127.0.0.0/24")})
	if providers.KindOf(err) != providers.Conflict || !strings.Contains(err.Error(), "link lo") {
		t.Errorf("Create with the loopback's range = %v; want Conflict that names the link", err)
	}
	if got, err := w.Networks().List(t.Context(), "other"); err != nil || len(got) > 0 {
		t.Errorf("after refusals there is %+v, %v", got, err)
	}
	if other := w.network("other"); other.CIDR.Overlaps(n.CIDR) {
		t.Errorf("two networks have %s and %s", n.CIDR, other.CIDR)
	}
}

// TestNetworkMended removes parts of a network as others do, under a machine that goes on.
func TestNetworkMended(t *testing.T) {
	w := newWorld(t)
	m := w.create(w.spec("demo", "a"))
	n := w.network("demo")
	link := w.linkName(providers.Key{Owner: "demo", Name: "main"})
	for name, spoil := range map[string]func() error{
		"rules flushed": func() error { return removeRules(link) },
		"link removed": func() error {
			l, err := netlink.LinkByName(link)
			return errors.Join(err, netlink.LinkDel(l))
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		got, err := w.Networks().Get(t.Context(), n.ID)
		if err != nil || !got.Partial {
			t.Errorf("%s: Get = %+v, %v; want Partial", name, got, err)
		}
		if _, err := w.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: "b", Network: n.ID, Type: "micro"}); providers.KindOf(err) != providers.Conflict {
			t.Errorf("%s: a machine in it: %v, want Conflict", name, err)
		}
		mended, err := w.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
		if err != nil || mended.Partial || mended.ID != n.ID || mended.CIDR != n.CIDR {
			t.Errorf("%s: Create = %+v, %v; want %+v", name, mended, err, n)
		}
		w.within(5*time.Second, "the machine answers again", func() bool { return dialTCP(m.SSH.String()) == nil })
		w.run(m, "true")
	}
}

// TestHostRebooted takes away all that a reboot of the host takes away: processes, namespaces, links and rules.
func TestHostRebooted(t *testing.T) {
	w := newWorld(t)
	spec := w.spec("demo", "a")
	m := w.create(spec)
	w.run(m, "echo kept > /root/file; echo kept > /var/lib/etcd/file")
	dir := w.dir(providers.MachineNoun, spec.Key())
	if err := (machines{w.Provider}).kill(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	k := providers.Key{Owner: "demo", Name: "main"}
	netnsFile := filepath.Join(w.dir(providers.NetworkNoun, k), "netns")
	if err := errors.Join(unlinkNetwork(w.linkName(k), netnsFile), removeRules(w.linkName(k)), os.Remove(w.settingsUser())); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "state.json"), nil, 0o600); err != nil { // as a power failure leaves it
		t.Fatal(err)
	}
	if now := w.get(m); now.State != providers.Stopped || !now.Partial {
		t.Errorf("after the reboot the machine is %+v, want stopped", now)
	}
	if _, err := w.Machines().Create(t.Context(), spec); providers.KindOf(err) != providers.Conflict {
		t.Errorf("Create of the machine before its network: %v, want Conflict", err)
	}
	w.network("demo")
	if again := w.create(spec); again.ID != m.ID || again.Private != m.Private || again.HostKeys[0] != m.HostKeys[0] {
		t.Errorf("after the reboot it is %+v, want %+v", again, m)
	}
	if got := w.run(m, "cat /root/file /var/lib/etcd/file"); got != "kept\nkept" {
		t.Errorf("its files are %q", got)
	}
}

// TestAllow looks from outside.
func TestAllow(t *testing.T) {
	w := newWorld(t)
	o := newOutside(t)
	for _, c := range []struct {
		owner   providers.Owner
		sources string
		want    bool
	}{{"demo", "198.51.100.0/24", true}, {"other", "203.0.113.0/24", false}} {
		_, err := w.Networks().Create(t.Context(), providers.NetworkSpec{Owner: c.owner, Name: "main", Allow: []providers.Rule{
			{Name: "ssh", Protocol: "tcp", Port: 22, Sources: []netip.Prefix{netip.MustParsePrefix(c.sources)}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		m := w.create(w.spec(c.owner, "a"))
		w.service(m, "web", "exec /usr/sbin/sshd -D -p 8080 -f /etc/ssh/sshd_config")
		w.within(5*time.Second, "the port is open", func() bool { return dialTCP(m.Private.String()+":8080") == nil })
		for port, want := range map[string]bool{"22": c.want, "8080": false} {
			if err := o.connect(m.Private.String() + ":" + port); (err == nil) != want {
				t.Errorf("port %s of %s, where %s is allowed to use 22, from 198.51.100.2: %v; want answered %v", port, c.owner, c.sources, err, want)
			}
		}
	}
}

// TestNAT looks at a machine that goes out: it must come with the host's address, which others know the way back to.
func TestNAT(t *testing.T) {
	w := newWorld(t)
	m := w.create(w.spec("demo", "a"))
	seen := make(chan string, 1)
	err := newOutside(t).do(func() error {
		l, err := net.Listen("tcp", "198.51.100.2:7")
		if err != nil {
			return err
		}
		go func() {
			defer l.Close()
			if c, err := l.Accept(); err == nil {
				seen <- c.RemoteAddr().(*net.TCPAddr).IP.String()
				c.Close()
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.run(m, "timeout 5 bash -c 'exec 3<>/dev/tcp/198.51.100.2/7'")
	select {
	case got := <-seen:
		if got != "198.51.100.1" {
			t.Errorf("the machine %s is seen outside as %s, want 198.51.100.1", m.Private, got)
		}
	case <-time.After(5 * time.Second):
		t.Error("the machine was not seen outside")
	}
}

// An outside is a network namespace with address 198.51.100.2, whose gateway is the host.
type outside struct{ ns netns.NsHandle }

func newOutside(t *testing.T) outside {
	t.Helper()
	file := filepath.Join(t.TempDir(), "outside")
	if err := mountNetns(file); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(file, unix.MNT_DETACH) })
	ns, err := netns.GetFromPath(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	v := netlink.NewVeth(netlink.NewLinkAttrs())
	v.Name, v.PeerName, v.PeerNamespace = "pvtestoutside", "eth0", netlink.NsFd(ns)
	if err := netlink.LinkAdd(v); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(v) })
	err = errors.Join(raiseUplink(v.Name, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}), within(file, func(h *netlink.Handle) error {
		l, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		return errors.Join(
			h.AddrAdd(l, &netlink.Addr{IPNet: ipNet(netip.MustParseAddr("198.51.100.2"), 24)}), h.LinkSetUp(l),
			h.RouteAdd(&netlink.Route{Gw: net.IPv4(198, 51, 100, 1)}),
		)
	}))
	if err != nil {
		t.Fatal(err)
	}
	return outside{ns}
}

// do calls f in the namespace. Sockets that it makes belong there for good.
func (o outside) do(f func() error) error {
	answer := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Setns(int(o.ns), unix.CLONE_NEWNET); err != nil {
			answer <- err
			return
		}
		answer <- f()
	}()
	return <-answer
}

// connect connects from the namespace.
func (o outside) connect(address string) error {
	a := netip.MustParseAddrPort(address)
	return o.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 1}); err != nil {
			return err
		}
		return os.NewSyscallError("connect", unix.Connect(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}))
	})
}

// TestSettingsAreCounted has two folders with networks, and one that somebody removed by hand.
func TestSettingsAreCounted(t *testing.T) {
	a, b := newWorld(t), newWorld(t)
	gone := New(Options{Folder: filepath.Join(t.TempDir(), "gone")})
	a.network("demo")
	if err := gone.raiseSysctls(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.network("other")
	a.clean()
	if exists(a.settingsUser()) || !exists(b.settingsUser()) {
		t.Error("the settings' users are not those that there are")
	}
	for name, least := range hostSysctls() {
		if n, err := readSysctl(name); err != nil || n < least {
			t.Errorf("while a folder has a network, %s is %d, %v; want %d at least", name, n, err, least)
		}
	}
}
