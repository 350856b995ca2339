package bootstrap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/bootstrap/scout"
	"github.com/provisionhq/provision/bootstrap/ssh"
)

// scoutPath is where the scout is put for as long as it takes to start it.
const scoutPath = "/usr/local/bin/" + scout.Program

const (
	fan      = 3                // machines that one machine feeds at once
	detours  = 3                // peers that are tried before the file is sent from here
	dispatch = 30 * time.Second // that a scout may take to be there
)

// A distribution carries the same files to many machines: from here to one, and from machine to machine on their network.
// Each machine passes on what it has got so far, so all have it hardly later than the first. What a machine gets is checked
// by its SHA-256, which comes from here, so no peer need be trusted. It is shared by all targets and safe for concurrent use.
type distribution struct {
	program *ssh.Source
	token   string // by which a machine is let have a file

	mu      sync.Mutex
	members []*member
	changed chan struct{} // closed, and replaced, when a member changes
	good    int           // fetches from peers that succeeded
	bad     int           // that could not even connect
}

// A member is a machine that gets files, or has them.
type member struct {
	name string
	addr netip.Addr
	sums []string // of the files that it gets
	send func(context.Context) (*scout.Scout, string, error)

	// Set before started is closed.
	scout   *scout.Scout
	port    string
	failure error

	// Guarded by the distribution's lock.
	started  chan struct{} // closed when the attempt to have a scout there is over; nil before
	parent   *member
	children int
	direct   bool // gets it from here
	whole    bool
	out      bool // gives nothing to others
}

func newDistribution(program *ssh.Source) *distribution {
	return &distribution{program: program, token: rand.Text(), changed: make(chan struct{})}
}

// bring makes files be on the target's machine.
func (t *Target) bring(ctx context.Context, files ...ssh.File) error {
	d := t.Programs.spread
	if d == nil || len(files) == 0 || !t.Node.Address.IsValid() {
		return t.Host.Put(ctx, files...)
	}
	m, err := d.join(t, files)
	if err != nil {
		return err
	}
	if d.alone(m) {
		return d.upload(ctx, t, m, files)
	}
	if err := d.serving(ctx, m); err != nil {
		if ctx.Err() != nil {
			return err
		}
		t.say("files cannot be handed on from machine to machine here: " + err.Error())
		d.update(func() { m.out = true })
		return d.upload(ctx, t, m, files)
	}
	return d.obtain(ctx, t, m, files)
}

// join makes a member of the target. It is not a source for others before it gets something.
func (d *distribution) join(t *Target, files []ssh.File) (*member, error) {
	m := &member{name: t.Node.Name, addr: t.Node.Address}
	var offers [][]string
	for _, f := range files {
		sum, err := f.Source.Sum()
		if err != nil {
			return nil, err
		}
		m.sums = append(m.sums, sum)
		offers = append(offers, []string{sum, fmt.Sprint(f.Source.Size()), f.Path})
	}
	m.send = func(ctx context.Context) (*scout.Scout, string, error) {
		s, err := scout.Start(ctx, t.Host, t.Node.Name, d.program, scoutPath)
		if err != nil {
			return nil, "", err
		}
		port, err := s.Ask(ctx, nil, "serve", m.addr.String(), d.token)
		for _, o := range offers {
			if err == nil {
				_, err = s.Ask(ctx, nil, "offer", o...)
			}
		}
		if err != nil {
			s.Close()
		}
		return s, port, err
	}
	return m, nil
}

// alone makes the member the first, if it is: then it is fed from here, and gets a scout only when another one comes.
func (d *distribution) alone(m *member) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.members = append(d.members, m)
	m.direct = len(d.members) == 1
	return m.direct
}

// update changes members and wakes those who wait.
func (d *distribution) update(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.changed)
	d.changed = make(chan struct{})
}

// begin begins to make the member's machine serve, if nobody has. The caller holds the lock.
func (d *distribution) begin(ctx context.Context, m *member) {
	if m.started != nil {
		return
	}
	m.started = make(chan struct{})
	go func() {
		defer close(m.started)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dispatch)
		defer cancel()
		s, port, err := m.send(ctx)
		d.update(func() { m.scout, m.port, m.failure, m.out = s, port, err, m.out || err != nil })
	}()
}

// serving waits until the member's machine serves.
func (d *distribution) serving(ctx context.Context, m *member) error {
	d.mu.Lock()
	d.begin(ctx, m)
	d.mu.Unlock()
	select {
	case <-m.started:
		return m.failure
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// upload sends the files from here.
func (d *distribution) upload(ctx context.Context, t *Target, m *member, files []ssh.File) error {
	d.update(func() { m.direct, m.parent = true, nil })
	err := t.Host.Put(ctx, files...)
	if err == nil {
		d.tell(ctx, m)
	}
	d.update(func() {
		m.direct, m.whole = false, err == nil
		m.out = m.out || err != nil
	})
	return err
}

// tell tells the scout of a machine, if there is one, that its files are whole: they are about to be moved away.
func (d *distribution) tell(ctx context.Context, m *member) {
	d.mu.Lock()
	started := m.started
	m.out = m.out || started == nil
	d.mu.Unlock()
	if started == nil || d.serving(ctx, m) != nil {
		return
	}
	for _, sum := range m.sums {
		if _, err := m.scout.Ask(ctx, nil, "have", sum); err != nil {
			d.update(func() { m.out = true })
		}
	}
}

// obtain gets the files from peers, from one after another if need be, and from here if none can give them.
func (d *distribution) obtain(ctx context.Context, t *Target, m *member, files []ssh.File) error {
	tried := map[*member]bool{}
	var last error
	for {
		p, err := d.choose(ctx, m, tried)
		if err != nil {
			return err
		}
		if p == nil {
			if last != nil {
				t.say("sent from here, as no other machine could give it: " + last.Error())
			}
			return d.upload(ctx, t, m, files)
		}
		err = d.fetch(ctx, m, p, files)
		d.note(m, p, err)
		if err == nil || ctx.Err() != nil {
			return err
		}
		last, tried[p] = err, true
	}
}

// choose returns a peer to get the files from; nil if there is none, and then the member is one that is fed from here. It
// waits while all that could give them are busy.
func (d *distribution) choose(ctx context.Context, m *member, tried map[*member]bool) (*member, error) {
	for {
		d.mu.Lock()
		var free []*member
		able := 0
		for _, p := range d.members {
			if p == m || tried[p] || !p.gives(m.sums) || !rooted(p, m) {
				continue
			}
			if able++; p.children < fan {
				free = append(free, p)
			}
		}
		hopeless := len(tried) >= detours || d.good == 0 && d.bad >= 2*detours
		if able == 0 || hopeless {
			m.direct, m.parent = true, nil
			d.mu.Unlock()
			return nil, nil
		}
		if len(free) > 0 {
			p := slices.MinFunc(free, func(a, b *member) int { return depth(a) - depth(b) })
			p.children++
			m.parent = p
			d.begin(ctx, p) // now: once its files are whole, it is too late
			d.mu.Unlock()
			return p, nil
		}
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// gives says whether the member has these files or will have them, and can serve.
func (p *member) gives(sums []string) bool {
	if p.out {
		return false
	}
	if p.scout != nil {
		select {
		case <-p.scout.Done():
			return false
		default:
		}
	}
	return !slices.ContainsFunc(sums, func(s string) bool { return !slices.Contains(p.sums, s) })
}

// rooted says whether what p has comes from here in the end, and not by way of m.
func rooted(p, m *member) bool {
	for ; p != nil && p != m; p = p.parent {
		if p.whole || p.direct {
			return true
		}
	}
	return false
}

// depth is how many machines are before p on the way from here. One that has all is as good as here.
func depth(p *member) int {
	n := p.children
	for ; p != nil && !p.whole; p = p.parent {
		n++
	}
	return n
}

// fetch gets the files from one peer.
func (d *distribution) fetch(ctx context.Context, m, p *member, files []ssh.File) error {
	if err := d.serving(ctx, p); err != nil {
		return err
	}
	from := net.JoinHostPort(p.addr.String(), p.port)
	for i, f := range files {
		each := func(words string) {
			var n int64
			if _, err := fmt.Sscan(words, &n); err == nil && f.Progress != nil {
				f.Progress(n, f.Source.Size())
			}
		}
		if _, err := m.scout.Ask(ctx, each, "fetch", m.sums[i], fmt.Sprint(f.Source.Size()), f.Path, fmt.Sprintf("%04o", f.Mode.Perm()), d.token, from); err != nil {
			return err
		}
		if f.Progress != nil {
			f.Progress(f.Source.Size(), f.Source.Size())
		}
	}
	return nil
}

// note notes how a fetch ended.
func (d *distribution) note(m, p *member, err error) {
	d.update(func() {
		p.children--
		m.parent, m.whole = nil, err == nil
		var no *scout.Refusal
		switch {
		case err == nil:
			d.good++
		case errors.As(err, &no) && strings.HasPrefix(no.Reason, "connect"):
			d.bad++
		}
	})
}
