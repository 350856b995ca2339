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
	gone, moved := 0, 0
	var best templates.EtcdMemberInfo // that says most
	for _, i := range r.Members {
		m, there := e.machine(i.Name)
		problem := hosts[i.Name].Problem
		switch {
		case i.Learner:
		case there && m.Private != i.Address && hosts[i.Name].Node != nil && hosts[i.Name].Node.Address == i.Address:
			away = append(away, fmt.Sprintf("%s is at %s now, and the others look for it at %s", i.Name, m.Private, i.Address))
			moved++
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
	case moved > 0 && len(left)+moved > voters/2:
		return d.Next("Members learn another's new address by agreeing on it, so the addresses may change of less than half of the machines at a time. Give as many back their old addresses as are needed for more than half, in the inventory and on them, and go on; then change the others:", e.again())
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
