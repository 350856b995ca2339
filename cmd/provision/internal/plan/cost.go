package plan

import (
	"fmt"
	"math"
	"slices"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
)

// A Cost is what a cluster costs in a month of 730 hours, in US dollars, by the vendor's list prices.
type Cost struct {
	Month   float64  `json:"month"`             // once the plan is executed
	Change  float64  `json:"change"`            // Month less what it is before
	Items   []Item   `json:"items"`             // what Month is made of
	Unknown []string `json:"unknown,omitempty"` // what is not in it, as the prices do not have it
	Date    string   `json:"date"`              // of the table of prices: 2026-11-01
	Source  string   `json:"source"`            // where the vendor publishes them
	Region  string   `json:"region"`
}

// An Item is one line of a Cost.
type Item struct {
	Kind   string  `json:"kind"`           // a plan's kind, or "disk" (of machines), "address" (of machines)
	Type   string  `json:"type,omitempty"` // of machines
	Amount int     `json:"amount"`         // how many; of disks, volumes and snapshots: how many GiB
	Month  float64 `json:"month"`
}

// Kinds of items that are no kind of object.
const (
	diskItem    = "disk"
	addressItem = "address"
)

// String says what the item is.
func (i Item) String() string {
	one, many, of := i.Kind, i.Kind+"s", ""
	switch i.Kind {
	case string(Machine):
		of = " of type " + i.Type
	case addressItem:
		many, of = "addresses", " of machines"
	case diskItem:
		one, many = "GiB of root disks", "GiB of root disks"
	case string(Volume), string(Snapshot):
		one, many = "GiB of "+many, "GiB of "+many
	}
	if i.Amount == 1 {
		many = one
	}
	return fmt.Sprintf("%d %s%s", i.Amount, many, of)
}

// Price says what there is to pay in a month once the plan is executed, and what of that is the plan's doing; nil if the vendor's
// prices are not known.
func (p *Plan) Price(c *config.Cluster, w World) *Cost {
	if w.Prices == nil {
		return nil
	}
	s := stockOf(c, w)
	before := s.bill(w).sum()
	s.execute(c, p)
	after := s.bill(w)
	return &Cost{
		Month: after.sum(), Change: cents(after.sum() - before), Items: after.items, Unknown: slices.Concat(after.unknown, w.Prices.Unknown),
		Date: w.Prices.Date, Source: w.Prices.Source, Region: w.Prices.Region,
	}
}

// sum is what all items cost, each rounded, so that a person can add them up.
func (b bill) sum() (total float64) {
	for _, i := range b.items {
		total += i.Month
	}
	return cents(total)
}

// cents rounds dollars to cents.
func cents(x float64) float64 { return math.Round(x*100) / 100 }
