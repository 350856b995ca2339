package plan

import "github.com/provisionhq/provision/providers"

// Destroy is the plan that removes all that the owner has at the vendor, but for the kinds to keep. What the cluster itself
// made, balancers and volumes of its services and claims, bears the same owner and is in it.
func Destroy(cluster string, w World, keep ...Kind) *Plan {
	p := &Plan{Schema: Schema, Cluster: cluster, Changes: []Change{}}
	add := func(k Kind, address, name string, id providers.ID) {
		for _, kept := range keep {
			if k == kept {
				p.Kept = append(p.Kept, address)
				return
			}
		}
		p.Changes = append(p.Changes, Change{Address: address, Action: Delete, Kind: k, Name: name, ID: string(id), Reason: "destroy"})
	}
	for _, b := range w.Balancers {
		add(Balancer, string(Balancer)+"."+b.Name, b.Name, b.ID)
	}
	for _, m := range w.Machines {
		add(Machine, addressOf(Machine, cluster, m.Name, m.Pool), m.Name, m.ID)
	}
	for _, v := range w.Volumes {
		add(Volume, string(Volume)+"."+v.Name, v.Name, v.ID)
	}
	for _, s := range w.Snapshots {
		add(Snapshot, string(Snapshot)+"."+s.Name, s.Name, s.ID)
	}
	for _, n := range w.Networks {
		add(Network, string(Network)+"."+n.Name, n.Name, n.ID)
	}
	sortChanges(p.Changes)
	return p
}
