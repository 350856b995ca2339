package gcp

import (
	"context"
	"errors"
	"sync"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/google/uuid"
	"google.golang.org/api/iterator"

	"github.com/provisionhq/provision/providers"
)

// calls is how often a request is made when Google refuses it as too many.
const calls = 8

// calm makes a request, and again, after growing pauses, as long as Google refuses it as too many. Nothing else is made again: a
// request whose outcome is not known is repeated only by who looks first at what it made.
func (p *Provider) calm(ctx context.Context, call func() error) error {
	var d time.Duration
	for n := 1; ; n++ {
		err := call()
		if kindOf(err) != providers.Throttled || n == calls {
			return err
		}
		if after := retryAfter(err); after > d {
			d = min(after, 20*time.Second)
		}
		if err := p.pause(ctx, &d); err != nil {
			return err
		}
	}
}

// get reads one thing.
func get[T any](ctx context.Context, p *Provider, call func() (T, error)) (v T, err error) {
	err = p.calm(ctx, func() (err error) { v, err = call(); return err })
	if err == nil {
		err = ctx.Err()
	}
	return v, err
}

// collect returns what is on all pages.
func collect[T any](ctx context.Context, p *Provider, list func() func() (T, error)) (all []T, err error) {
	if err := ctx.Err(); err != nil { // some of the client's iterators say that there is nothing
		return nil, err
	}
	err = p.calm(ctx, func() error {
		all = nil
		for next := list(); ; {
			v, err := next()
			if errors.Is(err, iterator.Done) {
				return nil
			}
			if err != nil {
				return err
			}
			all = append(all, v)
		}
	})
	if err == nil {
		err = ctx.Err()
	}
	return all, err
}

// do makes a change and waits until Google has done it. A thing that is still being worked on is waited for. The request's ID
// is one for all tries, so that Google makes the change once.
func (p *Provider) do(ctx context.Context, call func(request *string) (*compute.Operation, error)) error {
	id := ptr(uuid.NewString())
	var d time.Duration
	for end := time.Now().Add(p.o.Patience); ; {
		var op *compute.Operation
		err := ctx.Err()
		if err == nil {
			err = p.calm(ctx, func() (err error) { op, err = call(id); return err })
		}
		if err == nil {
			err = p.finish(ctx, op.Proto())
		}
		if !is(err, "resourceNotReady", "RESOURCE_NOT_READY") || time.Now().After(end) {
			return err
		}
		id = ptr(uuid.NewString()) // the refusal is what Google would repeat
		if err := p.pause(ctx, &d); err != nil {
			return err
		}
	}
}

// finish waits for the end of an operation. Google holds the request until then, for two minutes at most.
func (p *Provider) finish(ctx context.Context, op *computepb.Operation) error {
	for end := time.Now().Add(p.o.Patience); op.GetStatus() != computepb.Operation_DONE; {
		if time.Now().After(end) {
			return fail(providers.Unavailable, "operation %s is not done after %s", op.GetName(), p.o.Patience)
		}
		var err error
		if op, err = get(ctx, p, func() (*computepb.Operation, error) { return p.api.await(ctx, p.o.Project, op) }); err != nil {
			return err
		}
	}
	if errs := op.GetError().GetErrors(); len(errs) > 0 {
		return &Refusal{Code: errs[0].GetCode(), Message: errs[0].GetMessage(), Operation: op.GetName(), status: int(op.GetHttpErrorStatusCode())}
	}
	return nil
}

// await asks for an operation where it is.
func (c *clients) await(ctx context.Context, project string, op *computepb.Operation) (*computepb.Operation, error) {
	switch {
	case op.GetZone() != "":
		return c.zonal.Wait(ctx, &computepb.WaitZoneOperationRequest{Project: project, Zone: last(op.GetZone()), Operation: op.GetName()})
	case op.GetRegion() != "":
		return c.regional.Wait(ctx, &computepb.WaitRegionOperationRequest{Project: project, Region: last(op.GetRegion()), Operation: op.GetName()})
	}
	return c.global.Wait(ctx, &computepb.WaitGlobalOperationRequest{Project: project, Operation: op.GetName()})
}

// pause waits, a little longer each time.
func (p *Provider) pause(ctx context.Context, d *time.Duration) error {
	if *d == 0 {
		*d = p.o.Pace
	} else {
		*d = min(*d*3/2, max(*d, 10*p.o.Pace))
	}
	t := time.NewTimer(*d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// wait looks until it is done, the patience ends or a look fails. what is said when it takes too long.
func (p *Provider) wait(ctx context.Context, what string, done func() (bool, error)) error {
	var d time.Duration
	for end := time.Now().Add(p.o.Patience); ; {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fail(providers.Unavailable, "%s after %s", what, p.o.Patience)
		}
		if err := p.pause(ctx, &d); err != nil {
			return err
		}
	}
}

// soon reads something that is there again as long as Google's readers do not see it.
func soon[T any](ctx context.Context, p *Provider, read func() (T, error)) (v T, err error) {
	var d time.Duration
	for end := time.Now().Add(p.o.Lag); ; {
		v, err := read()
		if !gone(err) || time.Now().After(end) {
			return v, err
		}
		if err := p.pause(ctx, &d); err != nil {
			return v, err
		}
	}
}

// fresh changes a thing by its fingerprint: read and change again if another was faster.
func (p *Provider) fresh(ctx context.Context, change func() error) error {
	var d time.Duration
	for n := 1; ; n++ {
		err := change()
		if !stale(err) || n == calls {
			return err
		}
		if err := p.pause(ctx, &d); err != nil {
			return err
		}
	}
}

// vanished waits until Google's readers no longer see a thing.
func vanished[T any](ctx context.Context, p *Provider, what string, read func() (T, error)) error {
	return p.wait(ctx, what+" is still there", func() (bool, error) {
		_, err := read()
		return gone(err), ignoring(err)
	})
}

// together makes calls at the same time, and waits for all.
func together(calls ...func() error) error {
	errs := make([]error, len(calls))
	var wg sync.WaitGroup
	for i, c := range calls {
		wg.Go(func() { errs[i] = c() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// mine returns why an Update of the thing with a spec of that key must not be.
func mine(m providers.Meta, k providers.Key) error {
	if m.Owner != "" && m.Owner != k.Owner || m.Name != "" && m.Name != k.Name {
		return fail(providers.Invalid, "it is %s", providers.Key{Owner: m.Owner, Name: m.Name})
	}
	return nil
}

// ours returns why a thing that has the name that one of the key would have is not it.
func ours(m providers.Meta, k providers.Key) error {
	if m.Owner == k.Owner && m.Name == k.Name {
		return nil
	}
	return fail(providers.Conflict, "%s has its name at Google and not its labels: an update of that one gives them back, or delete it", m.ID)
}
