package config

import (
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// Limits of how many machines there can be.
const (
	maxNodes    = 20000 // in a cluster and in a pool; more is surely a slip of the finger
	testedNodes = 5000  // that Kubernetes is tested with
)

// check reports what is wrong with the cluster as a whole. Each part of it is right by itself.
func (l *loader) check() {
	l.checkRanges()
	l.report(NamesTooLong(l.cluster, maxLabel)...)
	c := l.cluster
	switch n := c.Machines(); {
	case n > maxNodes:
		l.report(diag.New(diag.BadCount, "The cluster would have %d machines in all. It can have at most %d.", n, maxNodes).
			At(c.at("cluster"), c.in()))
	case n > testedNodes:
		d := diag.New(diag.ManyNodes, "The cluster would have %d machines in all. Kubernetes is tested with at most %d nodes.", n, testedNodes).
			At(c.at("cluster"), c.in())
		d.Severity = diag.Warning
		l.report(d)
	}
	if c.Machines() == c.ControlPlane.Count && !c.Autoscales() && !l.diags.HasErrors() {
		d := diag.New(diag.NoWorkers, "No pool has a machine, and the control plane takes no pods but its own: whatever is deployed will wait.").
			At(c.at("cluster"), c.in()).Next("Add a pool, or raise the count of one.")
		d.Severity = diag.Warning
		l.report(d)
	}
}
