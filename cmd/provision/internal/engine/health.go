package engine

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/provisionhq/provision/templates"
)

// An EtcdHealth is the cluster's etcd as a control-plane machine tells it.
type EtcdHealth struct {
	Quorum  bool                       `json:"quorum"`            // more than half of the voting members agree on what is said here
	Witness string                     `json:"witness,omitempty"` // the machine that said it: without a quorum it is what that one remembers
	Problem string                     `json:"problem,omitempty"`
	Members []templates.EtcdMemberInfo `json:"members,omitempty"` // sorted by name
}

// An AddressHealth is an address that moves between machines, as they tell it: the cluster's virtual one, or a Service's.
type AddressHealth struct {
	Address netip.Addr `json:"address"`
	Holder  string     `json:"holder,omitempty"` // the machine that has it; empty if none that answers has
	Problem string     `json:"problem,omitempty"`
}

// askEtcdHealth asks the control plane's machines about etcd. That nobody answers is a finding.
func (e *Engine) askEtcdHealth(ctx context.Context) *EtcdHealth {
	w, err := e.askQuorum(ctx, e.controlMachines())
	h := &EtcdHealth{Quorum: err == nil, Witness: w.name, Members: w.said.Members}
	if err != nil {
		h.Problem = firstLine(err)
	}
	return h
}

// addressHealth puts together what the agents say of the virtual address; nil if there is none.
func (e *Engine) addressHealth(agents map[string]*templates.Status) *AddressHealth {
	if !e.Cluster.Endpoint.Address.IsValid() {
		return nil
	}
	if e.Cluster.Endpoint.BGP != nil {
		return e.routedHealth(agents)
	}
	h := &AddressHealth{Address: e.Cluster.Endpoint.Address}
	var here, problems []string
	for _, name := range slices.Sorted(maps.Keys(agents)) {
		v := agents[name].VIP
		switch {
		case v == nil || v.Address != h.Address:
		case v.Here:
			here = append(here, name)
		case v.Problem != "":
			problems = append(problems, fmt.Sprintf("%s cannot have it: %s", name, v.Problem))
		}
	}
	switch {
	case len(here) == 1:
		h.Holder = here[0]
	case len(here) > 1: // asked at different moments, or a machine that cannot be reached by the others
		h.Problem = "more than one machine says that it has it: " + strings.Join(here, ", ")
	case len(problems) > 0:
		h.Problem = "no machine that answers has it; " + strings.Join(problems, "; ")
	default:
		h.Problem = "no machine that answers has it"
	}
	return h
}

// serviceHealth puts together what the agents say of Services' addresses.
func serviceHealth(agents map[string]*templates.Status) []AddressHealth {
	here, problems := map[netip.Addr][]string{}, map[netip.Addr][]string{}
	for _, name := range slices.Sorted(maps.Keys(agents)) {
		for _, s := range agents[name].Addresses {
			var holder []string
			if s.Here {
				holder = []string{name}
			}
			here[s.Address] = append(here[s.Address], holder...) // one that nobody has is listed too
			if s.Problem != "" {
				problems[s.Address] = append(problems[s.Address], fmt.Sprintf("%s cannot have it: %s", name, s.Problem))
			}
		}
	}
	var list []AddressHealth
	for _, a := range slices.SortedFunc(maps.Keys(here), netip.Addr.Compare) {
		h := AddressHealth{Address: a, Problem: strings.Join(problems[a], "; ")}
		switch len(here[a]) {
		case 0:
			h.Problem = strings.TrimSuffix("no machine that answers has it; "+h.Problem, "; ")
		case 1:
			h.Holder = here[a][0]
		default: // it moves just now, or these machines do not see one another
			h.Problem = "more than one machine has it: " + strings.Join(here[a], ", ")
		}
		list = append(list, h)
	}
	return list
}
