package gcptest

import (
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// real returns what happens outside of the cloud while an operation goes on; nil if nothing does. It returns what is known of the
// thing afterwards, to be done when the operation has had its effect.
func (c *Cloud) real(verb string, t *thing) func() (then func(), err error) {
	if t == nil {
		return nil
	}
	switch t.kind {
	case "subnetworks":
		h := c.options.Hooks
		return simply(verb, networkOf(t), map[string]func(Network) error{"insert": h.MakeNetwork, "delete": h.DropNetwork})
	case "instances":
		return c.realInstance(verb, t)
	case "addresses":
		return c.realAddress(verb, t)
	}
	return nil
}

// simply calls the hook of the verb.
func simply[V any](verb string, v V, hooks map[string]func(V) error) func() (func(), error) {
	hook := hooks[verb]
	if hook == nil {
		return nil
	}
	return func() (func(), error) { return nil, hook(v) }
}

func (c *Cloud) realInstance(verb string, t *thing) func() (func(), error) {
	h, i := c.options.Hooks, c.instanceOf(t)
	switch {
	case verb != "insert" && verb != "start" && verb != "resume":
		return simply(verb, i, map[string]func(Instance) error{"stop": h.Stop, "delete": h.Delete})
	case h.Start == nil || t.body["status"] == "RUNNING":
		return nil
	}
	return func() (func(), error) {
		private, public, err := h.Start(i)
		return func() { address(t, private, public) }, err
	}
}

// address gives an instance the addresses that its machine has.
func address(t *thing, private, public netip.Addr) {
	nic := t.body["networkInterfaces"].([]any)[0].(object)
	if private.IsValid() {
		nic["networkIP"] = private.String()
	}
	configs, _ := nic["accessConfigs"].([]any)
	if public.IsValid() && len(configs) > 0 {
		configs[0].(object)["natIP"] = public.String()
	}
}

func (c *Cloud) realAddress(verb string, t *thing) func() (func(), error) {
	h, r := c.options.Hooks, c.reservationOf(t)
	if verb != "insert" || h.Reserve == nil {
		return simply(verb, r, map[string]func(Reservation) error{"delete": h.Release})
	}
	return func() (func(), error) {
		a, err := h.Reserve(r)
		return func() {
			if a.IsValid() {
				t.body["address"] = a.String()
			}
		}, err
	}
}

// carry brings an operation to its end, with what happens outside of the cloud.
func (c *Cloud) carry(op *operation) {
	time.Sleep(time.Until(op.at))
	var then func()
	var err error
	if op.late == nil && op.real != nil {
		then, err = op.real()
	}
	c.mu.Lock()
	op.fail(err)
	op.take()
	if op.late == nil && then != nil {
		then()
	}
	c.mu.Unlock()
	err = c.settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	op.fail(err)
	op.done()
}

// fail makes the operation one that fails, if there is an error.
func (op *operation) fail(err error) {
	if err != nil && op.late == nil {
		op.late = &fault{status: 500, code: "INTERNAL_ERROR", message: err.Error()}
	}
}

// settle tells the hooks which balancers have changed.
func (c *Cloud) settle() error {
	c.settling.Lock()
	defer c.settling.Unlock()
	c.mu.Lock()
	h, now := c.options.Hooks, map[string]Balancer{}
	for _, t := range c.sorted("forwardingRules") {
		now[t.path()] = c.balancerOf(t)
	}
	c.mu.Unlock()
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(c.forwarded)) {
		if _, there := now[path]; !there && h.Unforward != nil {
			errs = append(errs, h.Unforward(c.forwarded[path]))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(now)) {
		if was, there := c.forwarded[path]; h.Forward != nil && (!there || !reflect.DeepEqual(was, now[path])) {
			errs = append(errs, h.Forward(now[path]))
		}
	}
	c.forwarded = now
	return errors.Join(errs...)
}

// Stopped tells the cloud that the machine behind an instance has stopped by itself.
func (c *Cloud) Stopped(number uint64) error {
	c.mu.Lock()
	for _, t := range c.sorted("instances") {
		if c.instanceOf(t).Number == number {
			t.body["status"] = "TERMINATED"
		}
	}
	c.mu.Unlock()
	return c.settle()
}
