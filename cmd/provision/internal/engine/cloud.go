package engine

import (
	"encoding/binary"
	"net/netip"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/templates"
)

// nodeCloud is what nodes know of the cloud agent; nil if the cluster has none.
func (e *Engine) nodeCloud() *templates.NodeCloud {
	if e.Inside == nil || !e.Cluster.CloudAgent {
		return nil
	}
	caps := e.Provider.Caps()
	if e.Inside.Blind && len(e.Cluster.Network.Balancers) == 0 { // it would have nothing to do
		return nil
	}
	return &templates.NodeCloud{
		Vendor: e.Cluster.Provider.Name, External: !e.Inside.Blind,
		Volumes: caps.Volumes && !e.Inside.Blind, Announced: caps.Announced,
	}
}

// cloud is what the cluster's cloud agent works with. The network is there by the time that a node is configured.
func (e *Engine) cloud() (templates.Cloud, error) {
	c := templates.Cloud{
		Cluster: e.Cluster.Name, UID: e.want.UID, Vendor: e.Cluster.Provider.Name, Options: e.Inside.Options,
		Network: string(e.networkID()), Balancers: e.balancerAddresses(), Blind: e.Inside.Blind,
		Pools: plan.CloudPools(e.Cluster), AuthorizedKeys: e.authorizedKeys(),
	}
	if e.plugin == nil {
		return c, nil
	}
	sum, err := e.plugin.Sum()
	c.Plugin = &templates.CloudPlugin{SHA256: sum, Sensitive: e.Inside.Sensitive}
	return c, err
}

// nodePlugin is the program that cloud agents reach the vendor by; nil if they need none.
func (e *Engine) nodePlugin() (*ssh.Source, error) {
	if e.want.Cloud == nil || e.Inside.Blind || e.Inside.Program == nil {
		return nil, nil
	}
	path, err := e.Inside.Program(e.programs.Manifest.Arch)
	if err != nil {
		return nil, err
	}
	return ssh.FromFile(path)
}

// besides are the programs that a node of the role gets beside those of all.
func (e *Engine) besides(role templates.Role) []bootstrap.Program {
	if role != templates.ControlPlane || e.plugin == nil {
		return nil
	}
	return []bootstrap.Program{{Path: templates.PluginPath(e.Cluster.Provider.Name), Source: e.plugin}}
}

// authorizedKeys let the command log in to the machines that the cluster itself makes.
func (e *Engine) authorizedKeys() []string {
	if !e.Cluster.Autoscales() || e.secrets == nil {
		return nil
	}
	return []string{e.secrets.public}
}

// balancerAddresses are those that Services get where nodes announce them: the file's, or else the last of the machines' network.
func (e *Engine) balancerAddresses() []templates.Addresses {
	if !e.Provider.Caps().Announced {
		return nil
	}
	var all []templates.Addresses
	for _, r := range e.Cluster.Network.Balancers {
		all = append(all, templates.Addresses(r))
	}
	if len(all) > 0 || !e.Provider.Caps().Local {
		return all // on networks that are not ours nobody knows which addresses are free
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.world.Networks {
		if n.Name == plan.NetworkName && n.CIDR.IsValid() {
			all = append(all, lastAddresses(n.CIDR))
		}
	}
	return all
}

// lastAddresses are up to 31 addresses at the end of an IPv4 network of at least 32, before its broadcast address: machines have the first ones.
func lastAddresses(p netip.Prefix) templates.Addresses {
	first := binary.BigEndian.Uint32(p.Masked().Addr().AsSlice())
	end := first + 1<<(32-p.Bits()) - 1
	at := func(n uint32) netip.Addr { return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))) }
	return templates.Addresses{First: at(max(first, end-31)), Last: at(end - 1)}
}
