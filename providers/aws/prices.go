package aws

import (
	_ "embed"
	"encoding/json"
	"sync"

	"github.com/provisionhq/provision/providers"
)

//go:embed prices.json
var priceFile []byte

// A tariff is what things cost in one region, in US dollars, on demand, on Linux.
type tariff struct {
	Disk     float64            `json:"gp3_gib_month"`
	Snapshot float64            `json:"snapshot_gib_month"`
	Balancer float64            `json:"nlb_hour"`
	NAT      float64            `json:"nat_hour"`
	Address  float64            `json:"address_hour"` // public and IPv4
	Types    map[string]float64 `json:"types"`        // per hour
}

// A priceTable is the file of prices.
type priceTable struct {
	Date    string            `json:"date"`
	Source  string            `json:"source"`
	Regions map[string]tariff `json:"regions"`
}

// table is read once. The file is part of the program: a test sees to its form.
var table = sync.OnceValue(func() (t priceTable) {
	if err := json.Unmarshal(priceFile, &t); err != nil {
		panic(err)
	}
	return t
})

// prices are those of the region, for what the options make; nil if the table does not have the region.
func (o Options) prices() *providers.Prices {
	t, ok := table().Regions[o.Region]
	if !ok {
		return nil
	}
	p := &providers.Prices{Date: table().Date, Source: table().Source, Region: o.Region, DiskGiBMonth: t.Disk, VolumeGiBMonth: t.Disk, SnapshotGiBMonth: t.Snapshot,
		BalancerHour: t.Balancer + float64(len(o.Zones))*t.Address, // one in each zone, if it is public
		Unknown:      []string{"traffic, also through NAT gateways and balancers", "spot prices"}}
	switch o.NAT {
	case NATOne:
		p.NetworkHour = t.NAT + t.Address
	case NATZone:
		p.NetworkHour = float64(len(o.Zones)) * (t.NAT + t.Address)
	}
	if o.Addresses == Public {
		p.MachineHour = t.Address
	}
	return p
}
