package azure

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"

	"github.com/provisionhq/provision/providers"
)

// machines looks at types, zones and images of machines, and then at the quotas, for which it must be known what the types have.
func (q *inquiry) machines(ctx context.Context) error {
	var types map[string]size
	if len(q.need.Machines) > 0 {
		var err error
		if types, err = q.p.offers(ctx); err != nil {
			return err
		}
	}
	compute, network := q.p.demands(q.need, types)
	q.look("the quotas of processors", func() error { return q.limits(ctx, compute, q.p.computeLimits) })
	q.look("the quotas of networks and addresses", func() error { return q.limits(ctx, network, q.p.networkLimits) })
	images := map[string]error{}
	for _, s := range q.need.Machines {
		m := machines{q.p}
		if err := m.check(s); err != nil {
			q.problem(providers.MachineNoun, s.Name, fieldOf(err), err)
			continue
		}
		z, err := q.p.size(ctx, s.Type)
		if err != nil {
			q.problem(providers.MachineNoun, s.Name, "type", err)
			continue
		}
		if _, err := m.zone(s, q.home(s), z); err != nil {
			q.problem(providers.MachineNoun, s.Name, "zone", err)
		}
		if s.Spot && !z.spot {
			q.problem(providers.MachineNoun, s.Name, "spot", fail(providers.Invalid, "type %q is not sold as spot", s.Type))
		}
		key := m.imageOf(s) + " " + z.Arch
		if _, known := images[key]; !known {
			images[key] = q.image(ctx, m.imageOf(s), z.Arch)
		}
		if err := images[key]; kindOf(err) == providers.Invalid {
			q.problem(providers.MachineNoun, s.Name, "image", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// fieldOf is the field of a machine's spec that an error of check is about.
func fieldOf(err error) string {
	if strings.Contains(err.Error(), "zone ") {
		return "zone"
	}
	return ""
}

// home is what a machine's network will be, as far as its zones go.
func (q *inquiry) home(s providers.MachineSpec) *network {
	zones := q.p.o.Zones
	for _, n := range q.need.Networks {
		if len(n.Zones) > 0 {
			zones = n.Zones
		}
	}
	return &network{tags: map[string]string{zonesTag: strings.Join(zones, " ")}}
}

// image looks whether there is such an image. One by its resource ID is not looked at: it may be anywhere.
func (q *inquiry) image(ctx context.Context, name, arch string) error {
	found, err := q.p.image(ctx, name, arch)
	if err != nil {
		return err
	}
	if found.ID != nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.Unseen = append(q.Unseen, "whether image "+name+" is there: provision does not read images by their resource IDs")
		return nil
	}
	if strings.HasSuffix(name, ":latest") || families()[name] != nil {
		return nil // its versions were listed
	}
	all, err := q.p.images.List(ctx, q.p.o.Location, val(found.Publisher), val(found.Offer), val(found.SKU), nil)
	if ignoring(err) != nil {
		return err
	}
	for _, v := range all.VirtualMachineImageResourceArray {
		if val(v.Name) == val(found.Version) {
			return nil
		}
	}
	return fail(providers.Invalid, "image %q: location %s has no such version of it", name, q.p.o.Location)
}

// limits adds quotas to the report.
func (q *inquiry) limits(ctx context.Context, need map[string]demand, read func(context.Context, map[string]demand) ([]providers.Limit, error)) error {
	if len(need) == 0 {
		return nil
	}
	all, err := read(ctx, need)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.Limits = append(q.Limits, all...)
	return err
}

// networks looks at the groups and ranges of networks.
func (q *inquiry) networks(ctx context.Context) error {
	for _, s := range q.need.Networks {
		w := networks{q.p}
		if err := w.check(s); err != nil {
			q.problem(providers.NetworkNoun, s.Name, "", err)
			continue
		}
		if _, err := w.named(ctx, s.Key()); kindOf(err) == providers.Conflict {
			q.problem(providers.NetworkNoun, s.Name, "name", err)
		} else if err != nil {
			return err
		}
		if err := q.ranges(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// ranges looks at the subnet that is there already, or at the virtual networks that have some of the range. Azure would make one
// that overlaps: it is said, and does not stand in the way.
func (q *inquiry) ranges(ctx context.Context, s providers.NetworkSpec) error {
	if q.p.o.Network != "" {
		return q.subnet(ctx, s)
	}
	if !s.CIDR.IsValid() {
		return nil
	}
	all, err := collect(ctx, q.p.vnets.NewListAllPager(nil), func(o armnetwork.VirtualNetworksClientListAllResponse) []*armnetwork.VirtualNetwork { return o.Value })
	for _, v := range all {
		for _, c := range prefixes(v) {
			if c.Overlaps(s.CIDR) {
				q.mu.Lock()
				q.Unseen = append(q.Unseen, fmt.Sprintf("whether range %s is meant: %s has %s already, and the two could never be peered", s.CIDR, val(v.ID), c))
				q.mu.Unlock()
			}
		}
	}
	return err
}

// prefixes are the ranges of a virtual network.
func prefixes(v *armnetwork.VirtualNetwork) (all []netip.Prefix) {
	if v.Properties == nil || v.Properties.AddressSpace == nil {
		return nil
	}
	for _, a := range v.Properties.AddressSpace.AddressPrefixes {
		if c, err := netip.ParsePrefix(val(a)); err == nil {
			all = append(all, c)
		}
	}
	return all
}

// subnet looks at the subnet that is to be used, and where its virtual network is.
func (q *inquiry) subnet(ctx context.Context, s providers.NetworkSpec) error {
	_, _, err := networks{q.p}.existing(ctx, s.CIDR)
	if k := kindOf(err); k == providers.NotFound || k == providers.Invalid {
		q.problem(providers.NetworkNoun, s.Name, map[providers.Kind]string{providers.NotFound: "network", providers.Invalid: "cidr"}[k], err)
		return nil
	}
	if err != nil {
		return err
	}
	v, err := q.p.vnets.Get(ctx, part(q.p.o.Network, "resourceGroups"), part(q.p.o.Network, "virtualNetworks"), nil)
	if err == nil && !strings.EqualFold(val(v.Location), q.p.o.Location) {
		q.problem(providers.NetworkNoun, s.Name, "network", fail(providers.Invalid, "%s is in %s, and machines would be in %s", q.p.o.Network, val(v.Location), q.p.o.Location))
	}
	return ignoring(err)
}

// storage looks at volumes, and whether the group that they go into is somebody else's.
func (q *inquiry) storage(ctx context.Context) error {
	var sound []string
	for _, s := range q.need.Volumes {
		if err := (volumes{q.p}).check(s); err != nil {
			q.problem(providers.VolumeNoun, s.Name, "", err)
			continue
		}
		sound = append(sound, s.Name)
	}
	if len(sound) == 0 {
		return nil
	}
	group := storageGroup(q.need.Owner)
	tags, _, err := q.p.group(ctx, group)
	if err == nil && tags[providers.OwnerTag] != string(q.need.Owner) {
		slices.Sort(sound)
		q.problem(providers.VolumeNoun, sound[0], "name", fail(providers.Conflict, "there is a resource group %s that is not %s's: its tags say otherwise", group, q.need.Owner))
	}
	return ignoring(err)
}

// balancers looks at what balancers are to be like.
func (q *inquiry) balancers() {
	for _, s := range q.need.LoadBalancers {
		if err := (balancers{q.p}).check(s); err != nil {
			q.problem(providers.BalancerNoun, s.Name, "", err)
		}
	}
}
