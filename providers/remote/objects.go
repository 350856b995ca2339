package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/provisionhq/provision/providers"
)

// objects is one kind of things at the plug-in's vendor.
type objects[S providers.Described, O providers.Identified] struct {
	p     *Provider
	noun  providers.Noun
	check func(O) error // what every object of the kind must be, beyond its Meta
}

func (k objects[S, O]) Create(ctx context.Context, spec S) (O, error) {
	var o O
	q := question{Noun: k.noun, Verb: providers.CreateVerb}
	if err := q.with(spec); err != nil {
		return o, err
	}
	var a answer[O]
	if err := k.p.ask(ctx, q, &a); err != nil {
		return o, err
	}
	var theirs error
	if a.Error != nil {
		if theirs = k.p.theirs(q, a.Error); !errors.Is(theirs, providers.Exists) {
			return o, theirs
		}
	}
	o, err := k.checked(q, a.Result, made(spec.Key()))
	if err != nil {
		return o, err
	}
	return o, theirs
}

func (k objects[S, O]) Get(ctx context.Context, id providers.ID) (O, error) {
	return k.one(ctx, question{Noun: k.noun, Verb: providers.GetVerb, ID: id}, bears(id))
}

func (k objects[S, O]) List(ctx context.Context, owner providers.Owner) ([]O, error) {
	q := question{Noun: k.noun, Verb: providers.ListVerb, Owner: owner}
	all, err := listed[O](ctx, k.p, q)
	if err != nil {
		return nil, err
	}
	seen, last := map[providers.ID]bool{}, ""
	for _, o := range all {
		m := o.GetMeta()
		err := errors.Join(checkMeta(m), k.check(o))
		switch {
		case err != nil:
		case m.Owner != owner:
			err = fmt.Errorf("it belongs to %q", m.Owner)
		case seen[m.ID]:
			err = fmt.Errorf("its ID %s is there twice", m.ID)
		case m.Name < last:
			err = fmt.Errorf("it comes after %q: the list is not sorted by name", last)
		}
		if err != nil {
			return nil, k.p.bug(q, "listed a %s %q that cannot be: %v", k.noun, m.Name, err)
		}
		seen[m.ID], last = true, m.Name
	}
	return all, nil
}

func (k objects[S, O]) Delete(ctx context.Context, id providers.ID) error {
	return k.p.none(ctx, question{Noun: k.noun, Verb: providers.DeleteVerb, ID: id})
}

func (k objects[S, O]) Update(ctx context.Context, id providers.ID, spec S) (O, error) {
	q := question{Noun: k.noun, Verb: providers.UpdateVerb, ID: id}
	if err := q.with(spec); err != nil {
		var o O
		return o, err
	}
	key := spec.Key()
	return k.one(ctx, q, func(m providers.Meta) error { return errors.Join(bears(id)(m), belongs(key)(m)) })
}

// one makes a call that returns one object.
func (k objects[S, O]) one(ctx context.Context, q question, ok func(providers.Meta) error) (o O, err error) {
	var a answer[O]
	if err := k.p.ask(ctx, q, &a); err != nil {
		return o, err
	}
	if a.Error != nil {
		return o, k.p.theirs(q, a.Error)
	}
	return k.checked(q, a.Result, ok)
}

// listed makes a call that returns a list.
func listed[O any](ctx context.Context, p *Provider, q question) ([]O, error) {
	var a answer[[]O]
	err := p.ask(ctx, q, &a)
	switch {
	case err != nil:
		return nil, err
	case a.Error != nil:
		return nil, p.theirs(q, a.Error)
	case a.Result == nil:
		return nil, p.bug(q, "answered with nothing: there is no result")
	}
	return *a.Result, nil
}

// none makes a call that returns nothing.
func (p *Provider) none(ctx context.Context, q question) error {
	var a answer[any]
	err := p.ask(ctx, q, &a)
	if err == nil && a.Error != nil {
		err = p.theirs(q, a.Error)
	}
	return err
}

// with adds a spec.
func (q *question) with(spec any) (err error) {
	if q.Spec, err = json.Marshal(spec); err != nil {
		return fmt.Errorf("spec of a %s: %w: %w", q.Noun, providers.Invalid, err)
	}
	return nil
}

// checked returns the object that a plug-in answered with, or the fault of one that cannot be.
func (k objects[S, O]) checked(q question, result *O, ok func(providers.Meta) error) (O, error) {
	var none O
	if result == nil {
		return none, k.p.bug(q, "answered with nothing: there is no result")
	}
	m := (*result).GetMeta()
	if err := errors.Join(checkMeta(m), ok(m), k.check(*result)); err != nil {
		return none, k.p.bug(q, "answered with a %s that cannot be: %v", k.noun, err)
	}
	return *result, nil
}

type machines struct {
	objects[providers.MachineSpec, providers.Machine]
}

func (m machines) Types(ctx context.Context) ([]providers.MachineType, error) {
	q := question{Noun: providers.MachineNoun, Verb: providers.TypesVerb}
	all, err := listed[providers.MachineType](ctx, m.p, q)
	if err != nil {
		return nil, err
	}
	last := ""
	for _, t := range all {
		if err := checkType(t); err != nil || t.Name <= last {
			return nil, m.p.bug(q, "listed a machine type %q that cannot be, or is not in order of names: %v", t.Name, err)
		}
		last = t.Name
	}
	return all, nil
}

type volumes struct {
	objects[providers.VolumeSpec, providers.Volume]
}

func (v volumes) Attach(ctx context.Context, volume, machine providers.ID) (providers.Volume, error) {
	q := question{Noun: providers.VolumeNoun, Verb: providers.AttachVerb, ID: volume, Machine: machine}
	got, err := v.one(ctx, q, bears(volume))
	if err == nil && (got.Machine != machine || got.Device == "") {
		return providers.Volume{}, v.p.bug(q, "attached the volume to %q as device %q", got.Machine, got.Device)
	}
	return got, err
}

func (v volumes) Detach(ctx context.Context, volume, machine providers.ID) error {
	return v.p.none(ctx, question{Noun: providers.VolumeNoun, Verb: providers.DetachVerb, ID: volume, Machine: machine})
}

func (v volumes) Resize(ctx context.Context, volume providers.ID, sizeGiB int) (providers.Volume, error) {
	q := question{Noun: providers.VolumeNoun, Verb: providers.ResizeVerb, ID: volume, SizeGiB: sizeGiB}
	got, err := v.one(ctx, q, bears(volume))
	if err == nil && got.SizeGiB < sizeGiB {
		return providers.Volume{}, v.p.bug(q, "made the volume %d GiB large, asked for %d", got.SizeGiB, sizeGiB)
	}
	return got, err
}

func (v volumes) Snapshots() providers.Objects[providers.SnapshotSpec, providers.Snapshot] {
	if !v.p.caps.Snapshots {
		return providers.NoSnapshots{}
	}
	return objects[providers.SnapshotSpec, providers.Snapshot]{v.p, providers.SnapshotNoun, checkSnapshot}
}
