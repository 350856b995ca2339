package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/providers"
)

// priced is a world with prices that are easy to add up.
func priced(w World) World {
	w.Types = []providers.MachineType{{Name: "small", PriceUSD: 0.1, DiskGiB: 20}, {Name: "large", PriceUSD: 0.4}, {Name: "odd"}}
	w.Prices = &providers.Prices{
		Date: "2026-11-01", Source: "https://prices.example", Region: "here", NetworkHour: 0.05, MachineHour: 0.005, BalancerHour: 0.02,
		DiskGiBMonth: 0.1, VolumeGiBMonth: 0.08, SnapshotGiBMonth: 0.04, Unknown: []string{"traffic"},
	}
	return w
}

// bills writes a cost in lines.
func bills(c *Cost) string {
	ls := []string{fmt.Sprintf("%.2f %+.2f", c.Month, c.Change)}
	for _, i := range c.Items {
		ls = append(ls, fmt.Sprintf("%.2f %s", i.Month, i))
	}
	return strings.Join(append(ls, c.Unknown...), "\n")
}

func TestPrice(t *testing.T) {
	for _, test := range []struct {
		name       string
		have, file *config.Cluster
		spoil      func(*World)
		only       []string
		want       string
	}{
		{name: "from nothing", file: demo(2), want: `272.45 +272.45
219.00 3 machines of type small
6.00 60 GiB of root disks
10.95 3 addresses of machines
36.50 1 network
traffic`},
		{name: "nothing changes", have: demo(2), file: demo(2), want: `272.45 +0.00
219.00 3 machines of type small
6.00 60 GiB of root disks
10.95 3 addresses of machines
36.50 1 network
traffic`},
		{name: "one less", have: demo(2), file: demo(1), want: `193.80 -78.65
146.00 2 machines of type small
4.00 40 GiB of root disks
7.30 2 addresses of machines
36.50 1 network
traffic`},
		{name: "another type, whose disk has the image's size", have: demo(1), file: demo(1, func(c *config.Cluster) { c.Pools[0].Machine = "large" }), want: `410.80 +217.00
292.00 1 machine of type large
73.00 1 machine of type small
2.00 20 GiB of root disks
7.30 2 addresses of machines
36.50 1 network
root disks whose size the image says (1)
traffic`},
		{name: "a type without a price, spot, a disk of another size", have: demo(1), file: demo(1, func(c *config.Cluster) {
			c.Pools[0].Machine, c.Pools[0].Spot, c.Pools[0].DiskGiB = "odd", true, 100
		}), want: `128.80 -65.00
73.00 1 machine of type small
12.00 120 GiB of root disks
7.30 2 addresses of machines
36.50 1 network
1 machine of type odd
the discount of spot machines (1)
traffic`},
		{name: "a stopped machine costs its disk until it is started", have: demo(1), file: demo(1), spoil: func(w *World) {
			w.Machines[1].State, w.Machines[1].Partial = providers.Stopped, true
		}, want: `193.80 +76.65
146.00 2 machines of type small
4.00 40 GiB of root disks
7.30 2 addresses of machines
36.50 1 network
traffic`},
		{name: "what the cluster made itself", have: demo(0), file: demo(0), spoil: func(w *World) {
			w.Volumes = []providers.Volume{{Meta: providers.Meta{Name: "a"}, SizeGiB: 50}, {Meta: providers.Meta{Name: "b"}, SizeGiB: 50}}
			w.Snapshots = []providers.Snapshot{{Meta: providers.Meta{Name: "s"}, SizeGiB: 50}}
			w.Balancers = []providers.LoadBalancer{{Meta: providers.Meta{Name: "web"}}}
		}, want: `139.75 +0.00
73.00 1 machine of type small
2.00 20 GiB of root disks
3.65 1 address of machines
36.50 1 network
14.60 1 balancer
8.00 100 GiB of volumes
2.00 50 GiB of snapshots
traffic`},
		{name: "a part of a plan", file: demo(2), only: []string{"machine.workers[1]"}, want: `115.15 +115.15
73.00 1 machine of type small
2.00 20 GiB of root disks
3.65 1 address of machines
36.50 1 network
traffic`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := World{}
			if test.have != nil {
				w = settledWorld(t, test.have)
			}
			if test.spoil != nil {
				test.spoil(&w)
			}
			w = priced(w)
			p := Diff(test.file, want, w)
			if test.only != nil {
				p, _ = p.Only(test.only)
			}
			if got := bills(p.Price(test.file, w)); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

// TestPriceOfDestroy: what is kept goes on costing.
func TestPriceOfDestroy(t *testing.T) {
	w := priced(settledWorld(t, demo(1)))
	w.Volumes = []providers.Volume{{Meta: providers.Meta{Name: "a"}, SizeGiB: 50}}
	for _, test := range []struct {
		keep []Kind
		want string
	}{{nil, "0.00 -197.80\ntraffic"}, {[]Kind{Volume}, "4.00 -193.80\n4.00 50 GiB of volumes\ntraffic"}} {
		p := Destroy("demo", w, test.keep...)
		if got := bills(p.Price(demo(1), w)); got != test.want {
			t.Errorf("keep %v: got:\n%s\nwant:\n%s", test.keep, got, test.want)
		}
	}
	w.Prices = nil
	if c := Destroy("demo", w).Price(demo(1), w); c != nil {
		t.Errorf("without prices: %v", c)
	}
}
