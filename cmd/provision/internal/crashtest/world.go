package crashtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// A World is what the vendor has: by "machine demo/demo-cp-0" how the object is, without what differs between two objects
// that are made alike (IDs, addresses, host keys), and how many objects of that name there ever were.
type World struct {
	Objects map[string]string
	Births  map[string]int
}

// World reads what the vendor has of all owners.
func (s *Site) World(owners ...providers.Owner) (World, error) {
	w := World{map[string]string{}, map[string]int{}}
	f, err := fake.Open(s.Vendor(), fake.Options{})
	if err != nil {
		return w, err
	}
	ctx := context.Background()
	for _, o := range owners {
		err := take(&w, providers.NetworkNoun, o, f.Networks().List, func(n providers.Network) any { n.Meta = plain(n.Meta); return n })
		if err == nil {
			err = take(&w, providers.MachineNoun, o, f.Machines().List, plainMachine)
		}
		if err == nil {
			err = take(&w, providers.BalancerNoun, o, f.LoadBalancers().List, plainBalancer)
		}
		if err == nil {
			err = take(&w, providers.VolumeNoun, o, f.Volumes().List, plainVolume)
		}
		if err == nil {
			err = take(&w, providers.SnapshotNoun, o, f.Volumes().Snapshots().List, func(n providers.Snapshot) any {
				n.Meta, n.Volume = plain(n.Meta), ""
				return n
			})
		}
		if err != nil {
			return w, fmt.Errorf("list what %s has: %w: %w", o, err, ctx.Err())
		}
	}
	return w, nil
}

func take[O providers.Identified](w *World, noun providers.Noun, owner providers.Owner, list func(context.Context, providers.Owner) ([]O, error), plain func(O) any) error {
	all, err := list(context.Background(), owner)
	if err != nil {
		return err
	}
	for _, o := range all {
		key := fmt.Sprintf("%s %s/%s", noun, owner, o.GetMeta().Name)
		for _, twice := w.Objects[key]; twice; _, twice = w.Objects[key] {
			key += " again"
		}
		b, err := json.Marshal(plain(o))
		if err != nil {
			return err
		}
		w.Objects[key] = string(b)
		id := string(o.GetMeta().ID)
		w.Births[key], _ = strconv.Atoi(id[strings.LastIndexByte(id, '.')+1:])
	}
	return nil
}

// plain leaves out what differs between two objects made alike: the ID, and the UID of the cluster, which is random.
func plain(m providers.Meta) providers.Meta {
	m.ID = ""
	m.Tags = maps.Clone(m.Tags)
	for k := range m.Tags {
		if strings.HasSuffix(k, "/uid") || k == providers.GenerationTag {
			m.Tags[k] = "*"
		}
	}
	return m
}

func plainMachine(m providers.Machine) any {
	m.Meta, m.Network, m.Zone, m.NodeID, m.HostKeys = plain(m.Meta), "", "", "", nil
	m.Private, m.Public = providers.Machine{}.Private, providers.Machine{}.Public
	return m
}

func plainBalancer(b providers.LoadBalancer) any {
	b.Meta, b.Network, b.Address, b.Hostname = plain(b.Meta), "", providers.LoadBalancer{}.Address, ""
	for i := range b.Targets {
		b.Targets[i] = "*"
	}
	return b
}

func plainVolume(v providers.Volume) any {
	v.Meta = plain(v.Meta)
	if v.Machine != "" {
		v.Machine = "*"
	}
	v.Snapshot = ""
	return v
}

// A Difference is how a world is not as it should be.
type Difference struct {
	Missing, Orphans, Changed, Twice []string
}

// None says that there is none.
func (d Difference) None() bool {
	return len(d.Missing)+len(d.Orphans)+len(d.Changed)+len(d.Twice) == 0
}

// String lists it, a line each.
func (d Difference) String() string {
	var b strings.Builder
	for _, s := range []struct {
		what string
		of   []string
	}{{"missing", d.Missing}, {"orphan", d.Orphans}, {"changed", d.Changed}, {"made twice", d.Twice}} {
		for _, o := range s.of {
			fmt.Fprintf(&b, "%s: %s\n", s.what, o)
		}
	}
	return b.String()
}

// Compare says how the world differs from what it should be. An object is made twice if there were more of its name over
// time than in the world that it should be.
func (w World) Compare(want World) Difference {
	var d Difference
	for _, k := range slices.Sorted(maps.Keys(want.Objects)) {
		have, ok := w.Objects[k]
		switch {
		case !ok:
			d.Missing = append(d.Missing, k)
		case have != want.Objects[k]:
			d.Changed = append(d.Changed, fmt.Sprintf("%s\n  is     %s\n  should %s", k, have, want.Objects[k]))
		}
		if w.Births[k] > want.Births[k] {
			d.Twice = append(d.Twice, fmt.Sprintf("%s: %d of %d", k, w.Births[k], want.Births[k]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(w.Objects)) {
		if _, ok := want.Objects[k]; !ok {
			d.Orphans = append(d.Orphans, k)
		}
	}
	return d
}
