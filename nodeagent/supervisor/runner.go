package supervisor

import (
	"context"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/templates"
)

const (
	gatePeriod   = 25 * time.Millisecond // how often a process that waits looks whether it may start
	probeFirst   = 20 * time.Millisecond // between the first probes of a process that starts
	probeSlowest = 250 * time.Millisecond
	probePeriod  = 3 * time.Second // between probes of a process that is ready
	probeTimeout = 2 * time.Second
	defaultGrace = 10 * time.Second
)

// A runner keeps one process running, in a goroutine of its own.
type runner struct {
	s    *Supervisor
	name string
	hash string
	spec atomic.Pointer[controlplane.Process]

	ctx     context.Context // ends when the runner shall end
	cancel  context.CancelFunc
	stop    atomic.Bool // with the process, not without it
	restart chan struct{}
	ended   chan struct{}

	status templates.ProcessStatus // guarded by s.mu
}

// finish ends the runner, and its process too if stop is set.
func (r *runner) finish(stop bool) {
	r.stop.Store(stop)
	r.cancel()
	<-r.ended
}

func (r *runner) run() {
	defer close(r.ended)
	var pause backoff
	c, since := r.adopt()
	for {
		if c == nil {
			if !r.wait() {
				return
			}
			var err error
			if c, err = r.s.o.start(*r.spec.Load()); err != nil {
				r.set(func(p *templates.ProcessStatus) { p.State, p.LastExit = templates.BackOff, err.Error() })
				if !r.sleep(pause.next(0)) {
					return
				}
				continue
			}
			since = time.Now()
			r.note(c, since)
		}
		why := r.watch(c)
		if why == let {
			return
		}
		r.s.records.remove(r.name)
		r.exited(c, why)
		if why == stopped {
			return
		}
		life := time.Since(since)
		c = nil
		if why == died && !r.sleep(pause.next(life)) {
			return
		}
	}
}

// adopt finds the process if an earlier supervisor started it, and stops it if it is to run in another way now.
func (r *runner) adopt() (child, time.Time) {
	c, rec, ok := r.s.adopt(r.name)
	if !ok {
		return nil, time.Time{}
	}
	if rec.Hash != r.hash {
		r.s.o.Log.Info("stopping a process that is to run in another way", "process", r.name, "pid", c.pid())
		if r.s.terminate(c, r.grace()) {
			r.s.records.remove(r.name)
		}
		return nil, time.Time{}
	}
	r.set(func(p *templates.ProcessStatus) {
		p.State, p.PID, p.Adopted, p.Restarts, p.Since = templates.Starting, c.pid(), true, rec.Restarts, rec.Since
	})
	r.s.o.Log.Info("found a process that runs", "process", r.name, "pid", c.pid())
	return c, rec.Since
}

func (r *runner) note(c child, since time.Time) {
	r.set(func(p *templates.ProcessStatus) {
		p.State, p.PID, p.Adopted, p.WaitingFor, p.LastProbe = templates.Starting, c.pid(), false, "", ""
		r.s.records.put(r.name, record{PID: c.pid(), Start: c.startTime(), Hash: r.hash, Since: since, Restarts: p.Restarts})
	})
	r.s.o.Log.Info("started", "process", r.name, "pid", c.pid())
}

func (r *runner) exited(c child, why reason) {
	how := c.exit()
	r.set(func(p *templates.ProcessStatus) {
		p.PID, p.Ready, p.Adopted, p.LastExit, p.State = 0, false, false, how, templates.Stopped
		if why != stopped {
			p.Restarts++
			p.State = templates.BackOff
		}
	})
	r.s.o.Log.Info("ended", "process", r.name, "how", how)
}

// wait returns when the process may start; false if it never shall.
func (r *runner) wait() bool {
	tick := time.NewTicker(gatePeriod)
	defer tick.Stop()
	for {
		if r.ctx.Err() != nil || r.s.isClosed() {
			r.set(func(p *templates.ProcessStatus) { p.State, p.WaitingFor = templates.Stopped, "" })
			return false
		}
		reason := r.missing()
		if reason == "" {
			return true
		}
		r.set(func(p *templates.ProcessStatus) { p.State, p.WaitingFor = templates.Waiting, reason })
		select {
		case <-r.ctx.Done():
		case <-tick.C:
		}
	}
}

// missing says what the process still waits for. Once it has run it waits for others no longer: they are to come back by
// themselves, and so is it.
func (r *runner) missing() string {
	spec := r.spec.Load()
	r.s.mu.Lock()
	ran := r.status.Restarts > 0
	r.s.mu.Unlock()
	for _, name := range spec.After {
		if !ran && !r.s.Ready(name) {
			return name
		}
	}
	if spec.Gate != nil {
		return spec.Gate()
	}
	return ""
}

// A reason is why a runner no longer watches its process.
type reason int

const (
	died    reason = iota // by itself
	again                 // it was stopped to be started again
	stopped               // it was stopped for good
	let                   // it runs on
)

// watch returns when the process has ended or shall be let go.
func (r *runner) watch(c child) reason {
	ctx, cancel := context.WithCancel(r.ctx)
	probing := make(chan struct{})
	go func() { r.probe(ctx); close(probing) }()
	defer func() { cancel(); <-probing }()
	select {
	case <-c.done():
		return died
	case <-r.restart:
		return r.end(c, again)
	case <-r.ctx.Done():
		if !r.stop.Load() {
			return let
		}
		return r.end(c, stopped)
	}
}

// end ends the process and returns why, unless the supervisor is closed before it has ended.
func (r *runner) end(c child, why reason) reason {
	r.set(func(p *templates.ProcessStatus) { p.State, p.Ready = templates.Stopping, false })
	if !r.s.terminate(c, r.grace()) {
		return let
	}
	return why
}

func (r *runner) grace() time.Duration {
	if g := r.spec.Load().Grace; g > 0 {
		return g
	}
	return defaultGrace
}

// probe keeps Ready true to what the process says of itself, until ctx ends.
func (r *runner) probe(ctx context.Context) {
	pause, was := probeFirst, false
	for {
		err := r.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		r.set(func(p *templates.ProcessStatus) { r.learn(p, err, was) })
		was = err == nil
		if was {
			pause = probePeriod
		} else {
			pause = min(max(pause, probeFirst)*3/2, probeSlowest)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (r *runner) ask(ctx context.Context) error {
	ready := r.spec.Load().Ready
	if ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return ready(ctx)
}

// learn takes over what a probe said. One failed probe of a process that was ready may be bad luck: it takes two.
func (r *runner) learn(p *templates.ProcessStatus, err error, was bool) {
	if p.State == templates.Stopping {
		return
	}
	if err == nil {
		p.State, p.Ready, p.LastProbe = templates.Running, true, ""
		return
	}
	p.LastProbe = err.Error()
	if !was {
		p.Ready = false
	}
}

// sleep waits before the process is started again; false if it never shall.
func (r *runner) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.restart:
	case <-r.ctx.Done():
		r.set(func(p *templates.ProcessStatus) { p.State = templates.Stopped })
		return false
	}
	return true
}

// set changes the status and tells everybody, if it did change.
func (r *runner) set(f func(*templates.ProcessStatus)) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	before := r.status
	f(&r.status)
	if r.status == before {
		return
	}
	if r.status.State != before.State && r.status.Since == before.Since {
		r.status.Since = time.Now()
	}
	r.s.notify()
}

// terminate asks a process to end, and ends it if it does not. It returns false if the supervisor was closed before that.
func (s *Supervisor) terminate(c child, grace time.Duration) bool {
	c.signal(syscall.SIGTERM)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-c.done():
		return true
	case <-s.closed:
		return false
	case <-t.C:
	}
	c.kill()
	<-c.done()
	return true
}

// A backoff says how long to wait before a process that died is started again: longer each time, unless it had lived for
// a while.
type backoff struct{ last time.Duration }

const (
	backoffFirst = 100 * time.Millisecond
	backoffLast  = 10 * time.Second
	backoffReset = 10 * time.Second
)

func (b *backoff) next(life time.Duration) time.Duration {
	switch {
	case b.last == 0 || life >= backoffReset:
		b.last = backoffFirst
	default:
		b.last = min(2*b.last, backoffLast)
	}
	return b.last
}
