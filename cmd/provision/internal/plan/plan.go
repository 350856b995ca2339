// Package plan compares what a file wants with what is there and says what to change. It is pure: no I/O, no clock, no
// randomness, so the same input gives the same plan, byte for byte.
package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// Schema is the version of a Plan's JSON form.
const Schema = 1

// Actions returns all actions, from the mildest to the hardest.
func Actions() []Action { return []Action{Create, Update, Restart, Replace, Delete} }

// An Action is what a change does to its object.
type Action string

// The actions, from the mildest to the hardest.
const (
	Create  Action = "create"
	Update  Action = "update"  // in place; nothing restarts
	Restart Action = "restart" // in place; processes of that node restart
	Replace Action = "replace" // delete, then create
	Delete  Action = "delete"
)

// A Kind is the kind of object that a change is about, and the first part of its address.
type Kind string

// The kinds.
const (
	Network     Kind = "network"
	Certificate Kind = "certificate" // what makes its holder the cluster's owner: authorities and keys
	Machine     Kind = "machine"
	Etcd        Kind = "etcd" // a member of the cluster's etcd
	Node        Kind = "node"
	Addon       Kind = "addon"
	Balancer    Kind = "balancer"
	Volume      Kind = "volume"
	Snapshot    Kind = "snapshot"
)

// A Plan is what has to change so that the world is as the file says, in the order of addresses.
type Plan struct {
	Schema  int      `json:"schema"`
	Cluster string   `json:"cluster"`
	Changes []Change `json:"changes"`
	LeftOut int      `json:"left_out,omitempty"` // changes that Only took out
	Kept    []string `json:"kept,omitempty"`     // addresses of what a destroy leaves, as it was told to
	Cost    *Cost    `json:"cost,omitempty"`     // nil if the vendor's prices are not known

	// Preflight is what the vendor said of the plan; nil if it was not asked, or has nothing to say.
	Preflight *Preflight `json:"preflight,omitempty"`
}

// A Change is one thing that a plan does.
type Change struct {
	Address string      `json:"address"` // machine.workers[2]
	Action  Action      `json:"action"`
	Kind    Kind        `json:"kind"`
	Name    string      `json:"name"`             // the object's own name: demo-workers-2
	ID      string      `json:"id,omitempty"`     // of the object at the vendor that is changed, replaced or deleted
	Reason  string      `json:"reason"`           // why, in a few words
	Drift   bool        `json:"drift,omitempty"`  // the file asks for what was there before: somebody else changed it since
	Fields  []Field     `json:"fields,omitempty"` // what differs
	Cause   *diag.Range `json:"cause,omitempty"`  // the line that asked
	Danger  string      `json:"danger,omitempty"` // what is lost by it, for good: refused unless a person accepts it
}

// A Field is one value that differs.
type Field struct {
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Empty says that nothing has to change.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }

// Count returns how many changes have one of the actions.
func (p *Plan) Count(actions ...Action) int { return len(p.With(actions...)) }

// With returns the changes that have one of the actions.
func (p *Plan) With(actions ...Action) []Change {
	var cs []Change
	for _, c := range p.Changes {
		if slices.Contains(actions, c.Action) {
			cs = append(cs, c)
		}
	}
	return cs
}

// OfKind returns the changes of one kind.
func (p *Plan) OfKind(k Kind) []Change {
	var cs []Change
	for _, c := range p.Changes {
		if c.Kind == k {
			cs = append(cs, c)
		}
	}
	return cs
}

// Summary counts the changes in one line.
func (p *Plan) Summary() string {
	switch {
	case p.Empty() && p.LeftOut > 0:
		return fmt.Sprintf("No changes among those named; %s.", p.leftOut())
	case p.Empty():
		return "No changes. The cluster is as the file says."
	}
	s := fmt.Sprintf("Plan: %d to create, %d to change, %d to replace, %d to delete.",
		p.Count(Create), p.Count(Update, Restart), p.Count(Replace), p.Count(Delete))
	if p.LeftOut > 0 {
		s += fmt.Sprintf(" %s.", p.leftOut())
	}
	if len(p.Kept) > 0 {
		s += fmt.Sprintf(" Kept: %s.", strings.Join(p.Kept, ", "))
	}
	return s
}

func (p *Plan) leftOut() string {
	if p.LeftOut == 1 {
		return "1 other is left out"
	}
	return fmt.Sprintf("%d others are left out", p.LeftOut)
}
