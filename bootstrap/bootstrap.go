// Package bootstrap makes a node of a machine that answers SSH.
//
// The work is a list of phases, one file each. A phase knows how to tell, cheaply and without changing anything, whether
// it is done; so the same list installs, repairs, upgrades, and, as a dry run, only tells. All that the phases need to
// know of a machine is gathered in one round trip.
//
// Two lists make a node: Install needs no other machine and runs on all at once; Join needs credentials that exist once
// the API server answers.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

// A Phase is one part of making a node.
type Phase struct {
	Name string
	Done func(context.Context, *Target) (bool, error) // cheap; changes nothing
	Do   func(context.Context, *Target) error
}

// A Target is a machine that is to become a node, and what is to be put there. It is for one run at a time.
type Target struct {
	Host     ssh.Host         // borrowed
	Node     templates.Node   // as it is to be
	Files    []templates.File // certificates, keys and kubeconfigs to write; all secret
	Programs *Programs        // shared by all targets of one architecture
	Besides  []Program        // what this machine gets beside them
	Wait     time.Duration    // how long a phase that waits does so; 5 min if 0
	JoinEtcd bool             // a bare control-plane machine waits for EtcdAdd; else it founds a new etcd with all of Node.Etcd

	mu      sync.Mutex
	facts   *Facts
	all     bool // facts are all there are, not only those of the node
	report  func(Event)
	phase   string
	changed bool // a phase did something, so what the facts say of the node's state is old
}

// Install returns the phases that put everything on a machine and start it: containerd on every node, and on a
// control-plane node all that needs no other node.
func Install() []Phase {
	return []Phase{preflight(), upload(), install(), configure(), enable()}
}

// Serve returns the phase that waits until this control-plane node's API server answers.
func Serve() []Phase { return []Phase{waitFor("serve", "kube-apiserver")} }

// Join returns the phases that give a node its bootstrap credentials, which are in Target.Files, and wait until it has
// joined.
func Join() []Phase { return []Phase{join(), waitFor("ready", "ready")} }

// Settle returns the phase that waits until all runs that the node should run.
func Settle() []Phase { return []Phase{waitFor("ready", "ready")} }

// Reconfigure returns the phases that give a running node another configuration. Its agent restarts what has to be.
func Reconfigure() []Phase { return []Phase{besides(), configure()} }

// Run makes each phase that is not done, in order, and stops at the first that fails. report gets what happens, from one
// goroutine at a time; it may be nil. A failure is a *HostError, unless the context ended.
func Run(ctx context.Context, t *Target, phases []Phase, report func(Event)) error {
	t.begin(report)
	for _, p := range phases {
		if err := t.run(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// Check returns the names of the phases that Run would make. It changes nothing.
func Check(ctx context.Context, t *Target, phases []Phase) ([]string, error) {
	t.begin(nil)
	var todo []string
	for _, p := range phases {
		done, err := p.Done(ctx, t)
		if err != nil {
			return nil, t.fail(ctx, p, err)
		}
		if !done {
			todo = append(todo, p.Name)
		}
	}
	return todo, nil
}

// begin forgets what an earlier run found out.
func (t *Target) begin(report func(Event)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.facts, t.all, t.report, t.phase, t.changed = nil, false, report, "", false
}

func (t *Target) run(ctx context.Context, p Phase) error {
	start := time.Now()
	t.setPhase(p.Name)
	done, err := p.Done(ctx, t)
	if err == nil && done {
		t.emit(Event{Kind: Skipped, Took: time.Since(start)})
		return nil
	}
	t.emit(Event{Kind: Started})
	if err == nil {
		err = p.Do(ctx, t)
	}
	if err != nil {
		err = t.fail(ctx, p, err)
		t.emit(Event{Kind: Failed, Took: time.Since(start), Err: err})
		return err
	}
	t.emit(Event{Kind: Finished, Took: time.Since(start)})
	return nil
}

// fail adds to an error what the machine itself has to say.
func (t *Target) fail(ctx context.Context, p Phase, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %s: %w", t.Node.Name, p.Name, err)
	}
	var e *HostError
	if errors.As(err, &e) {
		e.Phase = p.Name
		return e
	}
	e = &HostError{Host: t.Node.Name, Phase: p.Name, Err: err}
	if exit := new(ssh.ExitError); errors.As(err, &exit) {
		e.Output = lastLines(exit.Stderr)
	}
	return e
}
