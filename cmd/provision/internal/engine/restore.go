package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
)

// A Restore is what makes a cluster of one of what one control-plane machine holds.
type Restore struct {
	Machine  string   // whose data, or snapshot, it is
	Snapshot string   // path on the machine; empty: the data of its member
	Lost     []string // members of etcd that are no members after it
	host     ssh.Host
}

// PlanRestore looks at what a restore would do, and refuses what would break a cluster that works. It changes nothing.
func (e *Engine) PlanRestore(ctx context.Context, from, snapshot string) (Restore, error) {
	h, m, err := e.Connect(ctx, from)
	if err != nil {
		return Restore{}, err
	}
	if m.Pool != plan.ControlPlanePool {
		return Restore{}, diag.New(diag.UnknownNode, "%s is no machine of the control plane, so it holds no data of the cluster.", m.Name)
	}
	r := Restore{Machine: m.Name, Snapshot: snapshot, host: h}
	report, err := bootstrap.EtcdMembers(ctx, h)
	if err != nil && snapshot == "" {
		return r, diag.Wrap(err, diag.EtcdFailed, "etcd on %s does not say what it holds: %s. Nothing was changed.", m.Name, firstLine(err)).
			Next("See why it does not run, or name a snapshot with --snapshot:", "provision logs "+e.Cluster.File+" "+m.Name+" etcd")
	}
	voters, healthy := report.Voters()
	for _, i := range report.Members {
		if i.Name != m.Name {
			r.Lost = append(r.Lost, i.Name)
		}
	}
	switch others := e.survivors(m.Name); {
	case snapshot == "" && report.Quorum:
		return r, diag.New(diag.EtcdFailed, "etcd has a quorum: %d of %d voting members are well. So nothing needs to be lost, and nothing was changed.", healthy, voters).
			Next("Members that are gone are replaced by an apply:", e.again())
	case snapshot != "" && len(others) > 0:
		return r, diag.New(diag.EtcdFailed, "%s run too, and would go on with what they have, beside what the snapshot brings back. Nothing was changed.", upper(strings.Join(others, ", "))).
			Next(fmt.Sprintf("Make %s the only machine of the control plane (count = 1), apply, restore, and grow again. Or stop the others first.", m.Name))
	}
	return r, nil
}

// Words says what the restore does and what is lost.
func (r Restore) Words() string {
	s := fmt.Sprintf("etcd on %s becomes a cluster of one, with the data that its member has.", r.Machine)
	if r.Snapshot != "" {
		s = fmt.Sprintf("etcd on %s becomes a cluster of one, with the data of %s. All that the cluster learned since is lost; the data of now is put aside on the machine.", r.Machine, r.Snapshot)
	}
	if len(r.Lost) > 0 {
		s += fmt.Sprintf(" Members no longer: %s. What only they held is lost, and they must never come back as they were.", strings.Join(r.Lost, ", "))
	}
	return s + " The API server starts again; pods go on."
}

// Restore does it. say gets lines of how far it is.
func (e *Engine) Restore(ctx context.Context, r Restore, say func(string)) error {
	if !slices.Contains(e.Accept, DataLoss) {
		return diag.New(diag.EtcdLoss, "%s Nothing was changed.", r.Words()).
			Next("If that is what you want, say so:", r.again(e.Cluster.File)+" --accept "+DataLoss)
	}
	err := bootstrap.EtcdRestore(ctx, r.host, r.Snapshot, say)
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		d := diag.Wrap(err, diag.EtcdFailed, "etcd on %s was not restored.", r.Machine).Next("The lines above are the machine's own. When the cause is mended, run the same command again:", r.again(e.Cluster.File)+" --accept "+DataLoss)
		d.Output = lines(exit.Stderr)
		return d
	}
	return err
}

func (r Restore) again(file string) string {
	s := "provision restore " + file + " --from " + r.Machine
	if r.Snapshot != "" {
		s += " --snapshot " + r.Snapshot
	}
	return s
}
