//go:build linux

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local/forwarder"
)

// balancerLimit is how long a balancer's process may take to listen, and to follow a change.
const balancerLimit = 20 * time.Second

// A balancerState is the word of a balancer's process, in state.json. It counts only while the process holds its lock.
type balancerState struct {
	Process  process        `json:"process"`
	Phase    phase          `json:"phase"`
	Revision int            `json:"revision"` // of the record that it follows
	Error    string         `json:"error,omitempty"`
	Kind     providers.Kind `json:"kind,omitempty"`
}

// listening returns what is true of the balancer in the folder now. Without a live process it is stopped; the rest is then
// the process's last word.
func listening(dir string) (balancerState, error) {
	var s balancerState
	b, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	held, aliveErr := aliveHeld(dir)
	switch {
	case aliveErr != nil:
		return s, aliveErr
	case !held:
		s.Phase = stopped
		return s, nil // what is written may be missing, or damaged by the end of the host
	case os.IsNotExist(err):
		s.Phase = booting // it is just writing it
		return s, nil
	case err != nil:
		return s, fmt.Errorf("read %s/state.json: %w", dir, err)
	}
	return s, nil
}

// start starts the balancer's process and waits until it listens.
func (b balancers) start(ctx context.Context, r *balancerRecord) error {
	dir := b.dir(r)
	if err := b.halt(ctx, r); err != nil { // what its death may have left is gone then
		return err
	}
	if err := touch(filepath.Join(dir, "alive")); err != nil {
		return err
	}
	if err := errors.Join(b.p.launch(ctx, balancerStarterName, r.Program, r.Spec.Key(), dir), b.p.step(ctx)); err != nil {
		return err
	}
	return b.follow(ctx, r, true)
}

// follow waits until the balancer's process does what the record says. If it was not just started there may be none: the
// balancer is Partial then, and Create starts it.
func (b balancers) follow(ctx context.Context, r *balancerRecord, started bool) error {
	ctx, cancel := context.WithTimeout(ctx, balancerLimit)
	defer cancel()
	for {
		now, err := listening(b.dir(r))
		switch {
		case err != nil:
			return err
		case now.Phase == stopped && !started:
			return nil
		case now.Phase == stopped && now.Error != "":
			return fmt.Errorf("%w: %s", now.Kind, strings.TrimPrefix(now.Error, string(now.Kind)+": "))
		case now.Phase == stopped:
			return fail(providers.Unavailable, "its process ended while it began; see %s", logOf(b.dir(r)))
		case now.Phase == running && now.Revision == r.Revision:
			return nil
		}
		select {
		case <-ctx.Done():
			return fail(providers.Unavailable, "its process does not follow: %w", ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// halt ends the balancer's process and removes its link.
func (b balancers) halt(ctx context.Context, r *balancerRecord) error {
	for {
		now, err := listening(b.dir(r))
		if err != nil {
			return err
		}
		if err := now.Process.signal(unix.SIGKILL); err != nil {
			return err
		}
		if !now.Process.ended(ctx, 10*time.Second) {
			return fail(providers.Unavailable, "its process %d does not end", now.Process.PID)
		}
		if held, err := aliveHeld(b.dir(r)); err != nil || !held {
			return errors.Join(err, b.unplug(r))
		}
		if err := ctx.Err(); err != nil { // one is still coming up whose starter was killed: it is ended too
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// unplug removes the balancer's port of the bridge: the kernel takes its time to do that after the process has ended.
func (b balancers) unplug(r *balancerRecord) error {
	if !mounted(r.Netns) {
		return nil
	}
	return within(r.Netns, func(h *netlink.Handle) error {
		l, err := h.LinkByName(portName(r.Address))
		if err != nil {
			return nil
		}
		if err := h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
		return nil
	})
}

// A balancer is the process that forwards.
type balancer struct {
	p     *Provider
	key   providers.Key
	dir   string
	log   *logFile
	state balancerState
	does  *forwarder.Forwarder
}

// balancerMain is the balancer's process, which has a network namespace of its own. Its arguments are folder, owner and
// name.
func balancerMain(args []string) int {
	debug.SetGCPercent(50)
	if len(args) != 3 {
		return complain(errors.New("usage: " + balancerName + " FOLDER OWNER NAME"))
	}
	p := New(Options{Folder: args[0]})
	b := &balancer{p: p, key: providers.Key{Owner: providers.Owner(args[1]), Name: args[2]}}
	b.dir = p.dir(providers.BalancerNoun, b.key)
	alive, err := holdAlive(b.dir)
	if err != nil {
		return complain(err)
	}
	defer alive.Close()
	me, err := identify(os.Getpid())
	if err != nil {
		return complain(err)
	}
	b.state = balancerState{Process: me, Phase: booting}
	if err := b.save(); err != nil {
		return complain(err)
	}
	ready := os.NewFile(3, "ready")
	fmt.Fprint(ready, "ready")
	ready.Close()
	return b.run()
}

func (b *balancer) save() error { return writeJSON(filepath.Join(b.dir, "state.json"), b.state) }

// run forwards until the process is ended, or has nothing to forward by any more.
func (b *balancer) run() int {
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	err := b.setUp()
	if err == nil {
		err = b.obey()
	}
	b.state.Phase, b.state.Error, b.state.Kind = stopped, err.Error(), providers.KindOf(kinded(err))
	return complain(errors.Join(err, b.save()))
}

// setUp leaves the control groups of whoever made the balancer, connects it to its network, and listens.
func (b *balancer) setUp() error {
	var err error
	if b.log, err = openLog(logOf(b.dir)); err != nil {
		return err
	}
	g, err := b.p.group(b.key)
	if err != nil {
		return err
	}
	if err := errors.Join(g.supervisors().make(), g.supervisors().join()); err != nil {
		return err
	}
	r, err := load[providers.LoadBalancerSpec](b.dir)
	if err != nil || r == nil {
		return errors.Join(err, errors.New("it has no record"))
	}
	b.state.Revision = r.Revision
	if err := plug(r.Netns, r.Address, os.Getpid()); err != nil {
		return err
	}
	if err := connect(fmt.Sprintf("%s/%d", r.Address, r.CIDR.Bits()), gateway(r.CIDR).String()); err != nil {
		return err
	}
	b.does = forwarder.New(r.Address, func(format string, args ...any) {
		fmt.Fprintf(b.log.in, "%s %s\n", time.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
	})
	return b.apply(r)
}

// obey does what the record says, whenever it changes, as long as the balancer has its link.
func (b *balancer) obey() error {
	var err error
	for range watchFolders(b.dir) {
		if _, err = netlink.LinkByName("eth0"); err != nil {
			return fmt.Errorf("its link is gone: %w", err)
		}
		r, loadErr := load[providers.LoadBalancerSpec](b.dir)
		if err = loadErr; err != nil || r == nil || r.Deleting {
			return errors.Join(err, errors.New("it is deleted"))
		}
		if r.Revision != b.state.Revision {
			if err = b.apply(r); err != nil {
				return err
			}
		}
	}
	return errors.New("it has seen all") // never: watching does not end
}

// apply does what the record says and says so.
func (b *balancer) apply(r *balancerRecord) error {
	c := forwarder.Config{Ports: r.Spec.Ports, Sources: r.Spec.Sources}
	for _, t := range r.Spec.Targets {
		m, err := byID[providers.MachineSpec](b.p, providers.MachineNoun, t)
		if err != nil {
			return err
		}
		if m != nil && m.Address != (netip.Addr{}) {
			c.Targets = append(c.Targets, m.Address)
		}
	}
	if err := b.does.Apply(c); err != nil {
		return err
	}
	b.state.Phase, b.state.Revision = running, r.Revision
	return b.save()
}
