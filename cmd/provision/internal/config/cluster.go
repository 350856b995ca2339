package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// plain turns a value into plain data: string, int64, float64, bool, []any, map[string]any or nil.
func plain(v cty.Value) any {
	t := v.Type()
	switch {
	case v.IsNull():
		return nil
	case t == cty.String:
		return v.AsString()
	case t == cty.Bool:
		return v.True()
	case t == cty.Number:
		f := v.AsBigFloat()
		if n, exact := f.Int64(); exact == 0 {
			return n
		}
		n, _ := f.Float64()
		return n
	case t.IsObjectType() || t.IsMapType():
		m := map[string]any{}
		for k, e := range v.AsValueMap() {
			m[k] = plain(e)
		}
		return m
	case v.CanIterateElements():
		list := []any{}
		for _, e := range v.AsValueSlice() {
			list = append(list, plain(e))
		}
		return list
	}
	return nil
}

// clusterBlock reads the cluster block and all in it.
func (l *loader) clusterBlock(t top, files []file) {
	b := l.one(t.clusters, files, "cluster", `cluster "demo" { … }`)
	if b == nil {
		return
	}
	name, ok := l.labels(b, 1)
	if !ok {
		return
	}
	c := l.cluster
	c.Name = name
	c.Ranges["cluster"] = l.place(b.DefRange())
	if problem := checkName("cluster", name); problem != "" {
		l.report(l.diag(diag.BadName, b.LabelRanges[0], c.in(), "%s", problem))
	}
	r := l.reader(b, c.in(), "-")
	r.need("kubernetes", `kubernetes = "1.37.2"`)
	if v, ok := r.text("kubernetes"); ok {
		c.Kubernetes = v.text
		l.checkVersion(v, c.in())
	}
	c.CloudAgent = !r.no("cloud_agent")
	l.network(l.atMostOne(b, "network"))
	l.controlPlane(b)
	l.pools(b)
	r.finish("network", "control_plane", "pool")
}

// atMostOne returns the cluster's block of that type, or nil.
func (l *loader) atMostOne(b *hclsyntax.Block, kind string) *hclsyntax.Block {
	return l.atMostOneIn(b, kind, "cluster")
}

// atMostOneIn returns the block of that type within another, or nil.
func (l *loader) atMostOneIn(b *hclsyntax.Block, kind, in string) *hclsyntax.Block {
	var first *hclsyntax.Block
	for _, n := range b.Body.Blocks {
		switch {
		case n.Type != kind:
		case first == nil:
			first = n
			l.labels(n, 0)
		default:
			l.again(n, first, "A %s has only one %s block.", in, kind)
		}
	}
	return first
}

func (l *loader) checkVersion(v item, in string) {
	if regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`).MatchString(v.text) {
		return
	}
	d := l.diag(diag.BadVersion, v.place, in, "%q is not a version of Kubernetes: it has three numbers, like 1.37.2.", v.text)
	if bare := strings.TrimPrefix(v.text, "v"); bare != v.text {
		d.Detail = fmt.Sprintf("Versions are written without the letter v: %q.", bare)
	}
	l.report(d)
}

// network reads the network block, which may be missing.
func (l *loader) network(b *hclsyntax.Block) {
	n := &l.cluster.Network
	*n = Network{
		Pods: netip.MustParsePrefix(DefaultPods), Services: netip.MustParsePrefix(DefaultServices),
		Domain: DefaultDomain, Backend: DefaultBackend, NodeBits: DefaultNodeBits,
	}
	if b == nil {
		return
	}
	l.cluster.Ranges["network"] = l.place(b.DefRange())
	r := l.reader(b, "network", "network.")
	r.ownRange("machines", &n.Machines)
	r.ownRange("pods", &n.Pods)
	r.ownRange("services", &n.Services)
	if v, ok := r.text("domain"); ok {
		n.Domain = v.text
		if !regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`).MatchString(v.text) || len(v.text) > 200 {
			l.report(l.diag(diag.BadValue, v.place, r.in, "%q is not a domain: small letters, digits, hyphens and dots, like cluster.local.", v.text))
		}
	}
	if v, ok := r.text("backend"); ok {
		n.Backend = v.text
		if known := []string{"host-gw", "vxlan"}; !slices.Contains(known, v.text) {
			l.report(l.diag(diag.BadValue, v.place, r.in, "%q is not a way to carry pods' packets.%s There are host-gw (by routes; all machines in one network segment) and vxlan (works everywhere).",
				v.text, diag.DidYouMean(v.text, known)))
		}
	}
	v, place, ok := r.whole("node_bits")
	if slices.Contains(r.bad, "node_bits") {
		n.NodeBits = 0
	}
	if ok {
		n.NodeBits = v
		if v < 16 || v > 28 {
			n.NodeBits = 0 // not compared with anything
			l.report(l.diag(diag.BadValue, place, r.in, "The length of the prefix that one node gets is from 16 to 28: 24 gives it 254 addresses for pods."))
		}
	}
	n.SSHFrom, n.APIFrom = r.sources("ssh_from"), r.sources("api_from")
	n.Balancers = r.addresses("balancers")
	r.finish()
}

// controlPlane reads the control_plane block, which has to be there.
func (l *loader) controlPlane(cluster *hclsyntax.Block) {
	p := &l.cluster.ControlPlane
	*p = Pool{Name: ControlPlaneName, Count: 1, Drain: DefaultDrain}
	b := l.atMostOne(cluster, "control_plane")
	if b == nil {
		l.report(l.diag(diag.MissingBlock, cluster.DefRange(), l.cluster.in(), "The cluster has no control plane. It is written like this: control_plane { machine = \"small\" }."))
		return
	}
	r := l.pool(b, p)
	if n, place, ok := r.whole("count"); ok {
		p.Count = n
		if d, wrong := l.controlPlaneCount(n); wrong {
			pl := l.place(place)
			l.report(d.At(&pl, r.in))
		}
	}
	l.endpoint(l.atMostOneIn(b, "endpoint", "control plane"))
	r.finish("endpoint")
}

// controlPlaneCount says what is wrong with a number of control-plane machines.
func (l *loader) controlPlaneCount(n int) (diag.Diagnostic, bool) {
	switch {
	case n < 0:
		return diag.New(diag.BadCount, "A count cannot be negative."), true
	case n == 0:
		return diag.New(diag.ControlPlaneCount, "A cluster without a control plane does not exist: at least 1 machine has to run it.").Next("Write count = 1."), true
	case n%2 == 0:
		return diag.New(diag.ControlPlaneCount, "The control plane keeps its data in etcd, where more than half of the machines have to agree. "+
			"So %d machines stand no more failures than %d, and there is one more that can fail.", n, n-1).Next(fmt.Sprintf("Write count = %d or count = %d.", n-1, n+1)), true
	case n > 7:
		return diag.New(diag.ControlPlaneCount, "The control plane keeps its data in etcd, which gets slower with each machine and should not have more than 7.").Next("Write count = 5 or count = 7."), true
	}
	return diag.Diagnostic{}, false
}

// pools reads all pool blocks.
func (l *loader) pools(cluster *hclsyntax.Block) {
	first := map[string]*hclsyntax.Block{}
	for _, b := range cluster.Body.Blocks {
		if b.Type != "pool" {
			continue
		}
		name, ok := l.labels(b, 1)
		if !ok {
			continue
		}
		if first[name] != nil {
			l.again(b, first[name], "There is another pool %q.", name)
			continue
		}
		first[name] = b
		p := Pool{Name: name, Drain: DefaultDrain}
		l.checkPoolName(b, name)
		r := l.pool(b, &p)
		r.number(&p)
		r.finish()
		l.cluster.Pools = append(l.cluster.Pools, p)
	}
	slices.SortFunc(l.cluster.Pools, func(a, b Pool) int { return cmp.Compare(a.Name, b.Name) })
}

func (l *loader) checkPoolName(b *hclsyntax.Block, name string) {
	problem := checkName("pool", name)
	if name == "cp" || name == ControlPlaneName {
		problem = fmt.Sprintf("The name %q belongs to the control plane's machines.", name)
	}
	if problem != "" {
		l.report(l.diag(diag.BadName, b.LabelRanges[0], fmt.Sprintf("pool %q", name), "%s", problem))
	}
}

// pool reads what all pools have, the control plane included. The count and what is unknown are left to the caller.
func (l *loader) pool(b *hclsyntax.Block, p *Pool) *reader {
	key, in := p.block()
	l.cluster.Ranges[key] = l.place(b.DefRange())
	p.Range = l.place(b.DefRange())
	r := l.reader(b, in, key+".")
	r.knows("count")
	if b.Body.Attributes["machines"] == nil || p.Name == ControlPlaneName {
		r.need("machine", `machine = "small"`)
	}
	if v, ok := r.text("machine"); ok {
		p.Machine = v.text
		r.notEmpty(v, "machine")
	}
	if v, ok := r.text("image"); ok {
		p.Image = v.text
	}
	for _, z := range r.texts("zones") {
		p.Zones = append(p.Zones, z.text)
		r.notEmpty(z, "zones")
	}
	if n, place, ok := r.whole("disk"); ok {
		p.DiskGiB = n
		if n < 1 || n > 65536 {
			l.report(l.diag(diag.BadValue, place, in, "A disk has from 1 to 65536 GiB, not %d. Without the attribute it has the size that the machine type brings.", n))
		}
	}
	p.Spot = r.yes("spot")
	p.Labels = r.nodeLabels()
	p.Taints = r.nodeTaints()
	if v, ok := r.text("drain"); ok {
		p.Drain = r.duration(v)
	}
	return r
}

func (r *reader) notEmpty(v item, name string) {
	if strings.TrimSpace(v.text) == "" {
		r.l.report(r.l.diag(diag.BadValue, v.place, r.in, "The attribute %q is empty.", name))
	}
}

// duration reads how long something may take.
func (r *reader) duration(v item) time.Duration {
	d, err := time.ParseDuration(v.text)
	if err != nil || d < 0 || d > 24*time.Hour {
		r.l.report(r.l.diag(diag.BadValue, v.place, r.in, "%q is not a length of time up to a day, like \"90s\", \"5m\" or \"1h30m\".", v.text))
		return DefaultDrain
	}
	return d
}
