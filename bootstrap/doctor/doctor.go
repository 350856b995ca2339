// Package doctor examines machines before they become nodes: all that kubeadm's preflight looks at, and what only shows
// between machines: clocks, ports in both directions, packet sizes, and duplicates of what has to be unique.
//
// It changes nothing. On each machine one shell script tells what it is like; then a scout, a small program that removes its
// own file as it starts, puts up listeners for as long as the examination takes, tries all ports of all others, and times the
// disk. What the machines are is the caller's business: a vendor's machines, or hosts of an inventory that nobody has
// claimed yet.
package doctor

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

// A Host is a machine to examine.
type Host struct {
	Name    string         // as people know it, and as its node is to be called
	Role    templates.Role // that it is to have; empty if that is open: then it has to be fit for every role
	Address netip.Addr     // by which other machines of the cluster reach it
	UID     string         // of the cluster that may have it already; "" if none

	// Dial connects to it. The examination closes what it returns, unless Keep is set.
	Dial func(context.Context) (ssh.Host, error)
	Keep bool // the connection is borrowed
}

// ErrStopped is what Host.Dial returns for a machine that its vendor lists as stopped.
var ErrStopped = errors.New("the vendor lists the machine as stopped")

// Options says what the machines are to be fit for. The zero value of each is its default.
type Options struct {
	Cluster  string
	Arch     string       // of the programs at hand, as Go names it; "" accepts any
	Pods     netip.Prefix // the cluster's ranges; those that are not valid are not checked
	Services netip.Prefix
	Machines netip.Prefix
	Backend  string        // of the pod network: "vxlan" (default) or "host-gw"
	Install  int64         // bytes that /opt/provision needs for what is to be installed; 1 GiB
	Scout    *ssh.Source   // the program that is sent ahead; without it only what a shell sees is examined
	DiskTime time.Duration // how long the disk is written to; 2 s
	Connect  time.Duration // how long a machine may take to let us in; 10 s
	Patience time.Duration // how long any other part of the examination may take; 60 s
	Width    int           // machines that are connected to at the same moment; 64
}

func (o Options) withDefaults() Options {
	if o.Backend == "" {
		o.Backend = "vxlan"
	}
	if o.Install == 0 {
		o.Install = 1 << 30
	}
	if o.Width == 0 {
		o.Width = 64
	}
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&o.DiskTime, 2*time.Second)
	set(&o.Connect, 10*time.Second)
	set(&o.Patience, time.Minute)
	return o
}

// A Severity says how much a finding matters.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the machine cannot become a node, or the cluster will not work
	Warning Severity = "warning" // it will work, and something will go wrong some day
	Note    Severity = "note"    // worth knowing
)

// A Finding is one thing that is wrong on some machines.
type Finding struct {
	ID       ID       `json:"id"`
	Severity Severity `json:"severity"`
	Host     string   `json:"host"`
	What     string   `json:"what"`            // a sentence with its full stop
	Mend     string   `json:"mend"`            // what to do, in words: a sentence with its full stop
	Run      []string `json:"run,omitempty"`   // commands to paste
	Where    string   `json:"where,omitempty"` // host on which to run them; "" is the machine that runs provision
}

// A Report is the outcome of an examination. Findings are sorted: errors first, then by ID, what, host.
type Report struct {
	Schema   int           `json:"schema"`
	Cluster  string        `json:"cluster,omitempty"`
	Hosts    []Examined    `json:"hosts"` // in the order they were given
	Findings []Finding     `json:"findings"`
	Took     time.Duration `json:"-"`
}

// Examined is what was looked at on one machine.
type Examined struct {
	Name     string   `json:"name"`
	Address  string   `json:"address"`
	Role     string   `json:"role,omitempty"`
	Sound    bool     `json:"sound"`              // no error and no warning
	Skipped  []string `json:"skipped,omitempty"`  // parts that were not examined, and why
	Disk     string   `json:"disk_p99,omitempty"` // that a write takes until it is safe, as "1.2ms"
	ClockOff string   `json:"clock_off,omitempty"`
}

// Schema is the version of a Report's JSON.
const Schema = 1

// Examine looks at all hosts side by side. What is wrong with a host is a finding; an error is only that of the context.
func Examine(ctx context.Context, hosts []Host, o Options) (*Report, error) {
	start := time.Now()
	e := newExamination(hosts, o.withDefaults())
	defer e.close()
	e.connect(ctx)
	e.survey(ctx)
	e.sendScouts(ctx)
	e.ask(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r := e.judge()
	r.Took = time.Since(start)
	return r, nil
}

// Errors is how many findings are errors.
func (r *Report) Errors() int { return r.count(Error) }

func (r *Report) count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}
