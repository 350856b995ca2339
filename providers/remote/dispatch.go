package remote

import (
	"context"
	"fmt"

	"github.com/provisionhq/provision/providers"
)

// dispatch makes the call that is asked for. The result is nil where there is none.
func dispatch(ctx context.Context, p providers.Provider, q question) (any, error) {
	switch q.Noun {
	case providers.NetworkNoun:
		return dispatchObjects(ctx, p.Networks(), q)
	case providers.MachineNoun:
		if q.Verb == providers.TypesVerb {
			return list(p.Machines().Types(ctx))
		}
		return dispatchObjects(ctx, p.Machines(), q)
	case providers.BalancerNoun:
		return dispatchObjects(ctx, p.LoadBalancers(), q)
	case providers.VolumeNoun:
		return dispatchVolumes(ctx, p.Volumes(), q)
	case providers.SnapshotNoun:
		return dispatchObjects(ctx, p.Volumes().Snapshots(), q)
	case providers.AccountNoun:
		return dispatchAccount(ctx, p.Account(), q)
	}
	return nil, unknownCall(q)
}

func dispatchAccount(ctx context.Context, a providers.Account, q question) (any, error) {
	if q.Verb != providers.CheckVerb {
		return nil, unknownCall(q)
	}
	var need providers.Need
	if err := decode(q.Spec, &need); err != nil {
		return nil, fmt.Errorf("need: %w: %w: the plug-in was built with an older version of provision", providers.Unsupported, err)
	}
	r, err := a.Check(ctx, need)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func dispatchVolumes(ctx context.Context, v providers.Volumes, q question) (any, error) {
	switch q.Verb {
	case providers.AttachVerb:
		return one(v.Attach(ctx, q.ID, q.Machine))
	case providers.DetachVerb:
		return nil, v.Detach(ctx, q.ID, q.Machine)
	case providers.ResizeVerb:
		return one(v.Resize(ctx, q.ID, q.SizeGiB))
	}
	return dispatchObjects(ctx, v, q)
}

// dispatchObjects makes the calls that every kind has.
func dispatchObjects[S providers.Described, O providers.Identified](ctx context.Context, k providers.Objects[S, O], q question) (any, error) {
	switch q.Verb {
	case providers.GetVerb:
		return one(k.Get(ctx, q.ID))
	case providers.ListVerb:
		return list(k.List(ctx, q.Owner))
	case providers.DeleteVerb:
		return nil, k.Delete(ctx, q.ID)
	case providers.CreateVerb, providers.UpdateVerb:
		var spec S
		if err := decode(q.Spec, &spec); err != nil {
			return nil, fmt.Errorf("spec of a %s: %w: %w: the plug-in was built with an older version of provision", q.Noun, providers.Unsupported, err)
		}
		if q.Verb == providers.UpdateVerb {
			return one(k.Update(ctx, q.ID, spec))
		}
		return one(k.Create(ctx, spec))
	}
	return nil, unknownCall(q)
}

func unknownCall(q question) error {
	return fmt.Errorf("%s %s: %w: the plug-in was built with an older version of provision", q.Verb, q.Noun, providers.Unsupported)
}

// one returns the object, or nil if it is the zero value beside an error.
func one[O providers.Identified](o O, err error) (any, error) {
	if err != nil && o.GetMeta().ID == "" {
		return nil, err
	}
	return o, err
}

// list returns the objects, or nil if there is an error; no objects are an empty list.
func list[O any](all []O, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	if all == nil {
		all = []O{}
	}
	return all, nil
}
