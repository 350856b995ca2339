package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// outvoted says that etcd cannot have a quorum: the machines of half of its voting members, or more, are gone at the vendor, or
// cannot be reached, as far as hosts tell. Nil if it has a quorum, or if those that are there can bring it back.
func (e *Engine) outvoted(r templates.EtcdReport, hosts map[string]plan.Host) error {
	voters, _ := r.Voters()
	if r.Quorum || voters == 0 {
		return nil
	}
	var away, left []string
	gone := 0
	var best templates.EtcdMemberInfo // that says most
	for _, i := range r.Members {
		m, there := e.machine(i.Name)
		problem := hosts[i.Name].Problem
		switch {
		case i.Learner:
		case !there || m.Private != i.Address:
			away = append(away, cmp.Or(i.Name, i.Address.String())+" is gone at the vendor")
			gone++
		case problem != "" && m.State != providers.Stopped: // those that are stopped are started
			away = append(away, i.Name+" cannot be reached: "+problem)
		default:
			left = append(left, i.Name)
			if m.State != providers.Stopped && (best.Name == "" || i.Index > best.Index) {
				best = i
			}
		}
	}
	if len(left) > voters/2 {
		return nil
	}
	d := diag.New(diag.EtcdNoQuorum, "etcd has %d voting members, and more than half of them have to agree on every change. Of these:\n\n- %s\n\nSo nothing in the cluster can change now; what runs on the nodes goes on. Nothing was changed.",
		voters, strings.Join(away, "\n- "))
	switch {
	case best.Name == "":
		return d.Next("Bring back, or start, machines that hold the cluster's data.")
	case gone > voters/2 || len(away) == gone:
		d.Advice = "If the machines can come back with their disks, bring them back. If they are gone for good, make a cluster of one of what a machine that is left holds, and let the next apply add the others. What only the lost machines held is lost:"
	default:
		d.Advice = "If the network between here and there is cut, mend it, or run the command on the other side: the others may have a quorum there. If the machines are lost, cycle their power. Only if they are gone for good, make a cluster of one of what a machine that is left holds; what only the others hold is lost then:"
	}
	d.Commands = []string{fmt.Sprintf("provision restore %s --from %s --accept %s", e.Cluster.File, best.Name, DataLoss), e.again()}
	return d
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
