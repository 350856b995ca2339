package providertest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// A broken provider breaks one rule, that of the case of its name.
type broken struct {
	rule    string
	options fake.Options
	spoil   func(*Fixture, *patched)
}

// brokenOwner is the Owner of the fixtures of broken providers.
const brokenOwner = providers.Owner("ptbroken")

func (b broken) fixture() Fixture {
	f := fake.New(b.options)
	p := patch(f)
	fixture := Fixture{
		Provider: p,
		Owner:    brokenOwner,
		Stop:     f.Stop,
		Writes:   f.Writes,
		Strip: func(ctx context.Context, _ providers.Noun, id providers.ID, tags ...string) error {
			return f.Strip(ctx, id, tags...)
		},
		Usable: func(context.Context, providers.Machine) error { return nil },
	}
	if strings.Contains(b.rule, "/cut-") {
		fixture.Cut = cutOf(f)
	}
	b.spoil(&fixture, p)
	return fixture
}

func cutOf(f *fake.Fake) func(int) func() bool {
	return func(n int) func() bool {
		before := f.Writes()
		f.SetFaults([]fake.Fault{
			{Verb: providers.CreateVerb, Partial: n, Error: providers.Unavailable},
			{Verb: providers.DeleteVerb, Partial: n, Error: providers.Unavailable},
			{Verb: providers.UpdateVerb, Partial: n, Error: providers.Unavailable},
		})
		return func() bool {
			f.SetFaults(nil)
			return f.Writes()-before == n
		}
	}
}

// TestEachBrokenRuleIsFound is the proof that the suite can fail: every rule is broken by somebody, and found by its own
// case and no other.
func TestEachBrokenRuleIsFound(t *testing.T) {
	all := everyBroken()
	rules := map[string]bool{}
	for _, b := range all {
		rules[b.rule] = true
		t.Run(b.rule, func(t *testing.T) {
			t.Parallel()
			s := newSuite(b.fixture())
			found := map[string]error{}
			for _, c := range Cases() {
				if !s.has(c) {
					continue
				}
				if err := s.try(t.Context(), c); err != nil && !errors.Is(err, errUnmet) {
					found[c.Name] = err
				}
			}
			if found[b.rule] == nil {
				t.Errorf("nobody noticed")
			}
			delete(found, b.rule)
			for _, name := range slices.Sorted(maps.Keys(found)) {
				t.Errorf("%s failed too: %v", name, found[name])
			}
		})
	}
	for _, c := range Cases() {
		if !rules[c.Name] {
			t.Errorf("no broken provider breaks the rule of %s", c.Name)
		}
		delete(rules, c.Name)
		if !strings.Contains(c.Rule, "must") || !strings.Contains(c.Rule, "because") || !strings.HasSuffix(c.Rule, ".") {
			t.Errorf("the rule of %s does not say what must be and why: %s", c.Name, c.Rule)
		}
	}
	for r := range rules {
		t.Errorf("there is no case %s", r)
	}
}

// TestGoodProviderBreaksNothing is the other half: without a fault nothing is found and nothing left out.
func TestGoodProviderBreaksNothing(t *testing.T) {
	s := newSuite(broken{rule: "none/cut-", spoil: func(*Fixture, *patched) {}}.fixture())
	for _, c := range Cases() {
		if !s.has(c) {
			continue
		}
		if err := s.try(t.Context(), c); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	if err := s.clean(t.Context()); err != nil {
		t.Error(err)
	}
}

func everyBroken() []broken {
	all := slices.Concat(
		brokenKind(providers.NetworkNoun, (*patched).twistNetworks, func(p *patched) providers.Objects[providers.NetworkSpec, providers.Network] { return p.networks },
			fields[providers.NetworkSpec, providers.Network]{
				edit:  networksOf(&suite{}).edit,
				meta:  func(n *providers.Network) *providers.Meta { return &n.Meta },
				asked: func(n *providers.Network) { n.Allow = nil },
				plain: func(n *providers.Network) { n.Zones = []string{"a"} },
			}),
		brokenKind(providers.MachineNoun, (*patched).twistMachines, func(p *patched) providers.Objects[providers.MachineSpec, providers.Machine] { return p.machines },
			fields[providers.MachineSpec, providers.Machine]{
				edit:  machinesOf(&suite{}).edit,
				meta:  func(m *providers.Machine) *providers.Meta { return &m.Meta },
				asked: func(m *providers.Machine) { m.Pool = "" },
				plain: func(m *providers.Machine) { m.Image = "another" },
			}),
		brokenKind(providers.BalancerNoun, (*patched).twistBalancers, func(p *patched) providers.Objects[providers.LoadBalancerSpec, providers.LoadBalancer] {
			return p.balancers
		},
			fields[providers.LoadBalancerSpec, providers.LoadBalancer]{
				edit:  balancersOf(&suite{}).edit,
				meta:  func(b *providers.LoadBalancer) *providers.Meta { return &b.Meta },
				asked: func(b *providers.LoadBalancer) { b.Internal = true },
				plain: func(b *providers.LoadBalancer) { b.Hostname = "another" },
			}),
		brokenKind(providers.VolumeNoun, (*patched).twistVolumes, func(p *patched) providers.Objects[providers.VolumeSpec, providers.Volume] { return p.volumes },
			fields[providers.VolumeSpec, providers.Volume]{
				edit:  volumesOf(&suite{}).edit,
				meta:  func(v *providers.Volume) *providers.Meta { return &v.Meta },
				asked: func(v *providers.Volume) { v.Zone = "another" },
				plain: func(v *providers.Volume) { v.Type = "another" },
			}),
		brokenKind(providers.SnapshotNoun, (*patched).twistSnapshots, func(p *patched) providers.Objects[providers.SnapshotSpec, providers.Snapshot] {
			return p.volumes.Snapshots()
		},
			fields[providers.SnapshotSpec, providers.Snapshot]{
				edit:  snapshotsOf(&suite{}).edit,
				meta:  func(n *providers.Snapshot) *providers.Meta { return &n.Meta },
				asked: func(n *providers.Snapshot) { n.Volume = "another" },
				plain: func(n *providers.Snapshot) { n.CreatedUnix++ },
			}),
		brokenProviders(), brokenNetworks(), brokenMachines(), brokenBalancers(), brokenVolumes(), brokenSnapshots(), brokenAccounts(),
	)
	return all
}

// fields are what of a kind is broken without breaking anything else.
type fields[S, O any] struct {
	edit  func(*S) (*providers.Owner, *string, *map[string]string)
	meta  func(*O) *providers.Meta
	asked func(*O) // what the spec asked for
	plain func(*O) // what it did not
}

// A breaker makes a broken provider of a way to replace verbs of one kind.
type breaker[S, O any] func(rule string, replace func(next providers.Objects[S, O], x *Fixture) twist[S, O]) broken

// brokenKind breaks the rules that every kind has.
func brokenKind[S providers.Described, O providers.Identified](n providers.Noun, apply func(*patched, twist[S, O]),
	of func(*patched) providers.Objects[S, O], f fields[S, O]) []broken {
	b := func(name string, replace func(next providers.Objects[S, O], x *Fixture) twist[S, O]) broken {
		return broken{rule: string(n) + "/" + name, spoil: func(x *Fixture, p *patched) { apply(p, replace(of(p), x)) }}
	}
	return slices.Concat(brokenAnswers(b, f), brokenCreates(b, f), brokenDeletes(b, f), brokenUpdates(b, f))
}

// brokenAnswers make what they should and tell something else.
func brokenAnswers[S providers.Described, O providers.Identified](b breaker[S, O], f fields[S, O]) []broken {
	type objects = providers.Objects[S, O]
	return []broken{
		b("create", func(objects, *Fixture) twist[S, O] { return twist[S, O]{touch: shared(f.asked)} }),
		b("get", func(next objects, _ *Fixture) twist[S, O] { return twist[S, O]{touch: f.plain, create: next.Create} }),
		b("get-missing", func(next objects, _ *Fixture) twist[S, O] {
			return twist[S, O]{get: func(ctx context.Context, id providers.ID) (O, error) {
				o, err := next.Get(ctx, id)
				if err != nil && ctx.Err() == nil {
					err = errors.New("no such thing")
				}
				return o, err
			}}
		}),
		b("list", func(next objects, _ *Fixture) twist[S, O] {
			return twist[S, O]{list: func(ctx context.Context, owner providers.Owner) ([]O, error) {
				all, err := next.List(ctx, owner)
				for i := range all {
					f.plain(&all[i])
				}
				return all, err
			}}
		}),
		b("sorted", func(next objects, _ *Fixture) twist[S, O] {
			return twist[S, O]{list: func(ctx context.Context, owner providers.Owner) ([]O, error) {
				all, err := next.List(ctx, owner)
				slices.Reverse(all)
				return all, err
			}}
		}),
		b("owners", func(next objects, _ *Fixture) twist[S, O] { return twist[S, O]{list: listAll(next)} }),
		b("tags", func(objects, *Fixture) twist[S, O] {
			return twist[S, O]{touch: shared(func(o *O) { delete(f.meta(o).Tags, "stage") })}
		}),
		b("copies", func(next objects, _ *Fixture) twist[S, O] {
			var kept sync.Map
			return twist[S, O]{get: func(ctx context.Context, id providers.ID) (O, error) {
				o, err := next.Get(ctx, id)
				if err != nil || o.GetMeta().Name != "b-shared" {
					return o, err
				}
				first, _ := kept.LoadOrStore(id, o)
				return first.(O), nil
			}}
		}),
		b("arguments", func(next objects, _ *Fixture) twist[S, O] {
			var kept sync.Map
			return twist[S, O]{
				create: func(ctx context.Context, s S) (O, error) {
					o, err := next.Create(ctx, s)
					if _, _, tags := f.edit(&s); err == nil {
						kept.Store(o.GetMeta().ID, *tags)
					}
					return o, err
				},
				touch: func(o *O) {
					if tags, there := kept.Load((*o).GetMeta().ID); there && strings.HasPrefix((*o).GetMeta().Name, "b-") {
						f.meta(o).Tags = maps.Clone(tags.(map[string]string))
					}
				},
			}
		}),
	}
}

// shared touches only the objects that no case deletes.
func shared[O providers.Identified](touch func(*O)) func(*O) {
	return func(o *O) {
		if (*o).GetMeta().Name == "b-shared" {
			touch(o)
		}
	}
}

// brokenCreates make something else than they should.
func brokenCreates[S providers.Described, O providers.Identified](b breaker[S, O], f fields[S, O]) []broken {
	type objects = providers.Objects[S, O]
	return []broken{
		b("exists", func(next objects, _ *Fixture) twist[S, O] {
			return twist[S, O]{create: func(ctx context.Context, s S) (O, error) {
				o, err := next.Create(ctx, s)
				if errors.Is(err, providers.Exists) && s.Key().Name == "b-shared" {
					err = nil
				}
				return o, err
			}}
		}),
		b("exists-at-once", func(next objects, _ *Fixture) twist[S, O] {
			return twist[S, O]{create: func(ctx context.Context, s S) (O, error) {
				o, err := next.Create(ctx, s)
				if errors.Is(err, providers.Exists) && strings.HasPrefix(s.Key().Name, "n-twice") {
					f.meta(&o).ID += "-2"
				}
				return o, err
			}}
		}),
		b("exists-unchanged", func(next objects, _ *Fixture) twist[S, O] { return retags(next, f) }),
		b("unchanged-by-exists", func(next objects, x *Fixture) twist[S, O] {
			var extra atomic.Int64
			writes := x.Writes
			x.Writes = func() int { return writes() + int(extra.Load()) }
			return twist[S, O]{create: func(ctx context.Context, s S) (O, error) {
				o, err := next.Create(ctx, s)
				if errors.Is(err, providers.Exists) {
					extra.Add(1)
				}
				return o, err
			}}
		}),
		b("names", func(next objects, _ *Fixture) twist[S, O] {
			return twist[S, O]{create: func(ctx context.Context, s S) (O, error) {
				if owner, name, _ := f.edit(&s); s.Key().Validate(0) != nil {
					*owner, *name = brokenOwner+"a", "mended"
				}
				return next.Create(ctx, s)
			}}
		}),
		b("concurrent", func(next objects, _ *Fixture) twist[S, O] {
			var busy sync.Map
			return twist[S, O]{create: func(ctx context.Context, s S) (o O, err error) {
				if _, there := busy.LoadOrStore(s.Key(), true); there {
					return o, providers.Conflict
				}
				defer busy.Delete(s.Key())
				time.Sleep(time.Millisecond)
				return next.Create(ctx, s)
			}}
		}),
		b("cancelled", func(next objects, _ *Fixture) twist[S, O] {
			return twist[S, O]{create: func(ctx context.Context, s S) (O, error) {
				return next.Create(context.WithoutCancel(ctx), s)
			}}
		}),
		b("id-not-reused", func(next objects, _ *Fixture) twist[S, O] {
			var first sync.Map
			return twist[S, O]{create: func(ctx context.Context, s S) (O, error) {
				o, err := next.Create(ctx, s)
				if err == nil {
					id, _ := first.LoadOrStore(s.Key(), o.GetMeta().ID)
					f.meta(&o).ID = id.(providers.ID)
				}
				return o, err
			}}
		}),
		b("cut-create", func(next objects, _ *Fixture) twist[S, O] {
			var failed sync.Map
			return twist[S, O]{create: func(ctx context.Context, s S) (o O, err error) {
				if _, there := failed.Load(s.Key()); there {
					return o, providers.Denied
				}
				if o, err = next.Create(ctx, s); errors.Is(err, providers.Unavailable) {
					failed.Store(s.Key(), true)
				}
				return o, err
			}}
		}),
	}
}

// brokenDeletes delete something else than they should.
func brokenDeletes[S providers.Described, O providers.Identified](b breaker[S, O], _ fields[S, O]) []broken {
	type objects = providers.Objects[S, O]
	return []broken{
		b("delete", func(next objects, _ *Fixture) twist[S, O] { return ghosts(next) }),
		b("delete-again", func(next objects, _ *Fixture) twist[S, O] {
			return twist[S, O]{del: func(ctx context.Context, id providers.ID) error {
				if _, err := next.Get(ctx, id); err != nil {
					return err
				}
				return next.Delete(ctx, id)
			}}
		}),
		b("cut-delete", func(next objects, _ *Fixture) twist[S, O] {
			var failed sync.Map
			return twist[S, O]{del: func(ctx context.Context, id providers.ID) error {
				if _, there := failed.Load(id); there && !strings.Contains(string(id), "g-cut") {
					return providers.Denied
				}
				err := next.Delete(ctx, id)
				if errors.Is(err, providers.Unavailable) {
					failed.Store(id, true)
				}
				return err
			}}
		}),
	}
}

// listAll lists the objects of both owners.
func listAll[S any, O providers.Identified](next providers.Objects[S, O]) func(context.Context, providers.Owner) ([]O, error) {
	return func(ctx context.Context, owner providers.Owner) ([]O, error) {
		a, err := next.List(ctx, brokenOwner+"a")
		if err != nil {
			return nil, err
		}
		b, err := next.List(ctx, brokenOwner+"b")
		all := append(a, b...)
		slices.SortFunc(all, func(x, y O) int { return strings.Compare(x.GetMeta().Name, y.GetMeta().Name) })
		return all, err
	}
}

// retags lets a Create of what exists replace its tags.
func retags[S providers.Described, O providers.Identified](next providers.Objects[S, O], f fields[S, O]) twist[S, O] {
	var mu sync.Mutex
	changed := map[providers.ID]map[string]string{}
	return twist[S, O]{
		create: func(ctx context.Context, s S) (O, error) {
			o, err := next.Create(ctx, s)
			if _, _, tags := f.edit(&s); errors.Is(err, providers.Exists) && s.Key().Name == "b-shared" {
				mu.Lock()
				defer mu.Unlock()
				changed[o.GetMeta().ID] = maps.Clone(*tags)
			}
			return o, err
		},
		touch: func(o *O) {
			mu.Lock()
			defer mu.Unlock()
			if tags, there := changed[(*o).GetMeta().ID]; there {
				f.meta(o).Tags = maps.Clone(tags)
			}
		},
	}
}

// ghosts lets Get find what was deleted.
func ghosts[S any, O providers.Identified](next providers.Objects[S, O]) twist[S, O] {
	var gone sync.Map
	return twist[S, O]{
		del: func(ctx context.Context, id providers.ID) error {
			o, err := next.Get(ctx, id)
			if err == nil {
				gone.Store(id, o)
			}
			return next.Delete(ctx, id)
		},
		get: func(ctx context.Context, id providers.ID) (O, error) {
			o, err := next.Get(ctx, id)
			if ghost, there := gone.Load(id); err != nil && there {
				return ghost.(O), nil
			}
			return o, err
		},
	}
}
