// Package remote is a provider that is another program: the contract of package providers over gRPC, through
// hashicorp/go-plugin. The program's author calls Serve; who uses it calls Open.
//
// What a plug-in is trusted with, and what not: it gets the attributes of its block and the vendor's credentials, so
// which program may run is the caller's business (package remote/plugins: checksums). What it answers is not trusted: an
// answer that the contract does not allow is a Fault, never a panic and never an object. A plug-in that dies or hangs
// makes the calls in progress fail with a Fault that wraps providers.Unavailable; the next call starts it again.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"time"

	"github.com/provisionhq/provision/providers"
)

// Options say which plug-in to open and how patient to be with it.
type Options struct {
	Path       string         // of the program
	Socket     string         // instead of Path: of a process that serves already, with a Server; nothing is started then, and nothing ended
	Name       string         // that the provider must have
	Attributes map[string]any // of its block: string, int64, float64, bool, []any, map[string]any
	Secrets    []string       // texts that must not appear in the log or in errors
	Environ    []string       // of the program; nil: what Environ makes of this process's
	Log        io.Writer      // what the program writes to stderr, if not nil
	Limits     Limits
	// Verify is called before the program is started, each time; its error is returned and nothing is started.
	Verify func() error
}

// Limits are how long to wait for a plug-in. The zero value is a good choice.
type Limits struct {
	Start     time.Duration // until it has started and answered Open; 0 means 30 s
	Heartbeat time.Duration // how often a call in progress shall say that it is alive; 0 means 1 s
	Silence   time.Duration // without a word from it, after which it hangs; 0 means 10 s
	Read      time.Duration // for a call that changes nothing; 0 means 5 min
	Write     time.Duration // for a call that changes something; 0 means 1 h
	Grace     time.Duration // for a call to return after it was told to stop; 0 means 5 s
	Deaths    int           // one after another, without an answer between, after which it is given up; 0 means 5
	Rest      time.Duration // how long a plug-in that was given up is left alone; 0 means 1 min
}

func (l Limits) orDefault() Limits {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&l.Start, 30 * time.Second}, {&l.Heartbeat, time.Second}, {&l.Silence, 10 * time.Second}, {&l.Read, 5 * time.Minute},
		{&l.Write, time.Hour}, {&l.Grace, 5 * time.Second}, {&l.Rest, time.Minute},
	} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if l.Deaths <= 0 {
		l.Deaths = 5
	}
	return l
}

// A Provider is a plug-in in use. Its methods are safe for concurrent use.
type Provider struct {
	o    Options
	caps providers.Caps
	tail *tail

	life context.Context // until Close
	die  context.CancelFunc

	turn    chan struct{} // holds one value while somebody looks at or changes what follows
	running *process      // nil: it is to be started
	deaths  int           // since the last answer
	last    *Fault        // how it died last
	until   time.Time     // not to be started before
	closed  bool
}

// Open starts the program, asks it to open its provider, and returns that. The error is a *Fault if the program is to
// blame, the plug-in's own if it does not accept the attributes, or Verify's. The caller closes the provider; if the
// process ends without, the program ends too.
func Open(ctx context.Context, o Options) (*Provider, error) {
	o.Limits = o.Limits.orDefault()
	p := &Provider{o: o, tail: newTail(o.Log, o.Secrets), turn: make(chan struct{}, 1)}
	p.life, p.die = context.WithCancel(context.WithoutCancel(ctx))
	proc, caps, err := p.start(ctx)
	if err != nil {
		p.die()
		return nil, err
	}
	p.running, p.caps = proc, caps
	return p, nil
}

// Close ends the program. Calls in progress fail.
func (p *Provider) Close() error {
	p.die()
	p.turn <- struct{}{}
	proc := p.running
	p.running, p.closed = nil, true
	<-p.turn
	if proc != nil {
		proc.end()
	}
	return nil
}

// Name returns the name that was opened.
func (p *Provider) Name() string { return p.o.Name }

// Caps returns what the plug-in said when it was opened.
func (p *Provider) Caps() providers.Caps {
	c := p.caps
	c.Zones, c.Arch = append([]string(nil), c.Zones...), append([]string(nil), c.Arch...)
	c.Prices = c.Prices.Clone()
	if c.Inside != nil {
		c.Inside = &providers.Inside{Attributes: maps.Clone(c.Inside.Attributes), Blind: c.Inside.Blind}
	}
	return c
}

// Networks returns the plug-in's networks.
func (p *Provider) Networks() providers.Networks {
	return objects[providers.NetworkSpec, providers.Network]{p, providers.NetworkNoun, checkNetwork}
}

// Machines returns the plug-in's machines.
func (p *Provider) Machines() providers.Machines {
	return machines{objects[providers.MachineSpec, providers.Machine]{p, providers.MachineNoun, checkMachine(p.o.Name)}}
}

// Account returns the plug-in's account.
func (p *Provider) Account() providers.Account { return account{p} }

// LoadBalancers returns the plug-in's balancers.
func (p *Provider) LoadBalancers() providers.LoadBalancers {
	if !p.caps.LoadBalancers {
		return providers.NoLoadBalancers{}
	}
	return objects[providers.LoadBalancerSpec, providers.LoadBalancer]{p, providers.BalancerNoun, checkBalancer}
}

// Volumes returns the plug-in's volumes.
func (p *Provider) Volumes() providers.Volumes {
	if !p.caps.Volumes {
		return providers.NoVolumes{}
	}
	return volumes{objects[providers.VolumeSpec, providers.Volume]{p, providers.VolumeNoun, checkVolume}}
}

// ask makes one call, starting the program if it does not run.
func (p *Provider) ask(ctx context.Context, q question, into outcome) error {
	proc, err := p.get(ctx, q)
	if err != nil {
		return err
	}
	err = proc.ask(ctx, q, into)
	var f *Fault
	switch {
	case errors.As(err, &f) && (f.Reason == Died || f.Reason == Hung):
		p.lost(proc, f)
	case err == nil:
		p.answered(proc)
	}
	return err
}

// get returns the running program.
func (p *Provider) get(ctx context.Context, q question) (*process, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", q.call(), ctx.Err())
	}
	if p.closed {
		return nil, fmt.Errorf("%s: %w: the plug-in was closed", q.call(), providers.Unavailable)
	}
	if p.running != nil {
		return p.running, nil
	}
	if p.deaths >= p.o.Limits.Deaths {
		if wait := time.Until(p.until); wait > 0 {
			return nil, p.last.givenUp(p.deaths)
		}
		p.deaths = 0
	}
	if err := sleep(ctx, time.Until(p.until)); err != nil {
		return nil, fmt.Errorf("%s: %w", q.call(), err)
	}
	proc, caps, err := p.start(ctx)
	if err == nil && !reflect.DeepEqual(caps, p.caps) {
		proc.end()
		err = p.fault(Bug, "", fmt.Sprintf("started again, it can something else than before: %+v, not %+v", caps, p.caps))
	}
	if err != nil {
		var f *Fault
		if errors.As(err, &f) {
			f.Call = q.call()
			p.died(f)
		}
		return nil, err
	}
	p.running = proc
	return proc, nil
}

// lost notes that a program has died, once for each, and waits until nothing of it is left.
func (p *Provider) lost(proc *process, f *Fault) {
	proc.end()
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.running == proc {
		p.running = nil
		p.died(f)
	}
}

// died counts a death and says when the next may be. The caller has the turn.
func (p *Provider) died(f *Fault) {
	p.deaths++
	p.last = f
	pause := min(20*time.Millisecond<<min(p.deaths, 10), 5*time.Second)
	if p.deaths >= p.o.Limits.Deaths {
		pause = p.o.Limits.Rest
	}
	p.until = time.Now().Add(pause)
}

// answered notes that a program does its work.
func (p *Provider) answered(proc *process) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.running == proc {
		p.deaths = 0
	}
}

// start starts the program and has it open its provider.
func (p *Provider) start(ctx context.Context) (*process, providers.Caps, error) {
	if p.o.Verify != nil {
		if err := p.o.Verify(); err != nil {
			return nil, providers.Caps{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Limits.Start)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	proc, err := p.spawn(ctx)
	if err != nil {
		return nil, providers.Caps{}, err
	}
	caps, err := proc.open(ctx)
	if err != nil {
		proc.end()
		return nil, providers.Caps{}, err
	}
	return proc, caps, nil
}

// sleep waits, or returns the context's error as soon as it has one.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
