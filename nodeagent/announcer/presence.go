package announcer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"syscall"
	"time"
)

// PresenceOptions is what a Presence works with.
type PresenceOptions struct {
	Well func(ctx context.Context) error // why this one must not hold now; it obeys the context
	Hold func() error                    // is called when it becomes well, and again at least every 1.5 s as long as it is
	Drop func() error                    // is called when it must be held no longer
	Log  *slog.Logger
	Tell func() // is called when State may say something else
}

// A Presence is held by everybody who is well, by several at a time: where routers choose among them, nobody needs to be
// elected. One whose API server hangs drops it after two questions that got no answer, 2.6 s; one whose API server has ended,
// with the next question.
type Presence struct {
	o PresenceOptions

	mu     sync.Mutex
	here   bool
	ill    string
	failed int
}

// NewPresence returns a presence that does nothing before Run.
func NewPresence(o PresenceOptions) *Presence {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tell == nil {
		o.Tell = func() {}
	}
	return &Presence{o: o, ill: "nobody has looked yet"}
}

// State returns how it is. Holder is not known: there may be several.
func (p *Presence) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return State{Here: p.here, Problem: p.ill}
}

// Run holds whenever this one is well, until ctx ends; then it drops. What an earlier run may have left is dropped first.
func (p *Presence) Run(ctx context.Context) {
	p.drop("starting")
	for ctx.Err() == nil {
		question, cancel := context.WithTimeout(ctx, callLimit)
		err := p.o.Well(question)
		cancel()
		if ctx.Err() != nil {
			break
		}
		p.learn(err)
		select {
		case <-ctx.Done():
		case <-time.After(wellEvery):
		}
	}
	p.drop("ending")
}

// learn acts on an answer. Nobody who listens is final; any other failure may be bad luck once.
func (p *Presence) learn(err error) {
	p.mu.Lock()
	here := p.here
	p.failed++
	if err == nil {
		p.failed = 0
	}
	final := err != nil && (p.failed > 1 || !here || errors.Is(err, syscall.ECONNREFUSED))
	p.mu.Unlock()
	if final {
		p.drop(err.Error())
		return
	}
	p.hold()
}

func (p *Presence) hold() {
	if err := p.o.Hold(); err != nil {
		p.o.Log.Error("cannot hold", "err", err)
		p.drop(err.Error())
		return
	}
	p.set(true, "")
}

func (p *Presence) drop(why string) {
	if err := p.o.Drop(); err != nil {
		p.o.Log.Error("cannot drop", "err", err)
	}
	p.set(false, why)
}

func (p *Presence) set(here bool, ill string) {
	p.mu.Lock()
	changed, moved := p.here != here || p.ill != ill, p.here != here
	p.here, p.ill = here, ill
	p.mu.Unlock()
	if moved {
		p.o.Log.Info("the address is here or gone", "here", here, "why", ill)
	}
	if changed {
		p.o.Tell()
	}
}
