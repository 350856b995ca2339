package addresses

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/templates"
)

// A scene is a link with nodes, and who has which address on it.
type scene struct {
	t    *testing.T
	mu   sync.Mutex
	on   map[netip.Addr]map[string]time.Time // until when each node has an address: the link forgets
	dead map[string]bool                     // nodes without power
	ill  map[string]error                    // what their kube-proxy says
	cut  map[string]bool                     // nodes that nobody reaches, and that reach nobody
	bad  map[string]bool                     // nodes whose link refuses addresses
	asks map[string]int                      // by "who>whom"
	ends map[string]func()                   // end the nodes' agents
	run  map[string]*Keeper
	all  sync.WaitGroup
	now  templates.Announcements
}

var nodes = []string{"a", "b", "c"}

func place(name string) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, name[0]}) }

func vip(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 9, byte(n)}) }

func order(address netip.Addr, names string) templates.Announcement {
	a := templates.Announcement{Address: address}
	for _, r := range names {
		a.Nodes = append(a.Nodes, templates.Announcer{Name: string(r), Address: place(string(r))})
	}
	return a
}

func table(list ...templates.Announcement) templates.Announcements {
	return templates.Announcements{Addresses: list}
}

func newScene(t *testing.T, now templates.Announcements) *scene {
	s := &scene{t: t, on: map[netip.Addr]map[string]time.Time{}, dead: map[string]bool{}, ill: map[string]error{}, cut: map[string]bool{},
		bad: map[string]bool{}, asks: map[string]int{}, ends: map[string]func(){}, run: map[string]*Keeper{}, now: now}
	for _, name := range nodes {
		s.start(name)
	}
	return s
}

// start starts a node's agent.
func (s *scene) start(name string) {
	k := New(Options{
		Self: name,
		Well: func(ctx context.Context, node netip.Addr) error { return s.ask(ctx, name, string(rune(node.As4()[3]))) },
		Hold: func(a netip.Addr) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.bad[name] {
				return errors.New("no such link")
			}
			if s.on[a] == nil {
				s.on[a] = map[string]time.Time{}
			}
			s.on[a][name] = time.Now().Add(2 * time.Second)
			return nil
		},
		Drop: func(a netip.Addr) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.on[a], name)
			return nil
		},
	})
	k.Set(s.now)
	ctx, cancel := context.WithCancel(context.Background())
	s.run[name] = k
	ended := make(chan struct{})
	s.all.Go(func() { k.Run(ctx); close(ended) })
	s.ends[name] = func() { cancel(); <-ended }
}

func (s *scene) ask(ctx context.Context, from, to string) error {
	s.mu.Lock()
	s.asks[from+">"+to]++
	silent := s.dead[to] || from != to && (s.cut[from] || s.cut[to])
	err := s.ill[to]
	s.mu.Unlock()
	if silent {
		<-ctx.Done()
		return ctx.Err()
	}
	time.Sleep(2 * time.Millisecond)
	return err
}

// set changes the scene.
func (s *scene) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// die takes the power from a node.
func (s *scene) die(name string) {
	s.ends[name]()
	s.set(func() {
		s.dead[name] = true
		for _, on := range s.on {
			delete(on, name)
		}
	})
}

// wake gives it back; kube-proxy needs a second to come up.
func (s *scene) wake(name string) {
	s.set(func() { s.dead[name] = false; s.ill[name] = syscall.ECONNREFUSED })
	s.start(name)
	time.Sleep(time.Second)
	s.set(func() { s.ill[name] = nil })
}

func (s *scene) tell(now templates.Announcements) {
	s.now = now
	for _, k := range s.run {
		k.Set(now)
	}
}

// have says who has an address: "a", "", "ab".
func (s *scene) have(a netip.Addr) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var who []string
	for name, until := range s.on[a] {
		if time.Now().Before(until) {
			who = append(who, name)
		}
	}
	slices.Sort(who)
	return strings.Join(who, "")
}

// until waits for somebody to have an address.
func (s *scene) until(a netip.Addr, who string, limit time.Duration) {
	s.t.Helper()
	for begun := time.Now(); s.have(a) != who; time.Sleep(time.Millisecond) {
		if time.Since(begun) > limit {
			s.t.Fatalf("%v: %q has it after %v, want %q", a, s.have(a), limit, who)
		}
	}
}

// steady sees that nothing changes for a time.
func (s *scene) steady(a netip.Addr, who string, lasts time.Duration) {
	s.t.Helper()
	for begun := time.Now(); time.Since(begun) < lasts; time.Sleep(10 * time.Millisecond) {
		if got := s.have(a); got != who {
			s.t.Fatalf("%v: after %v %q has it, want %q", a, time.Since(begun), got, who)
		}
	}
}

func (s *scene) end() {
	for _, end := range s.ends {
		end()
	}
	s.all.Wait()
}

func play(t *testing.T, now templates.Announcements, f func(*scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, now)
		defer s.end()
		f(s)
	})
}

func TestFirst(t *testing.T) {
	play(t, table(order(vip(1), "abc"), order(vip(2), "bca"), order(vip(3), "c")), func(s *scene) {
		for n, who := range map[int]string{1: "a", 2: "b", 3: "c"} {
			s.until(vip(n), who, 100*time.Millisecond)
			s.steady(vip(n), who, 10*time.Second)
		}
	})
}

// TestDeath takes the power from one after another: the next has the address within two seconds.
func TestDeath(t *testing.T) {
	for offset := time.Duration(0); offset < askEvery; offset += 37 * time.Millisecond {
		play(t, table(order(vip(1), "abc")), func(s *scene) {
			time.Sleep(10*time.Second + offset)
			s.die("a")
			s.until(vip(1), "b", 2*time.Second)
			s.steady(vip(1), "b", 10*time.Second)
			s.die("b")
			s.until(vip(1), "c", 2*time.Second)
		})
	}
}

// TestReturn brings the first one back: it takes the address when it has been well for a while, and there is no gap.
func TestReturn(t *testing.T) {
	play(t, table(order(vip(1), "abc")), func(s *scene) {
		time.Sleep(time.Second)
		s.die("a")
		s.until(vip(1), "b", 2*time.Second)
		s.wake("a")
		s.steady(vip(1), "b", 2*time.Second)
		for begun := time.Now(); s.have(vip(1)) != "a"; time.Sleep(time.Millisecond) {
			if who := s.have(vip(1)); who == "" || time.Since(begun) > 2*time.Second {
				t.Fatalf("%q has it %v later", who, time.Since(begun))
			}
		}
		s.steady(vip(1), "a", 10*time.Second)
	})
}

// TestFlap loses a node again and again for short: it does not get the address back in between.
func TestFlap(t *testing.T) {
	play(t, table(order(vip(1), "ab")), func(s *scene) {
		time.Sleep(time.Second)
		s.set(func() { s.ill["a"] = errors.New("503") })
		s.until(vip(1), "b", 3*time.Second)
		for range 10 {
			s.set(func() { s.ill["a"] = nil })
			s.steady(vip(1), "b", 2*time.Second)
			s.set(func() { s.ill["a"] = errors.New("503") })
			s.steady(vip(1), "b", time.Second)
		}
	})
}

// TestRestart sees that an upgrade moves nothing: neither kube-proxy's restart nor the agent's.
func TestRestart(t *testing.T) {
	play(t, table(order(vip(1), "ab")), func(s *scene) {
		time.Sleep(time.Second)
		s.set(func() { s.ill["a"] = syscall.ECONNREFUSED })
		s.steady(vip(1), "a", 2*time.Second)
		s.set(func() { s.ill["a"] = nil })
		s.steady(vip(1), "a", 10*time.Second)
		s.ends["a"]()
		s.steady(vip(1), "a", time.Second)
		s.start("a")
		s.steady(vip(1), "a", 10*time.Second)
		s.set(func() { s.ill["a"] = syscall.ECONNREFUSED }) // and now for good
		s.until(vip(1), "b", 5*time.Second)
	})
}

// TestPartition cuts the first one off: both sides have the address, and one when they see each other again.
func TestPartition(t *testing.T) {
	play(t, table(order(vip(1), "abc")), func(s *scene) {
		time.Sleep(time.Second)
		s.set(func() { s.cut["a"] = true })
		s.until(vip(1), "ab", 2*time.Second)
		s.steady(vip(1), "ab", 10*time.Second)
		s.set(func() { s.cut["a"] = false })
		s.until(vip(1), "a", backOthers+askEvery+holdEvery)
		s.steady(vip(1), "a", 10*time.Second)
	})
}

// TestUnwell sees that a node whose own kube-proxy is not well has nothing, alone as it may be, and says why.
func TestUnwell(t *testing.T) {
	play(t, table(order(vip(1), "a")), func(s *scene) {
		time.Sleep(time.Second)
		s.set(func() { s.ill["a"] = errors.New("503 Service Unavailable") })
		s.until(vip(1), "", 2*time.Second)
		got := s.run["a"].State()
		want := []State{{vip(1), false, "", "kube-proxy of this node is not well: 503 Service Unavailable"}}
		if !slices.Equal(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		s.set(func() { s.ill["a"] = nil })
		s.until(vip(1), "a", backSelf+askEvery+time.Second)
	})
}

// TestTable changes the table: addresses come, go and move at once.
func TestTable(t *testing.T) {
	play(t, table(order(vip(1), "abc")), func(s *scene) {
		time.Sleep(time.Second)
		s.tell(table(order(vip(1), "bca"), order(vip(2), "ca")))
		s.until(vip(1), "b", 100*time.Millisecond)
		s.until(vip(2), "c", 100*time.Millisecond)
		s.tell(table(order(vip(2), "ca")))
		s.until(vip(1), "", 100*time.Millisecond)
		s.steady(vip(2), "c", 5*time.Second)
		s.tell(table())
		s.until(vip(2), "", 100*time.Millisecond)
	})
}

// TestBrokenLink sees that a node that cannot have an address says so, and has it when it can.
func TestBrokenLink(t *testing.T) {
	play(t, table(order(vip(1), "a")), func(s *scene) {
		s.until(vip(1), "a", 100*time.Millisecond)
		s.set(func() { s.bad["a"] = true })
		s.until(vip(1), "", 3*time.Second)
		if got := s.run["a"].State()[0].Problem; got != "no such link" {
			t.Errorf("it says %q", got)
		}
		s.set(func() { s.bad["a"] = false })
		s.until(vip(1), "a", time.Second)
		if got := s.run["a"].State()[0].Problem; got != "" {
			t.Errorf("it still says %q", got)
		}
	})
}

// TestQuestions counts: one line of questions to each node, however many addresses there are, and none to those that come later.
func TestQuestions(t *testing.T) {
	var list []templates.Announcement
	for n := range 200 {
		list = append(list, order(vip(n), "abc"))
	}
	play(t, table(list...), func(s *scene) {
		time.Sleep(10*time.Second + time.Millisecond)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, pair := range []string{"a>a", "b>a", "b>b", "c>a", "c>b", "c>c"} {
			if got := s.asks[pair]; got < 24 || got > 26 {
				t.Errorf("%s: asked %d times in 10 s, want 25", pair, got)
			}
			delete(s.asks, pair)
		}
		if len(s.asks) > 0 {
			t.Errorf("asked without need: %v", s.asks)
		}
	})
}

// TestLeave sees that a node that is taken out of the cluster leaves nothing.
func TestLeave(t *testing.T) {
	play(t, table(order(vip(1), "ab"), order(vip(2), "ab")), func(s *scene) {
		s.until(vip(1), "a", 100*time.Millisecond)
		s.ends["a"]()
		s.run["a"].Leave()
		if got := s.have(vip(1)) + s.have(vip(2)); got != "" {
			t.Errorf("%q still has it", got)
		}
	})
}

// TestChosen sees that no table makes a node take what is a node's own, or no address at all.
func TestChosen(t *testing.T) {
	loop, any4 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("0.0.0.0")
	got := chosen(table(order(place("a"), "ab"), order(place("b"), "a"), order(vip(1), "ba"), order(vip(1), "a"), order(vip(2), "b"),
		order(loop, "a"), order(any4, "a"), order(netip.Addr{}, "a"), order(vip(3), "ab")), "a")
	if want := []templates.Announcement{order(vip(1), "ba"), order(vip(3), "ab")}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
