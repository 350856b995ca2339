package gcp

import (
	"encoding/csv"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/gcp/gcptest"
)

func TestPriceTable(t *testing.T) {
	r := csv.NewReader(strings.NewReader(priceTable))
	r.Comment, r.FieldsPerRecord = '#', 4
	rows, err := r.ReadAll()
	if err != nil || len(rows) < 10 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	seen := map[string]bool{}
	for _, row := range rows[1:] {
		for _, field := range row[2:] {
			if v, err := strconv.ParseFloat(field, 64); err != nil || v <= 0 || v > 1 {
				t.Errorf("%v: %q is no price of an hour", row, field)
			}
		}
		if key := row[0] + " " + row[1]; seen[key] || !regionForm.MatchString(row[0]) {
			t.Errorf("%s is there twice, or of no region", key)
		} else {
			seen[key] = true
		}
	}
}

func TestPrices(t *testing.T) {
	for _, s := range []struct {
		t    providers.MachineType
		want float64
	}{
		{providers.MachineType{Name: "e2-standard-2", CPUs: 2000, MemoryMiB: 8192}, 0.0670},
		{providers.MachineType{Name: "e2-medium", CPUs: 2000, MemoryMiB: 4096}, 0.0335},
		{providers.MachineType{Name: "n2-highmem-4", CPUs: 4000, MemoryMiB: 32768}, 0.2620},
		{providers.MachineType{Name: "c4-standard-4", CPUs: 4000, MemoryMiB: 15360}, 0},
		{providers.MachineType{Name: "e2-custom-4-8192", CPUs: 4000, MemoryMiB: 8192}, 0},
		{providers.MachineType{Name: "n1-standard-4", CPUs: 4000, MemoryMiB: 15360, GPUs: 1}, 0},
	} {
		if got := price(rates("us-central1"), s.t); math.Abs(got-s.want) > 0.0001 {
			t.Errorf("%s costs %g, want %g", s.t.Name, got, s.want)
		}
	}
	for _, o := range []Options{{}, {NAT: NATOne}, {NAT: NATOne, Addresses: Private}} {
		p := open(t, gcptest.Options{}, o)
		all := p.Caps().Prices
		if err := all.Validate(); err != nil || all == nil {
			t.Errorf("%+v: %v", all, err)
		}
		if all != nil && (all.MachineHour > 0) != (o.Addresses != Private || o.NAT == NATOne) || (all.NetworkHour > 0) != (o.NAT == NATOne) {
			t.Errorf("with %+v the prices are %+v", o, all)
		}
		all.Unknown[0] = "scribbled"
		if p.Caps().Prices.Unknown[0] == "scribbled" {
			t.Error("two callers have the same prices")
		}
	}
	p := open(t, gcptest.Options{}, Options{})
	types, err := p.Machines().Types(t.Context())
	for _, mt := range types {
		if priced := mt.PriceUSD > 0; priced != (strings.HasPrefix(mt.Name, "e2-") || strings.HasPrefix(mt.Name, "n2-")) {
			t.Errorf("type %s costs %g", mt.Name, mt.PriceUSD)
		}
		if mt.Volumes != 127 {
			t.Errorf("type %s takes %d volumes beside its root disk, want Google's 128 less one", mt.Name, mt.Volumes)
		}
	}
	if err != nil || len(types) == 0 {
		t.Errorf("%d types, %v", len(types), err)
	}
	p.o.Region = "mars-north1"
	if all := p.Caps().Prices; all != nil {
		t.Errorf("a region that the table does not have: %+v", all)
	}
}
