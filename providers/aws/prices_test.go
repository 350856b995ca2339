package aws

import (
	"math"
	"regexp"
	"testing"
	"time"
)

// TestPriceTable sees to the form of the table; whether it is true, nobody can see without AWS.
func TestPriceTable(t *testing.T) {
	if _, err := time.Parse(time.DateOnly, table().Date); err != nil || table().Source == "" || len(table().Regions) == 0 {
		t.Errorf("the table is of %q, from %q, for %d regions", table().Date, table().Source, len(table().Regions))
	}
	for region, r := range table().Regions {
		for what, price := range map[string]float64{"disk": r.Disk, "snapshot": r.Snapshot, "balancer": r.Balancer, "NAT": r.NAT, "address": r.Address} {
			if price <= 0 || price > 1 {
				t.Errorf("%s: a %s costs %g", region, what, price)
			}
		}
		for name, price := range r.Types {
			if !regexp.MustCompile(`^[a-z0-9-]+\.[a-z0-9-]+$`).MatchString(name) || price <= 0 || price > 100 {
				t.Errorf("%s: %s costs %g", region, name, price)
			}
		}
	}
}

func TestPricesOfOptions(t *testing.T) {
	r := table().Regions["eu-west-1"]
	for _, c := range []struct {
		o                          Options
		network, machine, balancer float64
	}{
		{Options{Zones: []string{"eu-west-1a"}}, 0, r.Address, r.Balancer + r.Address},
		{Options{Zones: []string{"eu-west-1a", "eu-west-1b"}, NAT: NATOne, Addresses: Private}, r.NAT + r.Address, 0, r.Balancer + 2*r.Address},
		{Options{Zones: []string{"eu-west-1a", "eu-west-1b"}, NAT: NATZone, Addresses: Private}, 2 * (r.NAT + r.Address), 0, r.Balancer + 2*r.Address},
	} {
		c.o.Region = "eu-west-1"
		p, err := New(t.Context(), c.o)
		if err != nil {
			t.Fatal(err)
		}
		got := p.Caps().Prices
		if got == nil || got.Region != "eu-west-1" || math.Abs(got.NetworkHour-c.network)+math.Abs(got.MachineHour-c.machine)+math.Abs(got.BalancerHour-c.balancer) > 1e-9 {
			t.Errorf("%+v costs %+v", c.o, got)
		}
	}
	p, err := New(t.Context(), Options{Region: "me-south-1"})
	if err != nil || p.Caps().Prices != nil {
		t.Errorf("a region without prices has %+v, %v", p.Caps().Prices, err)
	}
}
