// Package plan compares what a file wants with what is there and says what to change. It is pure: no I/O, no clock, no
// randomness, so the same input gives the same plan, byte for byte.
package plan

import (
	"fmt"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// Schema is the version of a Plan's JSON form.
const Schema = 1

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
	Network Kind = "network"
	Machine Kind = "machine"
	Node    Kind = "node"
	Addon   Kind = "addon"
)

// A Plan is what has to change so that the world is as the file says, in the order of addresses.
type Plan struct {
	Schema  int      `json:"schema"`
	Cluster string   `json:"cluster"`
	Changes []Change `json:"changes"`
}

// A Change is one thing that a plan does.
type Change struct {
	Address string      `json:"address"` // machine.workers[2]
	Action  Action      `json:"action"`
	Kind    Kind        `json:"kind"`
	Name    string      `json:"name"`             // the object's own name: demo-workers-2
	Reason  string      `json:"reason"`           // why, in a few words
	Fields  []Field     `json:"fields,omitempty"` // what differs
	Cause   *diag.Range `json:"cause,omitempty"`  // the line that asked
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
func (p *Plan) Count(actions ...Action) int {
	n := 0
	for _, c := range p.Changes {
		for _, a := range actions {
			if c.Action == a {
				n++
			}
		}
	}
	return n
}

// Find returns the change of an address.
func (p *Plan) Find(address string) (Change, bool) {
	for _, c := range p.Changes {
		if c.Address == address {
			return c, true
		}
	}
	return Change{}, false
}

// Summary counts the changes in one line.
func (p *Plan) Summary() string {
	if p.Empty() {
		return "No changes. The cluster is as the file says."
	}
	change := p.Count(Update, Restart)
	return fmt.Sprintf("Plan: %d to create, %d to change, %d to replace, %d to delete.",
		p.Count(Create), change, p.Count(Replace), p.Count(Delete))
}
