// Package supervisor keeps processes running: it starts them in order, starts again what dies, and finds its processes
// again when it was killed itself.
//
// A process's output goes straight to a file, and the process is in a session of its own, so it needs its supervisor for
// nothing but being started again.
package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/templates"
)

// Options is where a Supervisor keeps things.
type Options struct {
	Records string // file that says which processes run; best on a file system that a reboot empties
	Logs    string // folder of the processes' output, one file per process
	Root    string // prepended to the paths of processes' files and folders; for tests
	Log     *slog.Logger

	start func(controlplane.Process) (child, error) // for tests
}

// A Supervisor runs processes. Its methods are safe for concurrent use.
type Supervisor struct {
	o       Options
	records *records
	setting sync.Mutex // one Set at a time

	mu      sync.Mutex
	order   []string
	runners map[string]*runner
	changed chan struct{}

	closed chan struct{} // is closed when Close begins
	close  func()
}

// New reads what an earlier Supervisor left behind. Nothing is started or stopped before Set.
func New(o Options) (*Supervisor, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r, err := openRecords(o.Records)
	if err != nil {
		return nil, err
	}
	return newSupervisor(o, r), nil
}

func newSupervisor(o Options, r *records) *Supervisor {
	s := &Supervisor{o: o, records: r, runners: map[string]*runner{}, changed: make(chan struct{}), closed: make(chan struct{})}
	s.close = sync.OnceFunc(func() { close(s.closed) })
	if s.o.start == nil {
		s.o.start = s.launch
	}
	return s
}

// Set says what shall run, in order. What runs already and is to run the same way is left alone; what is to run in another
// way is stopped and started; what shall run no longer is stopped. Set returns when what had to be stopped has stopped, or
// with an error when Close cuts it short.
func (s *Supervisor) Set(specs []controlplane.Process) error {
	for i, p := range specs {
		for _, name := range p.After {
			if !slices.ContainsFunc(specs[:i], func(q controlplane.Process) bool { return q.Name == name }) {
				return fmt.Errorf("process %s is to start after %s, which is not before it", p.Name, name)
			}
		}
	}
	s.setting.Lock()
	defer s.setting.Unlock()
	stop(s.replaced(specs))
	s.stopLeftOver(specs)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() {
		return errors.New("supervisor is closed")
	}
	s.order = nil
	for _, p := range specs {
		s.order = append(s.order, p.Name)
		if r, ok := s.runners[p.Name]; ok {
			r.spec.Store(&p)
			continue
		}
		s.runners[p.Name] = s.newRunner(p)
	}
	s.notify()
	return nil
}

// replaced takes out of the table what has to be stopped, and returns it in the order in which to stop it.
func (s *Supervisor) replaced(specs []controlplane.Process) []*runner {
	s.mu.Lock()
	defer s.mu.Unlock()
	var old []*runner
	for _, name := range slices.Backward(s.order) {
		r := s.runners[name]
		keep := slices.ContainsFunc(specs, func(p controlplane.Process) bool { return p.Name == name && p.Hash() == r.hash })
		if !keep {
			old = append(old, r)
			delete(s.runners, name)
		}
	}
	return old
}

// stopLeftOver ends what an earlier supervisor ran and nobody wants now.
func (s *Supervisor) stopLeftOver(specs []controlplane.Process) {
	var all sync.WaitGroup
	for _, name := range s.records.names() {
		s.mu.Lock()
		_, mine := s.runners[name]
		s.mu.Unlock()
		wanted := slices.ContainsFunc(specs, func(p controlplane.Process) bool { return p.Name == name })
		if mine || wanted {
			continue
		}
		if c, _, ok := s.adopt(name); ok {
			all.Go(func() {
				if s.terminate(c, defaultGrace) {
					s.records.remove(name)
				}
			})
		}
	}
	all.Wait()
}

// stop ends runners with their processes, each after those that need it.
func stop(list []*runner) {
	var all sync.WaitGroup
	for _, r := range list {
		all.Go(func() {
			for _, other := range list {
				if spec := other.spec.Load(); slices.Contains(spec.After, r.name) || slices.Contains(spec.Uses, r.name) {
					<-other.ended
				}
			}
			r.finish(true)
		})
	}
	all.Wait()
}

func (s *Supervisor) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Status returns what each process does, in order.
func (s *Supervisor) Status() []templates.ProcessStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]templates.ProcessStatus, 0, len(s.order))
	for _, name := range s.order {
		if r, ok := s.runners[name]; ok {
			list = append(list, r.status)
		}
	}
	return list
}

// Ready reports whether the process is there and ready.
func (s *Supervisor) Ready(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.runners[name]
	return ok && r.status.Ready
}

// Changed returns a channel that is closed at the next change of Status.
func (s *Supervisor) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// notify is called with mu held.
func (s *Supervisor) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Restart stops the process and lets it start again, at once.
func (s *Supervisor) Restart(name string) error {
	s.mu.Lock()
	r, ok := s.runners[name]
	s.mu.Unlock()
	if !ok {
		return fmt.Errorf("no process %s", name)
	}
	select {
	case r.restart <- struct{}{}:
	default: // asked for already
	}
	return nil
}

// Close lets go of all processes: they go on running, for the next Supervisor to find. What Set was about to stop is
// left to that one too.
func (s *Supervisor) Close() {
	s.close()
	s.mu.Lock()
	list := make([]*runner, 0, len(s.runners))
	for _, r := range s.runners {
		list = append(list, r)
	}
	s.mu.Unlock()
	for _, r := range list {
		r.finish(false)
	}
}

// Kill ends all processes without asking them, for a node that is to be forgotten, and closes the supervisor.
func (s *Supervisor) Kill() {
	s.Close()
	for _, name := range s.records.names() {
		if c, _, ok := s.adopt(name); ok {
			c.kill()
			<-c.done()
		}
		s.records.remove(name)
	}
}

func (s *Supervisor) newRunner(p controlplane.Process) *runner {
	ctx, cancel := context.WithCancel(context.Background())
	r := &runner{
		s: s, name: p.Name, hash: p.Hash(), ctx: ctx, cancel: cancel,
		restart: make(chan struct{}, 1), ended: make(chan struct{}),
		status: templates.ProcessStatus{Name: p.Name, State: templates.Waiting, Since: time.Now()},
	}
	r.spec.Store(&p)
	go r.run()
	return r
}
