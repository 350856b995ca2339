package fake

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// A state is all objects at a moment, with what is needed to find them at once however many there are.
type state struct {
	networks  *table[providers.Network]
	machines  *table[providers.Machine]
	balancers *table[providers.LoadBalancer]
	volumes   *table[providers.Volume]
	snapshots *table[providers.Snapshot]

	users map[providers.ID]map[providers.ID]bool // by what stands on an object
	taken map[place]bool
}

// A place is an address in a network, or a public one if the network is empty.
type place struct {
	network providers.ID
	addr    netip.Addr
}

// links are what an object stands on and takes up.
type links struct {
	on     []providers.ID
	places []place
}

func newState() *state {
	return &state{
		networks: newTable(func(providers.Network) links { return links{} }),
		machines: newTable(func(m providers.Machine) links {
			return links{[]providers.ID{m.Network}, []place{{m.Network, m.Private}}}
		}),
		balancers: newTable(func(b providers.LoadBalancer) links {
			on := append([]providers.ID{b.Network}, b.Targets...)
			return links{on, []place{addressOf(b)}}
		}),
		volumes: newTable(func(v providers.Volume) links {
			return links{on: []providers.ID{v.Machine}}
		}),
		snapshots: newTable(func(providers.Snapshot) links { return links{} }),
		users:     map[providers.ID]map[providers.ID]bool{},
		taken:     map[place]bool{},
	}
}

// link notes, or forgets, what the object stands on and takes up.
func (s *state) link(id providers.ID, l links, on bool) {
	for _, to := range l.on {
		switch {
		case to == "":
		case !on:
			delete(s.users[to], id)
			if len(s.users[to]) == 0 {
				delete(s.users, to)
			}
		case s.users[to] == nil:
			s.users[to] = map[providers.ID]bool{id: true}
		default:
			s.users[to][id] = true
		}
	}
	for _, p := range l.places {
		if on {
			s.taken[p] = true
		} else {
			delete(s.taken, p)
		}
	}
}

// A row is an object with how much of it there is.
type row[O any] struct {
	Object O   `json:"object"`
	Done   int `json:"done"` // sub-calls that took effect
}

// A table is the objects of one kind.
type table[O providers.Identified] struct {
	rows   map[providers.ID]row[O]
	names  map[providers.Key]providers.ID
	owners map[providers.Owner]map[providers.ID]bool
	born   map[providers.Key]int // how many objects of the name were ever made
	links  func(O) links
}

func newTable[O providers.Identified](l func(O) links) *table[O] {
	return &table[O]{
		rows:   map[providers.ID]row[O]{},
		names:  map[providers.Key]providers.ID{},
		owners: map[providers.Owner]map[providers.ID]bool{},
		born:   map[providers.Key]int{},
		links:  l,
	}
}

// named returns the owner's object of that name.
func (t *table[O]) named(k providers.Key) (row[O], bool) {
	r, ok := t.rows[t.names[k]]
	return r, ok
}

func (t *table[O]) has(id providers.ID) bool {
	_, ok := t.rows[id]
	return ok
}

// A change is something that was done to one object.
type change interface {
	apply(*state)
	record() (record, error)
}

// A put is a row as it is from now on; without one, the object is gone.
type put[O providers.Identified] struct {
	pick func(*state) *table[O]
	id   providers.ID
	row  *row[O]
}

func (p put[O]) apply(s *state) {
	t := p.pick(s)
	k, generation := parseID(p.id)
	t.born[k] = max(t.born[k], generation)
	if old, ok := t.rows[p.id]; ok {
		s.link(p.id, t.links(old.Object), false)
		t.unname(p.id, old.Object.GetMeta())
	}
	if p.row == nil {
		delete(t.rows, p.id)
		return
	}
	stoppedIsPartial(&p.row.Object, &p.row.Done)
	t.rows[p.id] = *p.row
	t.name(p.id, p.row.Object.GetMeta())
	s.link(p.id, t.links(p.row.Object), true)
}

// stoppedIsPartial makes a machine that was stopped by any hand, one in the file too, what the contract says of it: Create is to
// start it.
func stoppedIsPartial[O any](o *O, done *int) {
	if m, ok := any(o).(*providers.Machine); ok && m.State == providers.Stopped {
		m.Partial, *done = true, min(*done, 1)
	}
}

// name lets the object be found by what its tags say. What has no owner is found by its ID only.
func (t *table[O]) name(id providers.ID, m providers.Meta) {
	if m.Owner == "" {
		return
	}
	if t.owners[m.Owner] == nil {
		t.owners[m.Owner] = map[providers.ID]bool{}
	}
	t.owners[m.Owner][id] = true
	if m.Name != "" {
		t.names[providers.Key{Owner: m.Owner, Name: m.Name}] = id
	}
}

// unname is the inverse of name.
func (t *table[O]) unname(id providers.ID, m providers.Meta) {
	delete(t.owners[m.Owner], id)
	if len(t.owners[m.Owner]) == 0 {
		delete(t.owners, m.Owner)
	}
	if k := (providers.Key{Owner: m.Owner, Name: m.Name}); t.names[k] == id {
		delete(t.names, k)
	}
}

func (p put[O]) record() (record, error) {
	r := record{ID: p.id}
	if p.row == nil {
		return r, nil
	}
	var err error
	r.Row, err = json.Marshal(p.row)
	return r, err
}

// makeID names the generation-th object of a name: machine.demo.demo-cp-0.1.
func makeID(n providers.Noun, k providers.Key, generation int) providers.ID {
	return providers.ID(fmt.Sprintf("%s.%s.%s.%d", n, k.Owner, k.Name, generation))
}

// parseID is the inverse of makeID without the noun.
func parseID(id providers.ID) (providers.Key, int) {
	parts := strings.Split(string(id), ".")
	if len(parts) != 4 {
		return providers.Key{}, 0
	}
	generation, _ := strconv.Atoi(parts[3])
	return providers.Key{Owner: providers.Owner(parts[1]), Name: parts[2]}, generation
}

// A record is a change as the file has it, one JSON value a line.
type record struct {
	UnixMilli int64           `json:"t,omitempty"`
	ID        providers.ID    `json:"id"`
	Row       json.RawMessage `json:"row,omitempty"`
}

// change returns what the record says.
func (r record) change() (change, error) {
	noun, _, _ := strings.Cut(string(r.ID), ".")
	if k, generation := parseID(r.ID); k.Validate(0) != nil || generation < 1 {
		return nil, fmt.Errorf("%q is no ID", r.ID)
	}
	switch providers.Noun(noun) {
	case providers.NetworkNoun:
		return decode(r, networkTable)
	case providers.MachineNoun:
		return decode(r, machineTable)
	case providers.BalancerNoun:
		return decode(r, balancerTable)
	case providers.VolumeNoun:
		return decode(r, volumeTable)
	case providers.SnapshotNoun:
		return decode(r, snapshotTable)
	}
	return nil, fmt.Errorf("%q is of no known kind", r.ID)
}

func decode[O providers.Identified](r record, pick func(*state) *table[O]) (change, error) {
	p := put[O]{pick: pick, id: r.ID}
	if r.Row == nil {
		return p, nil
	}
	p.row = &row[O]{}
	return p, json.Unmarshal(r.Row, p.row)
}

func networkTable(s *state) *table[providers.Network]       { return s.networks }
func machineTable(s *state) *table[providers.Machine]       { return s.machines }
func balancerTable(s *state) *table[providers.LoadBalancer] { return s.balancers }
func volumeTable(s *state) *table[providers.Volume]         { return s.volumes }
func snapshotTable(s *state) *table[providers.Snapshot]     { return s.snapshots }
