package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
)

// findings are what a preflight found, with the lines of the file that ask for what was looked at.
type findings struct {
	*Engine
	providers.Report
	blocks map[string]string // of the file, by the machine that it asks for
	most   string            // the block that asks for most machines
}

func newFindings(e *Engine, r providers.Report, need providers.Need) *findings {
	f := &findings{Engine: e, Report: r, blocks: map[string]string{}}
	count := map[string]int{}
	for _, m := range need.Machines {
		block := "pool." + m.Pool
		if m.Pool == plan.ControlPlanePool {
			block = "control_plane"
		}
		f.blocks[m.Name] = block
		if count[block]++; count[block] > count[f.most] {
			f.most = block
		}
	}
	return f
}

// refused are all reasons not to begin.
func (f *findings) refused() diag.Diagnostics {
	return slices.Concat(f.lacking(), f.exceeded(), f.problems())
}

// lacking are the permissions that are missing.
func (f *findings) lacking() diag.Diagnostics {
	if len(f.Missing) == 0 {
		return nil
	}
	return diag.Diagnostics{diag.New(diag.PreflightPermissions, "%s is not allowed to do all that the plan needs. Missing:\n\n- %s\n\nNothing was changed.",
		f.who(), strings.Join(f.Missing, "\n- ")).At(f.at("provider"), f.provider()).
		Next("Give these permissions to it, or use other credentials, and run the same command again:", f.same())}
}

// who is the one who asks, as the beginning of a sentence.
func (f *findings) who() string {
	name := cmp.Or(f.Identity, "The one whose credentials are used")
	if f.Place != "" {
		name += " (" + f.Place + ")"
	}
	return name
}

// exceeded are the quotas that are too small.
func (f *findings) exceeded() (ds diag.Diagnostics) {
	where := ""
	if f.Place != "" {
		where = " (" + f.Place + ")"
	}
	for _, l := range f.Limits {
		if l.Exceeded() {
			at, in := f.asks(providers.Problem{Noun: l.Noun})
			ds = append(ds, diag.New(diag.PreflightQuota, "%s%s. Nothing was changed.", l, where).At(at, in).
				Next("Ask the vendor for more, remove what is not needed, or lower a count in the file, and run the same command again:", f.same()))
		}
	}
	return ds
}

// A cause is what problems have in common that are told as one.
type cause struct {
	kind       providers.Kind
	noun       providers.Noun
	text, line string
}

// problems are what the vendor would refuse; what is refused for one reason and one line of the file is one of them.
func (f *findings) problems() (ds diag.Diagnostics) {
	var order []providers.Problem
	names := map[cause][]string{}
	causeOf := func(p providers.Problem) cause {
		c := cause{kind: p.Kind, noun: p.Noun, text: p.Text}
		if at, _ := f.asks(p); at != nil {
			c.line = at.String()
		}
		return c
	}
	for _, p := range f.Problems {
		c := causeOf(p)
		if _, told := names[c]; !told {
			order = append(order, p)
		}
		names[c] = append(names[c], p.Name)
	}
	for _, p := range order {
		ds = append(ds, f.problem(p, len(names[causeOf(p)])-1))
	}
	return ds
}

// problem is one problem that so many others share.
func (f *findings) problem(p providers.Problem, others int) diag.Diagnostic {
	id := diag.PreflightRefused
	switch p.Kind {
	case providers.Quota:
		id = diag.PreflightQuota
	case providers.Denied:
		id = diag.PreflightPermissions
	}
	what := "any " + string(p.Noun)
	if p.Name != "" {
		what = string(p.Noun) + " " + p.Name
	}
	if others > 0 {
		what += fmt.Sprintf(" and %d more", others)
	}
	at, in := f.asks(p)
	return diag.New(id, "The vendor would not make %s: %s. Nothing was changed.", what, strings.TrimRight(p.Text, ".")).At(at, in).
		Next(mendProblem(p)+", and run the same command again:", f.same())
}

// asks is the line of the file that asks for what a problem is about: the field's own, in the block that is about the object or in
// the provider's, or else the block's.
func (f *findings) asks(p providers.Problem) (at *diag.Range, in string) {
	if p.Field == "name" { // is made of it
		return f.at("cluster"), fmt.Sprintf("cluster %q", f.Cluster.Name)
	}
	block, fields := "", map[string]string{}
	switch p.Noun {
	case providers.MachineNoun:
		block, fields = cmp.Or(f.blocks[p.Name], f.most), map[string]string{"type": "machine", "zone": "zones", "": "count"}
	case providers.NetworkNoun:
		block, fields = "network", map[string]string{"cidr": "machines", "": "machines"}
	case providers.BalancerNoun:
		block, fields = "endpoint", map[string]string{"": "balancer"}
	}
	field := cmp.Or(fields[p.Field], p.Field)
	if at = f.at(block + "." + field); at != nil {
		return at, inBlock(block)
	}
	if at = f.at("provider."+field, "provider."+p.Field); at != nil {
		return at, f.provider()
	}
	if at = f.at(block); at != nil {
		return at, inBlock(block)
	}
	return f.at("provider"), f.provider()
}

// inBlock names a block of machines as diagnostics do.
func inBlock(block string) string {
	if pool, ok := strings.CutPrefix(block, "pool."); ok {
		return fmt.Sprintf("pool %q", pool)
	}
	return block
}

// at is the range of the first of the keys that the file has.
func (f *findings) at(keys ...string) *diag.Range {
	for _, k := range keys {
		if r, ok := f.Cluster.Ranges[k]; ok {
			return &r
		}
	}
	return nil
}

// unseen warns of what the vendor could not look at.
func (f *findings) unseen() diag.Diagnostics {
	if len(f.Unseen) == 0 {
		return nil
	}
	d := diag.New(diag.PreflightUnseen, "The preflight is not complete:\n\n- %s", strings.Join(f.Unseen, "\n- "))
	d.Severity = diag.Warning
	return diag.Diagnostics{d}
}
