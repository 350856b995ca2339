package azure

import (
	"testing"
	"time"

	"github.com/provisionhq/provision/providers/azure/azuretest"
)

// TestPrices looks at the table, and at what a provider makes of it.
func TestPrices(t *testing.T) {
	for _, location := range []string{"eastus", "westeurope"} {
		all := machinePrices(location)
		if len(all) < 30 {
			t.Errorf("%s: %d prices", location, len(all))
		}
		for name, price := range all {
			if price <= 0 || price > 10 {
				t.Errorf("%s in %s: %g", name, location, price)
			}
		}
	}
	if _, err := time.Parse(time.DateOnly, priceDate); err != nil {
		t.Error(err)
	}
	c := azuretest.New(azuretest.Options{})
	private := open(t, c, Options{Addresses: Private, NAT: NATOne}).Caps().Prices
	public := open(t, c, Options{}).Caps().Prices
	if private.NetworkHour != natHour+addressHour || private.MachineHour != 0 || public.NetworkHour != 0 || public.MachineHour != addressHour {
		t.Errorf("private: %+v, public: %+v", private, public)
	}
	elsewhere, err := New(Options{Subscription: "s", Location: "antarctica", Credential: azuretest.Credential{}})
	if err != nil || elsewhere.Caps().Prices != nil || machinePrices("type") != nil {
		t.Errorf("a location that the table does not have has prices, or %v", err)
	}
	types, err := open(t, c, Options{}).Machines().Types(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, z := range types {
		if want := machinePrices("westeurope")[z.Name]; z.PriceUSD != want {
			t.Errorf("%s: %g, want %g", z.Name, z.PriceUSD, want)
		}
		if z.Volumes != 2*z.CPUs/1000 {
			t.Errorf("%s takes %d volumes, want 2 for each processor", z.Name, z.Volumes)
		}
	}
}
