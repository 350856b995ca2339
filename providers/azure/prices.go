package azure

import (
	_ "embed"
	"encoding/csv"
	"slices"
	"strconv"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// priceTable says itself where it is from.
//
//go:embed prices.csv
var priceTable string

// Prices that are the same in the locations of the table, from memory as it is. Disks are Standard SSD's, which Azure sells in steps:
// one of 33 GiB costs what one of 64 does.
const (
	priceDate    = "2026-11-23"
	priceSource  = "https://azure.microsoft.com/pricing/calculator (from memory, not compared)"
	addressHour  = 0.005
	natHour      = 0.045
	balancerHour = 0.025 // up to five rules
	ssdMonth     = 0.075
	copyMonth    = 0.05
)

// machinePrices are those of machines in a location by type, per hour; none if the table does not have the location.
func machinePrices(location string) map[string]float64 {
	r := csv.NewReader(strings.NewReader(priceTable))
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil || len(rows) == 0 {
		return nil
	}
	column := slices.Index(rows[0], location)
	if column < 1 {
		return nil
	}
	by := map[string]float64{}
	for _, row := range rows[1:] {
		if price, err := strconv.ParseFloat(row[column], 64); err == nil {
			by[row[0]] = price
		}
	}
	return by
}

// prices are those of all that is not a machine's type; nil where the table does not have the location.
func (p *Provider) prices() *providers.Prices {
	if len(machinePrices(p.o.Location)) == 0 || p.o.Cloud != "public" {
		return nil
	}
	all := &providers.Prices{Date: priceDate, Source: priceSource, Region: p.o.Location, BalancerHour: balancerHour + addressHour,
		DiskGiBMonth: ssdMonth, VolumeGiBMonth: ssdMonth, SnapshotGiBMonth: copyMonth,
		Unknown: []string{"traffic", "what disks, which are sold in steps, cost above their size"}}
	if p.o.NAT == NATOne {
		all.NetworkHour = natHour + addressHour
	}
	if p.o.Addresses == Public {
		all.MachineHour = addressHour
	}
	return all
}
