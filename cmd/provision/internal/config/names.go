package config

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// maxLabel is the longest DNS label, so the longest name of a host.
const maxLabel = 63

// dnsLabel is what names of clusters and pools look like: they become parts of host names.
const dnsLabel = `^[a-z]([a-z0-9-]*[a-z0-9])?$`

// checkName returns what is wrong with the name of a cluster or pool, or "". A name that comes close is suggested.
func checkName(kind, name string) string {
	switch {
	case name == "":
		return fmt.Sprintf("The name of a %s is empty.", kind)
	case !regexp.MustCompile(dnsLabel).MatchString(name):
		problem := fmt.Sprintf("%q cannot be the name of a %s, because it becomes part of host names: it has to begin with a small letter, "+
			"go on with small letters, digits and hyphens, and not end in a hyphen.", name, kind)
		if near := asLabel(name); near != "" {
			problem += fmt.Sprintf(" %q would do.", near)
		}
		return problem
	}
	return ""
}

// asLabel turns a name into a DNS label that resembles it; "" if nothing is left.
func asLabel(name string) string {
	name = strings.ToLower(name)
	name = regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(name, "-")
	name = strings.Trim(strings.TrimLeft(name, "-0123456789"), "-")
	if len(name) > maxLabel/2 {
		return ""
	}
	return name
}

// machineName is the name of a pool's i-th machine.
func machineName(cluster string, p *Pool, i int) string {
	pool := p.Name
	if pool == ControlPlaneName {
		pool = "cp"
	}
	return fmt.Sprintf("%s-%s-%d", cluster, pool, i)
}

// nameTooLong says whether the pool's machines have names that are too long.
func nameTooLong(cluster string, p *Pool, limit int) (diag.Diagnostic, bool) {
	name := machineName(cluster, p, max(p.Count-1, 0))
	if p.Autoscaled() {
		name = cluster + "-" + p.Name + "-x7k2q"
	}
	if len(name) <= limit {
		return diag.Diagnostic{}, false
	}
	_, in := p.block()
	r := p.Range
	return diag.New(diag.NameTooLong, "The pool's machines would have names like %s, which has %d characters; at most %d are possible. "+
		"The name of a machine is made of cluster, pool and number.", name, len(name), limit).
		At(&r, in).Next("Shorten the name of the pool or of the cluster."), true
}
