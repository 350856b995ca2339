package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// network compares the cluster's one network.
func (d *differ) network() {
	ch := Change{Address: string(Network) + "." + NetworkName, Kind: Network, Name: NetworkName, Action: Create, Cause: d.at("network", "cluster")}
	known := d.w.Known[ch.Address]
	i := slices.IndexFunc(d.w.Networks, func(n providers.Network) bool { return n.Name == NetworkName })
	if i < 0 {
		ch.Reason, ch.Drift = "not there", known.ID != ""
		if ch.Drift {
			ch.Reason = "is gone at the vendor"
		}
		d.add(ch)
		return
	}
	have, want := d.w.Networks[i], NetworkSpec(d.c, d.want.UID)
	switch {
	case have.Partial:
		ch.Reason = "was not finished"
	case want.CIDR.IsValid() && have.CIDR != want.CIDR && d.want.Renumber:
		ch.Action, ch.Reason = Update, "its range is another; what is in it moves there, one after another"
		ch.Fields = append([]Field{{RangeField, have.CIDR.String(), want.CIDR.String()}}, NetworkFields(want, have)...)
		ch.Cause = d.at("network.machines", "network", "cluster")
	case want.CIDR.IsValid() && have.CIDR != want.CIDR:
		ch.Action, ch.Reason = Replace, "its range is another"
		ch.Fields = []Field{{RangeField, have.CIDR.String(), want.CIDR.String()}}
		ch.Cause = d.at("network.machines", "network", "cluster")
	default:
		if ch.Fields = NetworkFields(want, have); len(ch.Fields) == 0 {
			return
		}
		ch.Action, ch.Reason = Update, "differs"
		ch.Cause = d.at("network."+ch.Fields[0].Name, "network", "cluster")
		if known.Network != nil && len(NetworkFields(want, asNetwork(*known.Network))) == 0 {
			ch.Drift, ch.Reason = true, "was changed at the vendor"
		}
	}
	d.add(ch)
}

// Fields of a plan that say that an address changes: RangeField of a network, AddressField of all that is in it, and of its
// nodes.
const (
	RangeField   = "machines"
	AddressField = "address"
)

// astray says whether an address is not of the range that the file wants its network to have, and the vendor can change that.
func (d *differ) astray(a netip.Addr) bool {
	p := d.c.Network.Machines
	return d.want.Renumber && a.IsValid() && p.IsValid() && !p.Contains(a)
}

// readdressed says whether a machine that stays is about to get another address.
func (d *differ) readdressed(name string) bool {
	_, remade := d.remade[name]
	have, there := d.machines[name]
	return there && !remade && d.astray(have.Private)
}

// newAddress is the field of what is about to get an address of the network's range.
func (d *differ) newAddress(from netip.Addr) Field {
	return Field{AddressField, from.String(), "one of " + d.c.Network.Machines.String()}
}

// Moves says whether the change gives something another address.
func (c Change) Moves() bool {
	return slices.ContainsFunc(c.Fields, func(f Field) bool { return f.Name == AddressField })
}

// asNetwork is the network that a spec asks for.
func asNetwork(s providers.NetworkSpec) providers.Network {
	return providers.Network{Meta: providers.Meta{Owner: s.Owner, Name: s.Name, Tags: s.Tags}, CIDR: s.CIDR, Zones: s.Zones, Allow: s.Allow}
}

// NetworkFields compares what of a network can be changed in place: rules, zones and tags. Rules are called as in the file:
// ssh_from, api_from.
func NetworkFields(want providers.NetworkSpec, have providers.Network) []Field {
	var fs []Field
	from, to := rules(have.Allow), rules(want.Allow)
	for _, name := range sortedKeys(from, to) {
		if from[name] != to[name] {
			fs = append(fs, Field{name + "_from", from[name], to[name]})
		}
	}
	for _, z := range want.Zones {
		if !slices.Contains(have.Zones, z) {
			fs = append(fs, Field{"zones", "", z})
		}
	}
	if have.Owner != want.Owner {
		fs = append(fs, Field{"tag " + providers.OwnerTag, string(have.Owner), string(want.Owner)})
	}
	return append(fs, tagFields(want.Tags, have.Tags)...)
}

// rules writes each rule in one line, by name. Rules of one name are one.
func rules(rs []providers.Rule) map[string]string {
	by := map[string][]string{}
	for _, r := range rs {
		for _, s := range r.Sources {
			by[r.Name] = append(by[r.Name], fmt.Sprintf("%s to %s/%d", s, r.Protocol, r.Port))
		}
	}
	lines := map[string]string{}
	for name, ls := range by {
		slices.Sort(ls)
		lines[name] = strings.Join(slices.Compact(ls), ", ")
	}
	return lines
}

func sortedKeys(ms ...map[string]string) []string {
	var ks []string
	for _, m := range ms {
		for k := range m {
			ks = append(ks, k)
		}
	}
	slices.Sort(ks)
	return slices.Compact(ks)
}

// KeysAddress is the address of the cluster's authorities and keys.
const KeysAddress = string(Certificate) + ".authorities"

// keys plans the secrets that make their holder the cluster's owner.
func (d *differ) keys() {
	ch := Change{Address: KeysAddress, Kind: Certificate, Name: "authorities", Cause: d.at("cluster")}
	switch d.w.Keys {
	case HaveKeys:
		return
	case RecoverKeys:
		ch.Action, ch.Reason = Update, "were lost here and read back from the control plane; they are saved, and nothing is restarted"
	default:
		ch.Action, ch.Reason = Create, "not there: authorities of the cluster, etcd and the front proxy, keys of service accounts, encryption and SSH"
	}
	d.add(ch)
}
