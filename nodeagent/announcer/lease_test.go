package announcer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/nodeagent/etcdapi"
)

// A quorum is a store of three members: it answers whoever is on the side with two of them, after a while.
type quorum struct {
	mu       sync.Mutex
	key      etcdapi.Key
	revision int64
	delay    func() time.Duration
	cut      map[string]bool // who is alone
	noLeader bool            // while it elects one, nobody is answered
	lossy    bool            // answers are lost after their effect, now and then
	writes   int
}

// A member is the store as one holder reaches it.
type member struct {
	q    *quorum
	name string
	old  etcdapi.Key // what it last heard of the others
}

var errNoLeader = errors.New("no leader")

func (m *member) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(m.q.delay()):
		return nil
	}
}

func (m *member) Read(ctx context.Context, _ string) (etcdapi.Key, error) {
	if err := m.wait(ctx); err != nil {
		return etcdapi.Key{}, err
	}
	m.q.mu.Lock()
	defer m.q.mu.Unlock()
	if !m.q.cut[m.name] {
		m.old = m.q.key
	}
	return m.old, nil
}

func (m *member) Swap(ctx context.Context, _ string, revision int64, value []byte) (etcdapi.Key, bool, error) {
	if err := m.wait(ctx); err != nil {
		return etcdapi.Key{}, false, err
	}
	m.q.mu.Lock()
	stuck := m.q.cut[m.name] || m.q.noLeader
	m.q.mu.Unlock()
	if stuck {
		<-ctx.Done()
		return etcdapi.Key{}, false, errNoLeader
	}
	m.q.mu.Lock()
	defer m.q.mu.Unlock()
	if m.q.key.Revision != revision {
		return m.q.key, false, nil
	}
	m.q.revision++
	m.q.writes++
	m.q.key = etcdapi.Key{}
	if value != nil {
		m.q.key = etcdapi.Key{Value: value, Revision: m.q.revision}
	}
	if m.q.lossy && rand.IntN(3) == 0 {
		return etcdapi.Key{}, false, errNoLeader
	}
	return m.q.key, true, nil
}

// A scene is three who want the lease, and what they do with it.
type scene struct {
	t  *testing.T
	q  *quorum
	mu sync.Mutex

	here   map[string]bool // who has the address
	ill    map[string]error
	broken map[string]bool // the link refuses the address
	both   string          // when two had it
	ends   map[string]context.CancelFunc
	leases map[string]*Lease
	all    sync.WaitGroup
}

func newScene(t *testing.T, names ...string) *scene {
	s := &scene{t: t, q: &quorum{delay: func() time.Duration { return 3 * time.Millisecond }, cut: map[string]bool{}}, here: map[string]bool{}, ill: map[string]error{}, broken: map[string]bool{}, ends: map[string]context.CancelFunc{}, leases: map[string]*Lease{}}
	for _, name := range names {
		s.start(name)
	}
	return s
}

func (s *scene) start(name string) {
	ctx, cancel := context.WithCancel(context.Background())
	l := NewLease(LeaseOptions{
		Store: &member{q: s.q, name: name}, Key: "vip", Self: name,
		Well: func(context.Context) error { s.mu.Lock(); defer s.mu.Unlock(); return s.ill[name] },
		Hold: func() error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.broken[name] {
				return errors.New("no such link")
			}
			s.here[name] = true
			for other, has := range s.here {
				if has && other != name {
					s.both = fmt.Sprintf("%s and %s at %v", name, other, time.Now())
				}
			}
			return nil
		},
		Drop: func() error { s.mu.Lock(); defer s.mu.Unlock(); s.here[name] = false; return nil },
	})
	s.ends[name], s.leases[name] = cancel, l
	s.all.Go(func() { l.Run(ctx) })
}

// holder returns who has the address, "" if nobody.
func (s *scene) holder() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, has := range s.here {
		if has {
			return name
		}
	}
	return ""
}

// until waits until cond holds and returns how long that took.
func (s *scene) until(what string, limit time.Duration, cond func() bool) time.Duration {
	s.t.Helper()
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		if cond() {
			return time.Since(begun)
		}
		if time.Since(begun) > limit {
			s.t.Fatalf("%s: not within %v; %q has it", what, limit, s.holder())
		}
	}
}

func (s *scene) end() {
	for _, cancel := range s.ends {
		cancel()
	}
	s.all.Wait()
	if s.both != "" {
		s.t.Errorf("two had it: %s", s.both)
	}
	if h := s.holder(); h != "" {
		s.t.Errorf("%s still has it at the end", h)
	}
}

// die ends a machine at once: it does nothing more, and its address is gone with it.
func (s *scene) die(name string) {
	s.q.mu.Lock()
	s.q.cut[name] = true
	s.q.mu.Unlock()
	s.mu.Lock()
	s.here[name] = false
	s.ill[name] = errors.New("dead")
	s.mu.Unlock()
}

func (s *scene) cut(name string, is bool) {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	s.q.cut[name] = is
}

func TestDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "a", "b", "c")
		first := s.until("somebody takes it", time.Second, func() bool { return s.holder() != "" })
		t.Logf("taken after %v", first)
		for range 20 {
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Millisecond)
			was := s.holder()
			s.die(was)
			took := s.until("another takes it", 3*time.Second, func() bool { h := s.holder(); return h != "" && h != was })
			t.Logf("%s follows %s after %v", s.holder(), was, took)
			s.cut(was, false)
			s.mu.Lock()
			s.ill[was] = nil
			s.mu.Unlock()
		}
		s.end()
	})
}

func TestUnwell(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		limit time.Duration
	}{
		"nobody listens": {syscall.ECONNREFUSED, wellEvery + poll + 50*time.Millisecond},
		"not ready":      {errors.New("500"), 2*wellEvery + poll + 50*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, "a", "b")
				s.until("somebody takes it", time.Second, func() bool { return s.holder() != "" })
				was := s.holder()
				s.mu.Lock()
				s.ill[was] = c.err
				s.mu.Unlock()
				took := s.until("the other takes it", c.limit, func() bool { h := s.holder(); return h != "" && h != was })
				t.Logf("after %v", took)
				if st := s.leases[was].State(); st.Here || st.Problem != c.err.Error() {
					t.Errorf("the one before says %+v", st)
				}
				s.end()
			})
		})
	}
}

// TestPartition cuts the holder off: it drops the address before another one takes it.
func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "a", "b", "c")
		s.until("somebody takes it", time.Second, func() bool { return s.holder() != "" })
		time.Sleep(1234 * time.Millisecond)
		was := s.holder()
		s.cut(was, true)
		dropped := s.until("it drops", dropAfter+100*time.Millisecond, func() bool { return s.holder() != was })
		taken := s.until("another takes it", time.Second, func() bool { return s.holder() != "" })
		t.Logf("dropped after %v, taken %v later", dropped, taken)
		time.Sleep(10 * time.Second)
		s.cut(was, false)
		time.Sleep(10 * time.Second)
		if s.holder() == was || s.leases[was].State().Holder != s.holder() {
			t.Errorf("after healing %q has it, and %s says %+v", s.holder(), was, s.leases[was].State())
		}
		s.end()
	})
}

// TestElection lets the store elect a leader: a short election moves nothing, a long one makes the holder drop.
func TestElection(t *testing.T) {
	for _, c := range []struct {
		lasts time.Duration
		moves bool
	}{{1500 * time.Millisecond, false}, {8 * time.Second, true}} {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, "a", "b", "c")
			s.until("somebody takes it", time.Second, func() bool { return s.holder() != "" })
			was, dropped := s.holder(), false
			elect := func(is bool) { s.q.mu.Lock(); s.q.noLeader = is; s.q.mu.Unlock() }
			elect(true)
			for begun := time.Now(); time.Since(begun) < c.lasts; time.Sleep(time.Millisecond) {
				dropped = dropped || s.holder() != was
			}
			elect(false)
			if dropped != c.moves {
				t.Errorf("election of %v: dropped %v, want %v", c.lasts, dropped, c.moves)
			}
			s.until("somebody has it", takeAfter+time.Second, func() bool { return s.holder() != "" })
			s.end()
		})
	}
}

// TestStorm makes everything go wrong at once for a long time: never may two have it.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		r := rand.New(rand.NewPCG(1, 2))
		s.q.delay = func() time.Duration { return time.Duration(rand.IntN(400)) * time.Millisecond }
		s.q.lossy = true
		names := []string{"a", "b", "c"}
		for _, name := range names {
			s.start(name)
		}
		for range 3000 {
			time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
			name := names[r.IntN(3)]
			s.q.mu.Lock()
			switch r.IntN(4) {
			case 0:
				s.q.cut[name] = !s.q.cut[name]
			case 1:
				s.q.noLeader = r.IntN(4) == 0
			}
			s.q.mu.Unlock()
			s.mu.Lock()
			s.ill[name] = nil
			if r.IntN(4) == 0 {
				s.ill[name] = errors.New("503")
			}
			s.mu.Unlock()
		}
		s.q.mu.Lock()
		writes := s.q.writes
		s.q.mu.Unlock()
		if writes < 1000 {
			t.Errorf("only %d writes: the storm tries nothing", writes)
		}
		s.end()
	})
}

// TestBrokenLink sees that one who cannot put the address on its link leaves it to another.
func TestBrokenLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.broken["a"] = true
		s.start("a")
		time.Sleep(time.Second)
		s.start("b")
		took := s.until("the other takes it", 3*time.Second, func() bool { return s.holder() == "b" })
		t.Logf("after %v", took)
		s.end()
	})
}

// TestEnd sees that one who ends gives the lease back.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "a", "b")
		s.until("somebody takes it", time.Second, func() bool { return s.holder() != "" })
		was := s.holder()
		s.ends[was]()
		took := s.until("the other takes it", poll+50*time.Millisecond, func() bool { h := s.holder(); return h != "" && h != was })
		t.Logf("after %v", took)
		s.end()
	})
}
