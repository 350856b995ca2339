package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/providers"
)

// monthHours are the hours of a month as vendors count them: a twelfth of a year.
const monthHours = 730

// A stock is what there is to pay for, by name.
type stock struct {
	machines            map[string]sold
	networks, balancers map[string]bool
	volumes, snapshots  map[string]int // GiB
}

// A sold is what a machine costs by.
type sold struct {
	machine string // its type
	disk    int    // GiB; 0: what the type brings
	spot    bool
	stopped bool // so only its disk costs
}

func wanted(m Member) sold {
	return sold{machine: m.Pool.Machine, disk: m.Pool.DiskGiB, spot: m.Pool.Spot}
}

// stockOf is what there is now.
func stockOf(c *config.Cluster, w World) *stock {
	s := &stock{machines: map[string]sold{}, networks: map[string]bool{}, balancers: map[string]bool{}, volumes: map[string]int{}, snapshots: map[string]int{}}
	members := byName(c)
	for _, m := range w.Machines {
		s.machines[m.Name] = sold{m.Type, m.DiskGiB, members[m.Name].Pool != nil && members[m.Name].Pool.Spot, m.State == providers.Stopped}
	}
	for _, n := range w.Networks {
		s.networks[n.Name] = true
	}
	for _, b := range w.Balancers {
		s.balancers[b.Name] = true
	}
	for _, v := range w.Volumes {
		s.volumes[v.Name] = v.SizeGiB
	}
	for _, v := range w.Snapshots {
		s.snapshots[v.Name] = v.SizeGiB
	}
	return s
}

func byName(c *config.Cluster) map[string]Member {
	ms := map[string]Member{}
	for _, m := range Members(c) {
		ms[m.Name] = m
	}
	return ms
}

// execute makes the stock what it is once the plan is executed.
func (s *stock) execute(c *config.Cluster, p *Plan) {
	members := byName(c)
	for _, ch := range p.Changes {
		gone, made := ch.Action == Delete, ch.Action == Create || ch.Action == Replace
		switch ch.Kind {
		case Machine:
			if m, ok := members[ch.Name]; made && ok {
				s.machines[ch.Name] = wanted(m)
			}
			drop(s.machines, ch.Name, gone)
		case Network:
			s.networks[ch.Name] = true
			drop(s.networks, ch.Name, gone)
		case Balancer:
			s.balancers[ch.Name] = true
			drop(s.balancers, ch.Name, gone)
		case Volume:
			drop(s.volumes, ch.Name, gone)
		case Snapshot:
			drop(s.snapshots, ch.Name, gone)
		}
	}
}

func drop[V any](m map[string]V, name string, gone bool) {
	if gone {
		delete(m, name)
	}
}

// A bill is what a stock costs in a month.
type bill struct {
	items   []Item
	unknown []string
}

// bill prices the stock by the world's prices.
func (s *stock) bill(w World) *bill {
	b := &bill{}
	types := map[string]providers.MachineType{}
	for _, t := range w.Types {
		types[t.Name] = t
	}
	b.machines(s, types)
	b.disks(s, types, w.Prices.DiskGiBMonth)
	b.add(Item{Kind: addressItem, Amount: s.running()}, w.Prices.MachineHour*monthHours)
	b.add(Item{Kind: string(Network), Amount: len(s.networks)}, w.Prices.NetworkHour*monthHours)
	b.add(Item{Kind: string(Balancer), Amount: len(s.balancers)}, w.Prices.BalancerHour*monthHours)
	b.add(Item{Kind: string(Volume), Amount: total(s.volumes)}, w.Prices.VolumeGiBMonth)
	b.add(Item{Kind: string(Snapshot), Amount: total(s.snapshots)}, w.Prices.SnapshotGiBMonth)
	return b
}

// add adds an item that costs so much each, unless there is none of it or it costs nothing.
func (b *bill) add(i Item, each float64) {
	if i.Month = cents(float64(i.Amount) * each); i.Month > 0 {
		b.items = append(b.items, i)
	}
}

// machines adds the machines that run, by type, and says which have no price and which may cost less.
func (b *bill) machines(s *stock, types map[string]providers.MachineType) {
	count, spot := map[string]int{}, 0
	for _, m := range s.machines {
		if m.stopped {
			continue
		}
		count[m.machine]++
		if m.spot {
			spot++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(count)) {
		i := Item{Kind: string(Machine), Type: name, Amount: count[name]}
		if types[name].PriceUSD == 0 {
			b.unknown = append(b.unknown, i.String())
		}
		b.add(i, types[name].PriceUSD*monthHours)
	}
	if spot > 0 {
		b.unknown = append(b.unknown, fmt.Sprintf("the discount of spot machines (%d)", spot))
	}
}

// disks adds the root disks, and says how many machines have one of a size that nobody knows.
func (b *bill) disks(s *stock, types map[string]providers.MachineType, gib float64) {
	size, sizeless := 0, 0
	for _, m := range s.machines {
		n := cmp.Or(m.disk, types[m.machine].DiskGiB)
		if size += n; n == 0 {
			sizeless++
		}
	}
	if b.add(Item{Kind: diskItem, Amount: size}, gib); sizeless > 0 && gib > 0 {
		b.unknown = append(b.unknown, fmt.Sprintf("root disks whose size the image says (%d)", sizeless))
	}
}

func (s *stock) running() (n int) {
	for _, m := range s.machines {
		if !m.stopped {
			n++
		}
	}
	return n
}

func total(sizes map[string]int) (sum int) {
	for _, n := range sizes {
		sum += n
	}
	return sum
}
