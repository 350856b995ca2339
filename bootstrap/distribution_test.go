package bootstrap_test

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	"github.com/provisionhq/provision/templates"
)

// A neighbourhood is scripted machines that reach each other, with a scripted scout on each.
type neighbourhood struct {
	blocked func(from, to netip.Addr) bool // may be nil
	broken  func(netip.Addr) bool          // whose scout does not start; may be nil

	mu      sync.Mutex
	servers map[string]*fakeScout // by address:port
	ports   int
}

// A fakeScout answers as package field does.
type fakeScout struct {
	n     *neighbourhood
	m     *machine
	addr  netip.Addr
	token string

	mu    sync.Mutex
	paths map[string]string
	files map[string][]byte
}

func (n *neighbourhood) run(m *machine, addr netip.Addr) func(*sshtest.Exec) int {
	return func(e *sshtest.Exec) int {
		if n.broken != nil && n.broken(addr) {
			fmt.Fprintln(e.Stderr, "sh: Permission denied")
			return 126
		}
		m.Remove(e.Args[1])
		s := &fakeScout{n: n, m: m, addr: addr, paths: map[string]string{}, files: map[string][]byte{}}
		var out sync.Mutex
		say := func(words ...any) {
			out.Lock()
			defer out.Unlock()
			fmt.Fprintln(e.Stdout, words...)
		}
		say("scout 1")
		for in := bufio.NewScanner(e.Stdin); in.Scan(); {
			w := strings.Fields(in.Text())
			go func() {
				if words, err := s.answer(w[1], w[2:]); err != nil {
					say(w[0], "!", err)
				} else {
					say(w[0], "=", words)
				}
			}()
		}
		return 0
	}
}

func (s *fakeScout) answer(verb string, a []string) (string, error) {
	switch verb {
	case "serve":
		s.n.mu.Lock()
		defer s.n.mu.Unlock()
		s.n.ports++
		s.token = a[1]
		s.n.servers[fmt.Sprint(a[0], ":", s.n.ports)] = s
		return fmt.Sprint(s.n.ports), nil
	case "offer":
		s.mu.Lock()
		defer s.mu.Unlock()
		s.paths[a[0]] = a[2]
	case "have":
		s.keep(a[0])
	case "fetch":
		return "", s.fetch(a)
	}
	return "", nil
}

func (s *fakeScout) keep(sum string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, _, ok := s.m.File(s.paths[sum]); ok {
		s.files[sum] = b
	}
}

func (s *fakeScout) file(sum string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[sum]
}

func (s *fakeScout) fetch(a []string) error {
	s.n.mu.Lock()
	peer := s.n.servers[a[5]]
	s.n.mu.Unlock()
	if peer == nil || s.n.blocked != nil && s.n.blocked(s.addr, peer.addr) {
		return fmt.Errorf("connect: i/o timeout")
	}
	if peer.token != a[4] {
		return fmt.Errorf("refused: the peer answers \"\"")
	}
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if b := peer.file(a[0]); b != nil {
			s.m.SetFile(a[2], b, 0o600)
			s.keep(a[0])
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("lost: after 0 bytes: i/o timeout")
		}
	}
}

// fleet makes n machines in a neighbourhood, and a target for each.
func fleet(t testing.TB, nb *neighbourhood, n int, p *bootstrap.Programs, o sshtest.Options) ([]*machine, func(i int) *bootstrap.Target) {
	t.Helper()
	nb.servers = map[string]*fakeScout{}
	keys := newKeys(t)
	ms := make([]*machine, n)
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 88, byte(i >> 8), byte(i)}) }
	for i := range ms {
		ms[i] = newMachine(o)
		ms[i].scout = nb.run(ms[i], at(i))
		t.Cleanup(ms[i].Close)
	}
	return ms, func(i int) *bootstrap.Target {
		name := fmt.Sprintf("demo-workers-%d", i)
		h, err := ssh.Dial(context.Background(), ssh.Options{Name: name, Addr: "10.88.0.2", HostKeys: []string{ms[i].HostKey()}, Through: ms[i], Keys: keys, Redial: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		n := controlPlaneNode()
		n.Name, n.Address = name, at(i)
		return &bootstrap.Target{Host: h, Programs: p, Node: n, Files: []templates.File{
			{Path: templates.PKIDir + "/ca.key", Mode: "0600", Content: []byte("a secret key")},
			{Path: templates.BootstrapConf, Mode: "0600", Content: []byte("a secret token")},
		}}
	}
}

// sent counts uploads of the bundle and of the agent.
func sent(ms []*machine) (bundles, agents int) {
	for _, m := range ms {
		for _, l := range m.Log.Lines() {
			if strings.HasPrefix(l, "provision-receive ") && strings.Contains(l, ".tar.zst") {
				bundles++
			}
			if strings.HasPrefix(l, "provision-receive "+templates.AgentPath) {
				agents++
			}
		}
	}
	return bundles, agents
}

// TestHandedOn installs 20 machines: what is sent from here, and what goes wrong between them.
func TestHandedOn(t *testing.T) {
	first := netip.MustParseAddr("10.88.0.0")
	for name, c := range map[string]struct {
		nb    *neighbourhood
		apart time.Duration // between the starts of two machines
		most  int           // uploads of the bundle
		least int
	}{
		"all at once":           {nb: &neighbourhood{}, most: 2, least: 1},
		"one after another":     {nb: &neighbourhood{}, apart: 25 * time.Millisecond, most: 2, least: 1},
		"no peer is reached":    {nb: &neighbourhood{blocked: func(_, _ netip.Addr) bool { return true }}, most: 20, least: 20},
		"one is not reached":    {nb: &neighbourhood{blocked: func(_, to netip.Addr) bool { return to == first }}, most: 2, least: 2},
		"one reaches no other":  {nb: &neighbourhood{blocked: func(from, _ netip.Addr) bool { return from == first.Next() }}, most: 2, least: 1},
		"scouts cannot be run":  {nb: &neighbourhood{broken: func(netip.Addr) bool { return true }}, most: 20, least: 20},
		"the first has no room": {nb: &neighbourhood{broken: func(a netip.Addr) bool { return a == first }}, most: 2, least: 2},
	} {
		t.Run(name, func(t *testing.T) {
			p := programs()
			p.Spread(ssh.FromBytes([]byte("the scout")))
			ms, target := fleet(t, c.nb, 20, p, sshtest.Options{Latency: time.Millisecond})
			var all sync.WaitGroup
			for i := range ms {
				tg := target(i)
				all.Go(func() {
					time.Sleep(time.Duration(i) * c.apart)
					if err := bootstrap.Run(context.Background(), tg, append(bootstrap.Install(), bootstrap.Join()...), nil); err != nil {
						t.Error(err)
					}
				})
				if i == 0 && c.apart == 0 {
					time.Sleep(5 * time.Millisecond) // it is the first
				}
			}
			all.Wait()
			bundles, agents := sent(ms)
			if bundles < c.least || bundles > c.most || agents < c.least || agents > c.most {
				t.Errorf("sent the bundle %d times and the agent %d times, want %d to %d", bundles, agents, c.least, c.most)
			}
			for i, m := range ms {
				if m.current != "1234" || !m.enabled {
					t.Errorf("machine %d is no node", i)
				}
				if _, _, left := m.File("/usr/local/bin/node-scout"); left && c.nb.broken == nil {
					t.Errorf("machine %d still has the scout", i)
				}
			}
		})
	}
}

// TestFedByTheDead ends machines while they feed others.
func TestFedByTheDead(t *testing.T) {
	p := programs()
	p.Spread(ssh.FromBytes([]byte("the scout")))
	nb := &neighbourhood{}
	ms, target := fleet(t, nb, 6, p, sshtest.Options{Latency: 5 * time.Millisecond})
	ms[0].Fail(sshtest.Faults{FullAfter: 50 << 10}) // the first fails while others wait for what it gets
	var all sync.WaitGroup
	for i := range ms {
		tg := target(i)
		all.Go(func() {
			err := bootstrap.Run(context.Background(), tg, bootstrap.Install(), nil)
			if (err != nil) != (i == 0) {
				t.Errorf("machine %d: %v", i, err)
			}
		})
		time.Sleep(2 * time.Millisecond)
	}
	all.Wait()
	if bundles, _ := sent(ms[1:]); bundles < 1 || bundles > 2 {
		t.Errorf("sent the bundle %d times to machines that live, want once or twice", bundles)
	}
}

// BenchmarkFanOut makes nodes of many machines that are 20 ms away, round trip, from nothing to Ready, with both sides in
// this process. It prints the time of each round trip's sum and the most memory that was in use.
func BenchmarkFanOut(b *testing.B) {
	const n = 500
	p := programs()
	p.Spread(ssh.FromBytes([]byte("the scout")))
	for b.Loop() {
		b.StopTimer()
		runtime.GC()
		s := &scope{TB: b}
		_, target := fleet(s, &neighbourhood{}, n, p, sshtest.Options{Latency: 10 * time.Millisecond})
		most := watchMemory()
		b.StartTimer()
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				if err := bootstrap.Run(context.Background(), target(i), append(bootstrap.Install(), bootstrap.Join()...), nil); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
		b.ReportMetric(float64(most())/1e6, "MB")
		b.StopTimer()
		s.end()
		b.StartTimer()
	}
}

// A scope is a part of a test that cleans up after itself.
type scope struct {
	testing.TB
	mu   sync.Mutex
	ends []func()
}

func (s *scope) Cleanup(end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, end)
}

func (s *scope) end() {
	for _, end := range s.ends {
		end()
	}
}

// watchMemory returns a function that returns the most bytes that this process had from the system since.
func watchMemory() func() uint64 {
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		var m runtime.MemStats
		var peak uint64
		for {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.Sys-m.HeapReleased)
			select {
			case <-stop:
				most <- peak
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() uint64 { close(stop); return <-most }
}
