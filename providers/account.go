package providers

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// An Account is what a vendor knows of who asks: who that is, what it may do, how much it may have, and what is on offer to
// it. A vendor that knows nothing of it returns NoAccount.
type Account interface {
	// Check compares what is about to be made with what the account may do and have. It changes nothing at the vendor; calls
	// that are refused, or that the vendor only pretends to do, are its means. What it finds is in the report; an error
	// means that it could not look, and wraps a Kind: Denied if the credentials are missing, wrong or expired. What the
	// account may not look at (a quota that it may not read) is left out, with a line in Unseen. Safe for concurrent use.
	Check(context.Context, Need) (Report, error)
}

// A Need is what is about to be made: the objects that are not there yet, by their specs.
type Need struct {
	Owner         Owner              `json:"owner"`
	Networks      []NetworkSpec      `json:"networks,omitempty"`
	Machines      []MachineSpec      `json:"machines,omitempty"` // Network is empty where the network is not there yet
	LoadBalancers []LoadBalancerSpec `json:"load_balancers,omitempty"`
	Volumes       []VolumeSpec       `json:"volumes,omitempty"`
}

// A Report is what Check found. The zero Report is that of an account in which nothing stands in the way.
type Report struct {
	Identity string    `json:"identity,omitempty"` // who asks, as the vendor names it: arn:aws:iam::123456789012:user/ops
	Place    string    `json:"place,omitempty"`    // where things would be made: "account 123456789012, eu-west-1"
	Missing  []string  `json:"missing,omitempty"`  // permissions that are needed and not given, as the vendor's policies name them; sorted
	Limits   []Limit   `json:"limits,omitempty"`   // quotas that the need counts against, sorted by name
	Problems []Problem `json:"problems,omitempty"` // what the vendor would refuse for another reason
	Unseen   []string  `json:"unseen,omitempty"`   // what could not be looked at, and why, one line each
}

// A Limit is how much the account may have of something, what is used of it, and what the need takes.
type Limit struct {
	Name string  `json:"name"`           // as the vendor's console names it
	Unit string  `json:"unit,omitempty"` // "vCPU", "addresses"; empty if the name says it
	Max  float64 `json:"max"`
	Used float64 `json:"used"`
	Need float64 `json:"need"`
	Noun Noun    `json:"noun,omitempty"` // kind of the objects that count against it; empty: several, or none of ours
}

// Exceeded says whether the need does not fit.
func (l Limit) Exceeded() bool { return l.Used+l.Need > l.Max }

// A Problem is one thing that the vendor would refuse: an image that is gone, a type that is not offered in a zone, a range
// that overlaps, a name that somebody else's object has, a network of the account without a route out.
type Problem struct {
	Kind  Kind   `json:"kind"`            // what the call that makes the object would return
	Noun  Noun   `json:"noun"`            // kind of the object that would be refused
	Name  string `json:"name"`            // its name; empty: any of its kind
	Field string `json:"field,omitempty"` // of its spec: "type", "image", "zone", "cidr", "network"
	Text  string `json:"text"`            // what is wrong and what would be right, with the vendor's request ID if it said it
}

// Prices are a vendor's list prices in one region, in US dollars without tax or discount, beside those of the machine types
// (MachineType.PriceUSD). Zero means that it costs nothing; Unknown names what the table does not have.
type Prices struct {
	Date             string   `json:"date"`   // day that the table was made, 2026-11-01
	Source           string   `json:"source"` // where the vendor publishes them
	Region           string   `json:"region"`
	NetworkHour      float64  `json:"network_hour,omitempty"`       // a network with its gateways, as this provider is set to make them
	MachineHour      float64  `json:"machine_hour,omitempty"`       // on top of a machine's type: its address on the internet
	BalancerHour     float64  `json:"balancer_hour,omitempty"`      // a balancer with its addresses, without traffic
	DiskGiBMonth     float64  `json:"disk_gib_month,omitempty"`     // root disks
	VolumeGiBMonth   float64  `json:"volume_gib_month,omitempty"`   // volumes of the default type
	SnapshotGiBMonth float64  `json:"snapshot_gib_month,omitempty"` // per GiB that is kept
	Unknown          []string `json:"unknown,omitempty"`            // what costs something that the table does not say: "traffic"
}

// Clone returns a copy that shares no memory; nil for nil.
func (p *Prices) Clone() *Prices {
	if p == nil {
		return nil
	}
	own := *p
	own.Unknown = slices.Clone(p.Unknown)
	return &own
}

// Validate returns an error if the prices have no day, source or region, or one of them is negative. No prices are valid.
func (p *Prices) Validate() error {
	if p == nil {
		return nil
	}
	if _, err := time.Parse(time.DateOnly, p.Date); err != nil || p.Source == "" || p.Region == "" {
		return fmt.Errorf("prices of the day %q, from %q, in region %q: each has to be there", p.Date, p.Source, p.Region)
	}
	for _, x := range []float64{p.NetworkHour, p.MachineHour, p.BalancerHour, p.DiskGiBMonth, p.VolumeGiBMonth, p.SnapshotGiBMonth} {
		if x < 0 {
			return fmt.Errorf("a price of %v", x)
		}
	}
	return nil
}

// NoAccount is what a vendor without accounts returns: Check finds nothing.
type NoAccount struct{}

// Check returns an empty report.
func (NoAccount) Check(context.Context, Need) (Report, error) { return Report{}, nil }

// String is the limit in one line, for a person.
func (l Limit) String() string {
	number := func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) } // never 1e+06
	max := number(l.Max)
	if l.Unit != "" {
		max += " " + l.Unit
	}
	return fmt.Sprintf("%s: %s of %s used, %s needed", l.Name, number(l.Used), max, number(l.Need))
}
