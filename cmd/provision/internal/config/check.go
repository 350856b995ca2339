package config

import (
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// maxNodes is how many nodes Kubernetes is made for.
const maxNodes = 5000

// check reports what is wrong with the cluster as a whole. Each part of it is right by itself.
func (l *loader) check() {
	l.checkRanges()
	l.report(NamesTooLong(l.cluster, maxLabel)...)
	c := l.cluster
	if n := c.Machines(); n > maxNodes {
		l.report(diag.New(diag.BadCount, "The cluster would have %d machines in all. Kubernetes is made for at most %d.", n, maxNodes).
			At(c.at("cluster"), c.in()))
	}
	if c.Machines() == c.ControlPlane.Count && !l.diags.HasErrors() {
		d := diag.New(diag.NoWorkers, "No pool has a machine, and the control plane takes no pods but its own: whatever is deployed will wait.").
			At(c.at("cluster"), c.in()).Next("Add a pool, or raise the count of one.")
		d.Severity = diag.Warning
		l.report(d)
	}
}
