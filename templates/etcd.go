package templates

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// FoundingPath is where a control-plane node is told that it founds its cluster's etcd, and with whom. A node without it
// that has no data of etcd waits until the members of the cluster's etcd take it in. The node agent removes it once etcd
// has data: a cluster is founded once.
const FoundingPath = "/etc/provision/etcd/founding.json"

// RenderFounding returns the file that tells a node that the members found a new etcd together. All of them must get the
// same list.
func RenderFounding(members []EtcdMember) (File, error) {
	b, err := json.MarshalIndent(members, "", "  ")
	if err != nil {
		return File{}, fmt.Errorf("render founding members: %w", err)
	}
	return File{Path: FoundingPath, Mode: "0600", Content: append(b, '\n')}, nil
}

// ParseFounding reads what RenderFounding wrote.
func ParseFounding(b []byte) ([]EtcdMember, error) {
	var list []EtcdMember
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("parse founding members: %w", err)
	}
	for _, m := range list {
		if m.Name == "" || !m.Address.IsValid() {
			return nil, fmt.Errorf("parse founding members: %q has no name or no address", m.Name)
		}
	}
	return list, nil
}

// An EtcdReport is what `node-agent etcd members --json` prints: the cluster's etcd as the members see it that answer.
type EtcdReport struct {
	Cluster  string           `json:"cluster"` // ID, hexadecimal
	Revision int64            `json:"revision"`
	Quorum   bool             `json:"quorum"`            // the list is agreed on by more than half of the voters; else it is what one member remembers
	Problem  string           `json:"problem,omitempty"` // why there is no quorum
	Members  []EtcdMemberInfo `json:"members"`           // sorted by name, then ID
}

// An EtcdMemberInfo is one member of etcd, as seen by a node agent.
type EtcdMemberInfo struct {
	ID      string     `json:"id"`   // hexadecimal
	Name    string     `json:"name"` // "" until it has started for the first time
	Address netip.Addr `json:"address"`
	Learner bool       `json:"learner,omitempty"`
	Leader  bool       `json:"leader,omitempty"`
	Started bool       `json:"started"` // it has started at least once
	Healthy bool       `json:"healthy"` // it answers and knows a leader
	Problem string     `json:"problem,omitempty"`
	Version string     `json:"version,omitempty"`
	Size    int64      `json:"size,omitempty"` // of its file, in bytes
	Used    int64      `json:"used,omitempty"` // of that, in use
	Index   uint64     `json:"index,omitempty"`
	Lag     uint64     `json:"lag,omitempty"` // entries of the log that the leader has and it has not applied
}

// Find returns the member of a name, an ID or an address.
func (r EtcdReport) Find(which string) (EtcdMemberInfo, bool) {
	for _, m := range r.Members {
		if m.ID == which || m.Name != "" && m.Name == which || m.Address.IsValid() && m.Address.String() == strings.Trim(which, "[]") {
			return m, true
		}
	}
	return EtcdMemberInfo{}, false
}

// Voters returns how many members vote, and how many of those are healthy.
func (r EtcdReport) Voters() (all, healthy int) {
	for _, m := range r.Members {
		if m.Learner {
			continue
		}
		all++
		if m.Healthy {
			healthy++
		}
	}
	return all, healthy
}

// SurvivesWithout reports whether etcd keeps its quorum when the member of that ID is removed or lost.
func (r EtcdReport) SurvivesWithout(id string, removed bool) bool {
	all, healthy := r.Voters()
	for _, m := range r.Members {
		if m.ID != id || m.Learner {
			continue
		}
		if removed {
			all--
		}
		if m.Healthy {
			healthy--
		}
	}
	return healthy > all/2
}

// An EtcdSnapshot is a copy of etcd's data on a node, as `node-agent etcd snapshot` prints it.
type EtcdSnapshot struct {
	Path     string    `json:"path"`
	Size     int64     `json:"size"` // bytes
	Revision int64     `json:"revision"`
	Keys     int64     `json:"keys"`
	Hash     uint32    `json:"hash"` // of the content, as etcd calculates it
	Taken    time.Time `json:"taken"`
}

// An EtcdState is what a control-plane node's member of etcd is.
type EtcdState string

// The states of a member.
const (
	EtcdFounding EtcdState = "founding" // it has no data and founds a new cluster
	EtcdJoining  EtcdState = "joining"  // it has no data and waits to be taken in
	EtcdLearner  EtcdState = "learner"  // it is in, and does not vote yet
	EtcdVoter    EtcdState = "voter"
	EtcdRemoved  EtcdState = "removed" // the others have removed it: its data is of no use
	EtcdForeign  EtcdState = "foreign" // its data is of another cluster than the others'
	EtcdLost     EtcdState = "lost"    // it was a member and its data is gone
	EtcdUnknown  EtcdState = "unknown" // it has data and has not answered yet
)

// An EtcdStatus is a node's member of etcd, as its agent sees it.
type EtcdStatus struct {
	State   EtcdState `json:"state"`
	Cluster string    `json:"cluster,omitempty"` // ID, hexadecimal
	Member  string    `json:"member,omitempty"`  // ID, hexadecimal
	Leader  bool      `json:"leader,omitempty"`
	Problem string    `json:"problem,omitempty"` // why it does not run, and what mends it
}

// A VIPStatus is the cluster's virtual address, as one control-plane node sees it.
type VIPStatus struct {
	Address   netip.Addr `json:"address"`
	Interface string     `json:"interface,omitempty"`
	Here      bool       `json:"here"`              // this node announces it
	Holder    string     `json:"holder,omitempty"`  // name of the node that holds it, as far as is known
	Problem   string     `json:"problem,omitempty"` // why this node cannot hold it

	Routers []BGPPeerStatus `json:"routers,omitempty"` // that are told of it; then several nodes may have it at once
}
