package gcp

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

// Prices that are the same in all regions of the table. Those of NAT are as Google's page has them,
// https://cloud.google.com/nat/pricing; the others are from memory, not compared with https://cloud.google.com/vpc/network-pricing and
// https://cloud.google.com/compute/disks-image-pricing.
const (
	priceDate   = "2026-11-23"
	priceSource = "https://cloud.google.com/compute/all-pricing (from memory, not compared)"
	addressHour = 0.005  // an address that a machine or NAT uses; a forwarding rule's own costs nothing
	natHour     = 0.0014 // for each machine that uses it, up to 32
	ruleHour    = 0.025  // a forwarding rule; this much for the first five of a project together, and 0.01 for each further one
	diskMonth   = 0.1    // pd-balanced
	copyMonth   = 0.05   // standard snapshots
)

// A rate is what a processor and a GiB of memory cost an hour.
type rate struct{ processor, gib float64 }

// rates are those of a region by series; none if the table does not have the region.
func rates(region string) map[string]rate {
	r := csv.NewReader(strings.NewReader(priceTable))
	r.Comment = '#'
	rows, _ := r.ReadAll() // a test reads it
	by := map[string]rate{}
	for _, row := range rows {
		if row[0] == region {
			processor, _ := strconv.ParseFloat(row[2], 64)
			gib, _ := strconv.ParseFloat(row[3], 64)
			by[row[1]] = rate{processor, gib}
		}
	}
	return by
}

// price is what a machine of the type costs an hour; 0 if the table does not have it.
func price(by map[string]rate, t providers.MachineType) float64 {
	series, size, _ := strings.Cut(t.Name, "-")
	family, _, _ := strings.Cut(size, "-")
	cpus := float64(t.CPUs) / 1000
	if shared := map[string]float64{"e2-micro": 0.25, "e2-small": 0.5, "e2-medium": 1}[t.Name]; shared > 0 {
		cpus = shared // of the processors that it sees
	} else if !slices.Contains([]string{"standard", "highmem", "highcpu"}, family) || t.GPUs > 0 {
		return 0
	}
	r := by[series]
	return cpus*r.processor + float64(t.MemoryMiB)/1024*r.gib
}

// prices are those of all that is not a machine's type; nil where the table does not have the region.
func (p *Provider) prices() *providers.Prices {
	if len(rates(p.o.Region)) == 0 {
		return nil
	}
	all := &providers.Prices{Date: priceDate, Source: priceSource, Region: p.o.Region, BalancerHour: ruleHour, DiskGiBMonth: diskMonth, VolumeGiBMonth: diskMonth,
		SnapshotGiBMonth: copyMonth, Unknown: []string{"traffic"}}
	if p.o.Addresses == Public {
		all.MachineHour = addressHour
	}
	if p.o.NAT == NATOne {
		all.NetworkHour = addressHour
		all.Unknown = append(all.Unknown, "what NAT transports")
		if p.o.Addresses == Private {
			all.MachineHour = natHour
		}
	}
	return all
}
