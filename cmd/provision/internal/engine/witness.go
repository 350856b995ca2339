package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// quorum returns a node that is part of etcd's quorum, and what it says of the members. It waits until there is one: a
// machine may just be starting.
func (e *Engine) quorum(ctx context.Context, address string) (ssh.Host, templates.EtcdReport, error) {
	ctx, cancel := context.WithTimeout(ctx, quorumTimeout)
	defer cancel()
	defer e.waiting(address, "more than half of the control plane is to answer", quorumTimeout)()
	for {
		w, err := e.askQuorum(ctx, e.controlMachines())
		if err == nil {
			return w.host, w.said, nil
		}
		if err := e.outvoted(w.said, nil); err != nil {
			return nil, w.said, err // no waiting helps
		}
		select {
		case <-ctx.Done():
			return nil, w.said, diag.Wrap(err, diag.EtcdNoQuorum, "No control-plane machine is part of a quorum, after %v: %s. The members of etcd were left as they are.", quorumTimeout, err).
				Next("See what the machines say:", "provision status "+e.Cluster.File)
		case <-time.After(time.Second):
		}
	}
}

// A witness is a control-plane machine and what it says of etcd's members.
type witness struct {
	host ssh.Host
	name string
	said templates.EtcdReport
}

// testify asks a machine about etcd's members.
func (e *Engine) testify(ctx context.Context, m providers.Machine) (witness, error) {
	dial, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	h, err := e.host(dial, m)
	if err != nil {
		return witness{name: m.Name}, err
	}
	ctx, cancel = context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := bootstrap.EtcdMembers(ctx, h)
	return witness{h, m.Name, r}, err
}

// askQuorum asks control-plane machines, all at once, and takes the first that is part of a quorum. If none is, the witness is
// one that remembers its members, and the error says why.
func (e *Engine) askQuorum(ctx context.Context, ms []providers.Machine) (witness, error) {
	type answer struct {
		witness
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(ms))
	for _, m := range ms {
		go func() {
			w, err := e.testify(ctx, m)
			answers <- answer{w, err}
		}()
	}
	var remembers witness
	err := errors.New("none is there")
	for range ms {
		a := <-answers
		switch {
		case a.err != nil && remembers.name == "":
			err = fmt.Errorf("%s: %s", a.name, strings.TrimPrefix(firstLine(a.err), a.name+": "))
		case a.err != nil:
		case a.said.Quorum:
			return a.witness, nil
		default:
			remembers, err = a.witness, fmt.Errorf("%s: %s", a.name, a.said.Problem)
		}
	}
	return remembers, err
}

// askEtcd learns who etcd's members are, where the control plane has, or had, several machines. That nobody answers is a
// finding and no error.
func (e *Engine) askEtcd(ctx context.Context) {
	n := 0
	for _, m := range e.world.Machines {
		if m.Pool == plan.ControlPlanePool && e.world.Hosts[m.Name].Node != nil {
			n++
		}
	}
	if e.Cluster.ControlPlane.Count == 1 && n <= 1 {
		return
	}
	answering := slices.DeleteFunc(e.controlMachines(), func(m providers.Machine) bool { return e.world.Hosts[m.Name].Problem != "" })
	w, err := e.askQuorum(ctx, answering)
	if err == nil || len(w.said.Members) > 0 {
		e.world.Etcd = &w.said
	}
}

// quorumWithout is quorum on another node than the named one, if there is any.
func (e *Engine) quorumWithout(ctx context.Context, address, name string) (ssh.Host, templates.EtcdReport, error) {
	was := e.isDown(name)
	e.down(name, true)
	defer e.down(name, was)
	return e.quorum(ctx, address)
}
