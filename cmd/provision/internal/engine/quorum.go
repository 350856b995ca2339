package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// outvoted says that etcd has lost its quorum for good, as far as the vendor knows: the machines of half of its voting members,
// or more, are gone. Nil if it has a quorum, or machines that are there can bring it back.
func (e *Engine) outvoted(r templates.EtcdReport) error {
	voters, _ := r.Voters()
	if r.Quorum || voters == 0 {
		return nil
	}
	var gone, left []string
	var best templates.EtcdMemberInfo // that says most
	for _, i := range r.Members {
		if i.Learner {
			continue
		}
		m, there := e.machine(i.Name)
		if !there || m.Private != i.Address {
			gone = append(gone, cmp.Or(i.Name, i.Address.String()))
			continue
		}
		left = append(left, i.Name)
		if m.State != providers.Stopped && (best.Name == "" || i.Index > best.Index) {
			best = i
		}
	}
	if len(left) > voters/2 {
		return nil
	}
	d := diag.New(diag.EtcdNoQuorum, "etcd has %d voting members, and the machines of %d of them are gone: %s. %s left, which %s no more than half, so nothing can be agreed on, and no member can be added or removed. What runs on the nodes goes on.",
		voters, len(gone), strings.Join(gone, ", "), upper(plainList(left)), map[bool]string{true: "is", false: "are"}[len(left) < 2])
	if best.Name == "" {
		return d.Next("Start a machine that holds the cluster's data, or bring back those that are gone.")
	}
	return d.Next("If those machines can come back with their disks, bring them back. If they are gone for good, make a cluster of one of what a machine that is left holds, and let the next apply add the others. What only the lost machines held is lost:",
		fmt.Sprintf("provision restore %s --from %s --accept %s", e.Cluster.File, best.Name, DataLoss), e.again())
}

// plainList is a list in a sentence.
func plainList(names []string) string {
	switch len(names) {
	case 0:
		return "none is"
	case 1:
		return names[0] + " is"
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " are"
}

// survivors are the names of control-plane machines that run, by the vendor, but one.
func (e *Engine) survivors(but string) []string {
	var names []string
	for _, m := range e.controlMachines() {
		if m.Name != but {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}
