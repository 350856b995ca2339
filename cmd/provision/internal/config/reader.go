package config

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// A reader takes the attributes out of one block. It reports what it cannot use, notes where each attribute stands, and
// in the end reports what nobody asked for.
type reader struct {
	l     *loader
	b     *hclsyntax.Block
	in    string   // the block as diagnostics name it: pool "workers"
	key   string   // what its attributes' keys in Cluster.Ranges begin with: "pool.workers."; "-" for none
	known []string // attributes that were asked for
	bad   []string // those of them that are there and have no usable value
}

// An item is a text within an attribute, with its place.
type item struct {
	text  string
	place hcl.Range
}

// reader returns a reader that notes ranges under the key; an empty key notes none.
func (l *loader) reader(b *hclsyntax.Block, in, key string) *reader {
	return &reader{l: l, b: b, in: in, key: key}
}

// knows notes that the block has an attribute of that name.
func (r *reader) knows(name string) {
	if !slices.Contains(r.known, name) {
		r.known = append(r.known, name)
	}
}

// attr returns an attribute as it stands in the file; nil if it does not.
func (r *reader) attr(name string) *hclsyntax.Attribute {
	r.knows(name)
	a := r.b.Body.Attributes[name]
	if a != nil && r.key != "" {
		r.l.cluster.Ranges[strings.TrimPrefix(r.key, "-")+name] = r.l.place(a.SrcRange)
	}
	return a
}

// need reports the attribute if it is missing.
func (r *reader) need(name, example string) {
	a := r.b.Body.Attributes[name]
	if a != nil {
		if lit, ok := a.Expr.(*hclsyntax.LiteralValueExpr); !ok || !lit.Val.IsNull() {
			return
		}
	}
	r.l.report(r.l.diag(diag.MissingAttribute, r.b.DefRange(), r.in, "The attribute %q is missing. It is written like this: %s", name, example))
}

// value computes an attribute and makes it of a type, which words describe. It is not ok if the attribute is not there,
// or null, or wrong, which has been reported then.
func (r *reader) value(name string, t cty.Type, words string) (cty.Value, hcl.Expression, bool) {
	a := r.attr(name)
	if a == nil {
		return cty.NilVal, nil, false
	}
	v := r.l.eval(a.Expr, r.in)
	if v.ContainsMarked() {
		r.bad = append(r.bad, name)
		r.l.report(r.l.diag(diag.SensitiveValue, a.Expr.Range(), r.in, "The attribute %q is shown in plans and in Kubernetes, and its value is made of a variable that is marked sensitive. "+
			"Only the attributes of a provider may be.", name))
		return cty.NilVal, nil, false
	}
	if !v.IsWhollyKnown() {
		r.bad = append(r.bad, name)
		return cty.NilVal, nil, false
	}
	if v.IsNull() {
		return cty.NilVal, nil, false
	}
	c, err := convert.Convert(v, t)
	if err != nil {
		r.wrong(a, words, v)
		return cty.NilVal, nil, false
	}
	return c, a.Expr, true
}

func (r *reader) wrong(a *hclsyntax.Attribute, words string, v cty.Value) {
	r.bad = append(r.bad, a.Name)
	r.l.report(r.l.diag(diag.WrongType, a.Expr.Range(), r.in, "The attribute %q has to be %s. It is %s.", a.Name, words, describe(v)))
}

// text returns an attribute that is a text.
func (r *reader) text(name string) (item, bool) {
	v, e, ok := r.value(name, cty.String, "a text")
	if !ok {
		return item{}, false
	}
	return item{v.AsString(), e.Range()}, true
}

// whole returns an attribute that is a whole number.
func (r *reader) whole(name string) (int, hcl.Range, bool) {
	v, e, ok := r.value(name, cty.Number, "a whole number")
	if !ok {
		return 0, hcl.Range{}, false
	}
	words := "a whole number"
	n, exact := v.AsBigFloat().Int64()
	if v.AsBigFloat().IsInt() {
		words = "a whole number of a sensible size"
	}
	if exact != big.Exact || n > 1e9 || n < -1e9 {
		r.wrong(r.b.Body.Attributes[name], words, v)
		return 0, hcl.Range{}, false
	}
	return int(n), e.Range(), true
}

// yes says whether an attribute is there and true.
func (r *reader) yes(name string) bool {
	v, _, ok := r.value(name, cty.Bool, "true or false")
	return ok && v.True()
}

// no returns whether an attribute is there and false.
func (r *reader) no(name string) bool {
	v, _, ok := r.value(name, cty.Bool, "true or false")
	return ok && v.False()
}

// texts returns an attribute that is a list of texts.
func (r *reader) texts(name string) []item {
	const words = "a list of texts"
	v, e, ok := r.value(name, cty.List(cty.String), words)
	if !ok {
		return nil
	}
	var is []item
	for i, t := range v.AsValueSlice() {
		if t.IsNull() {
			r.wrong(r.b.Body.Attributes[name], words, v)
			return nil
		}
		is = append(is, item{t.AsString(), elementRange(e, i)})
	}
	return is
}

// textMap returns an attribute that is a map of texts. Keys whose value is null are left out.
func (r *reader) textMap(name string) map[string]item {
	v, e, ok := r.value(name, cty.Map(cty.String), "a map of texts, like { tier = \"web\" }")
	if !ok {
		return nil
	}
	m := map[string]item{}
	for k, t := range v.AsValueMap() {
		if !t.IsNull() {
			m[k] = item{t.AsString(), keyRange(e, k)}
		}
	}
	return m
}

// finish reports attributes and blocks that nobody asked for.
func (r *reader) finish(blocks ...string) {
	for _, a := range attributes(r.b.Body) {
		if slices.Contains(r.known, a.Name) {
			continue
		}
		r.l.report(r.l.diag(diag.UnknownAttribute, a.NameRange, r.in, "The block %s has no attribute %q.%s It has %s.",
			r.in, a.Name, r.hint(a.Name, blocks), some(r.known)))
	}
	for _, b := range r.b.Body.Blocks {
		if slices.Contains(blocks, b.Type) {
			continue
		}
		if slices.Contains(r.known, b.Type) {
			r.l.report(r.l.diag(diag.UnknownBlock, b.DefRange(), r.in, "%s is an attribute: write it with an equals sign, %s = ….", b.Type, b.Type))
			continue
		}
		r.l.unknownBlock(b, r.in, blocks...)
	}
}

// hint says what was most likely meant by an attribute that the block does not have.
func (r *reader) hint(name string, blocks []string) string {
	if slices.Contains(blocks, name) {
		return fmt.Sprintf(" %s is a block: write it without the equals sign.", name)
	}
	if ours := elsewhere(name); slices.Contains(r.known, ours) {
		return fmt.Sprintf(" Did you mean %q?", ours)
	}
	return diag.DidYouMean(name, r.known)
}

// elsewhere returns our name for what other tools call so.
func elsewhere(name string) string {
	switch name {
	case "type", "size", "instance_type", "machine_type", "server_type", "vm_size", "flavor", "plan":
		return "machine"
	case "replicas", "nodes", "machines", "number", "node_count", "instance_count", "instances":
		return "count"
	case "version", "kubernetes_version", "k8s", "k8s_version":
		return "kubernetes"
	case "disk_size", "disk_gb", "disk_gib", "volume_size":
		return "disk"
	case "pod_cidr", "pods_cidr", "cluster_cidr", "pod_subnet":
		return "pods"
	case "service_cidr", "services_cidr", "service_subnet":
		return "services"
	case "cidr", "vpc_cidr", "subnet", "address_space":
		return "machines"
	case "zone", "availability_zones", "locations":
		return "zones"
	}
	return ""
}

// elementRange is where the i-th element of a list is written, or else the whole list.
func elementRange(e hcl.Expression, i int) hcl.Range {
	if t, ok := e.(*hclsyntax.TupleConsExpr); ok && i < len(t.Exprs) {
		return t.Exprs[i].Range()
	}
	return e.Range()
}

// keyRange is where a key of a map and its value are written, or else the whole map.
func keyRange(e hcl.Expression, key string) hcl.Range {
	o, ok := e.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return e.Range()
	}
	for _, i := range o.Items {
		if k, hds := i.KeyExpr.Value(nil); !hds.HasErrors() && k.Type() == cty.String && k.IsKnown() && !k.IsNull() && k.AsString() == key {
			return hcl.RangeBetween(i.KeyExpr.Range(), i.ValueExpr.Range())
		}
	}
	return e.Range()
}

// describe says in a few words what a value is. It must not be asked about a secret.
func describe(v cty.Value) string {
	t := v.Type()
	switch {
	case v.IsNull():
		return "null"
	case !v.IsKnown():
		return "not known"
	case t == cty.String:
		if s := v.AsString(); len(s) <= 60 {
			return fmt.Sprintf("the text %q", s)
		}
		return "a long text"
	case t == cty.Number && v.AsBigFloat().IsInf():
		return "infinite, by a division by zero"
	case t == cty.Number:
		return "the number " + v.AsBigFloat().Text('g', 12)
	case t == cty.Bool:
		return fmt.Sprint(v.True())
	case t.IsTupleType(), t.IsListType(), t.IsSetType():
		return "a list"
	case t.IsObjectType(), t.IsMapType():
		return "a map"
	}
	return t.FriendlyName()
}
