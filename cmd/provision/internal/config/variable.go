package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// envPrefix begins the names of environment variables that hold values.
const envPrefix = "PROVISION_VAR_"

// A variable is one variable block.
type variable struct {
	block      *hclsyntax.Block
	name, in   string
	constraint cty.Type
	defaults   *typeexpr.Defaults
	fallback   cty.Value // its default; NilVal if it has none
	sensitive  bool
	broken     bool // something is wrong with the block, so no value is looked for
}

// A given is a value that somebody gave to a variable.
type given struct {
	value cty.Value  // NilVal if text holds it
	text  string     // from a flag or the environment
	from  string     // as a person names it: "--var", "large.vars.hcl"
	place *hcl.Range // in a file, if it is from one
}

// variables finds the value of each variable that the blocks declare.
func (l *loader) variables(blocks []*hclsyntax.Block) {
	declared := map[string]*variable{}
	var order []*variable
	for _, b := range blocks {
		v, ok := l.declare(b)
		if !ok {
			continue
		}
		if first, twice := declared[v.name]; twice {
			l.again(b, first.block, "The variable %q is declared twice.", v.name)
			continue
		}
		declared[v.name] = v
		order = append(order, v)
	}
	values := l.given(declared)
	for _, v := range order {
		if !v.sensitive {
			l.cluster.PlainVars = append(l.cluster.PlainVars, v.name)
		}
	}
	slices.Sort(l.cluster.PlainVars)
	for _, v := range order {
		l.scope.variables[v.name] = cty.DynamicVal
		if !v.broken {
			l.scope.variables[v.name] = l.value(v, values[v.name])
		}
	}
	for _, v := range order {
		l.validate(v, values[v.name].from)
	}
}

// declare reads a variable block. It is not ok if the block has no usable name.
func (l *loader) declare(b *hclsyntax.Block) (*variable, bool) {
	name, ok := l.labels(b, 1)
	if !ok {
		return nil, false
	}
	v := &variable{block: b, name: name, in: fmt.Sprintf("variable %q", name), constraint: cty.DynamicPseudoType}
	if !hclsyntax.ValidIdentifier(name) {
		l.report(l.diag(diag.BadName, b.LabelRanges[0], v.in, "%q cannot be the name of a variable: letters, digits, underscores and hyphens can, after a letter.", name))
		return nil, false
	}
	before := len(l.diags)
	if a := b.Body.Attributes["type"]; a != nil {
		var hds hcl.Diagnostics
		v.constraint, v.defaults, hds = typeexpr.TypeConstraintWithDefaults(a.Expr)
		l.report(l.fromHCL(hds, diag.BadValue, v.in)...)
	}
	r := l.reader(b, v.in, "")
	r.knows("type")
	v.sensitive = r.yes("sensitive")
	r.text("description")
	if a := r.attr("default"); a != nil {
		v.fallback = l.fallback(a, v)
	}
	r.finish("validation")
	v.broken = len(l.diags) > before
	return v, true
}

// fallback computes the default of a variable.
func (l *loader) fallback(a *hclsyntax.Attribute, v *variable) cty.Value {
	if refs := a.Expr.Variables(); len(refs) > 0 {
		l.report(l.diag(diag.BadExpression, refs[0].SourceRange(), v.in, "The default of a variable cannot refer to other values.").Next("A value that is made of others belongs into a locals block."))
		return cty.DynamicVal
	}
	return l.eval(a.Expr, v.in)
}

// given collects the values from environment, files and flags; later ones win in that order.
func (l *loader) given(declared map[string]*variable) map[string]given {
	values := map[string]given{}
	for _, e := range l.options.Env {
		name, text, _ := strings.Cut(e, "=")
		if name, ok := strings.CutPrefix(name, envPrefix); ok && declared[name] != nil {
			values[name] = given{text: text, from: envPrefix + name + " in the environment"}
		}
	}
	for _, f := range l.options.VarFiles {
		l.varFile(f, declared, values)
	}
	for _, name := range slices.Sorted(maps.Keys(l.options.Vars)) {
		if declared[name] == nil {
			known := slices.Sorted(maps.Keys(declared))
			l.report(diag.New(diag.UndefinedVariable, "--var gives a value to %q, which no file declares as a variable.%s", name, diag.DidYouMean(name, known)))
			continue
		}
		values[name] = given{text: l.options.Vars[name], from: "--var"}
	}
	return values
}

// varFile reads a file of values.
func (l *loader) varFile(name string, declared map[string]*variable, values map[string]given) {
	src, ok := l.readFile(name, "values of variables")
	if !ok {
		return
	}
	f := l.parse(name, src)
	for _, b := range f.body.Blocks {
		l.report(l.diag(diag.UnknownBlock, b.DefRange(), "", "A file of values has no blocks, only lines like NAME = VALUE."))
	}
	for _, a := range attributes(f.body) {
		if declared[a.Name] == nil {
			known := slices.Sorted(maps.Keys(declared))
			l.report(l.diag(diag.UndefinedVariable, a.NameRange, "", "No file declares a variable %q.%s", a.Name, diag.DidYouMean(a.Name, known)))
			continue
		}
		r := a.Expr.Range()
		if refs := a.Expr.Variables(); len(refs) > 0 {
			l.report(l.diag(diag.BadExpression, r, "", "A file of values cannot refer to other values."))
			values[a.Name] = given{value: cty.DynamicVal, from: name, place: &r}
			continue
		}
		values[a.Name] = given{value: l.eval(a.Expr, ""), from: name, place: &r}
	}
}

// value decides on a variable's value and makes it of the declared type.
func (l *loader) value(v *variable, g given) cty.Value {
	val := v.fallback
	place := v.block.DefRange()
	switch {
	case g.from == "" && val == cty.NilVal:
		l.report(l.diag(diag.MissingVariable, place, v.in, "The variable has no default, and nobody gave it a value.").
			Next(fmt.Sprintf("Give it with --var %s=VALUE, in a file named with --var-file, or as %s%s in the environment.", v.name, envPrefix, v.name)))
		return cty.DynamicVal
	case g.from == "":
		place = v.block.Body.Attributes["default"].Expr.Range()
	case g.place != nil:
		val, place = g.value, *g.place
	default:
		var ok bool
		if val, ok = l.fromText(v, g); !ok {
			return cty.DynamicVal
		}
	}
	if v.defaults != nil && !val.IsNull() {
		val = v.defaults.Apply(val)
	}
	val, err := convert.Convert(val, v.constraint)
	if err != nil {
		from := ""
		if g.from != "" {
			from = ", given by " + g.from + ","
		}
		l.report(l.diag(diag.WrongType, place, v.in, "The value of variable %q%s does not fit its type %s: %s.", v.name, from, typeexpr.TypeString(v.constraint), err))
		return cty.DynamicVal
	}
	if v.sensitive {
		return val.Mark(secret)
	}
	return val
}

// fromText makes a value of what was written in a flag or the environment: the text itself where a text, a number or a
// truth is wanted, else an expression.
func (l *loader) fromText(v *variable, g given) (cty.Value, bool) {
	simple := v.constraint.IsPrimitiveType()
	if v.constraint == cty.DynamicPseudoType {
		simple = v.fallback == cty.NilVal || v.fallback.IsNull() || v.fallback.Type().IsPrimitiveType()
	}
	if simple {
		return cty.StringVal(g.text), true
	}
	if len(g.text) > maxFile {
		l.report(l.diag(diag.FileTooLarge, v.block.DefRange(), v.in, "The value given by %s is larger than %d KiB.", g.from, maxFile>>10))
		return cty.DynamicVal, false
	}
	_, deep := tooDeep("value", []byte(g.text))
	expr, hds := hclsyntax.ParseExpression([]byte("null"), "value", hcl.InitialPos)
	if !deep {
		expr, hds = hclsyntax.ParseExpression([]byte(g.text), "value", hcl.InitialPos)
	}
	if deep || hds.HasErrors() || len(expr.Variables()) > 0 {
		return l.badText(v, g)
	}
	val, hds := expr.Value(&hcl.EvalContext{Functions: l.scope.functions})
	if hds.HasErrors() {
		return l.badText(v, g)
	}
	return val, true
}

func (l *loader) badText(v *variable, g given) (cty.Value, bool) {
	l.report(l.diag(diag.WrongType, v.block.DefRange(), v.in, "The value given by %s is not written as one of its type %s. It is written as in a file.",
		g.from, typeexpr.TypeString(v.constraint)).Next("For example, with the quotes that a shell needs:", fmt.Sprintf(`--var '%s=["a", "b"]'`, v.name)))
	return cty.DynamicVal, false
}

// validate holds a variable's value against the validation blocks of its declaration.
func (l *loader) validate(v *variable, from string) {
	for _, b := range v.block.Body.Blocks {
		if b.Type != "validation" {
			continue // has been reported
		}
		r := l.reader(b, v.in, "")
		condition, message := r.attr("condition"), r.attr("error_message")
		r.finish()
		if condition == nil || message == nil {
			l.report(l.diag(diag.MissingAttribute, b.DefRange(), v.in, "A validation needs both condition and error_message."))
			continue
		}
		ok, _ := l.eval(condition.Expr, v.in).Unmark()
		ok, err := convert.Convert(ok, cty.Bool)
		if err != nil || ok.IsNull() {
			l.report(l.diag(diag.WrongType, condition.Expr.Range(), v.in, "A condition has to be true or false."))
			continue
		}
		if ok.IsKnown() && ok.False() {
			l.report(l.invalid(v, condition, message, from))
		}
	}
}

func (l *loader) invalid(v *variable, condition, message *hclsyntax.Attribute, from string) diag.Diagnostic {
	text, err := convert.Convert(l.eval(message.Expr, v.in), cty.String)
	why := "The value is not valid."
	if err == nil && !text.IsMarked() && text.IsKnown() && !text.IsNull() {
		why = text.AsString()
	}
	if val := l.scope.variables[v.name]; !v.sensitive && val.IsWhollyKnown() {
		why += fmt.Sprintf(" The value is %s", describe(val))
		if from != "" {
			why += ", given by " + from
		}
		why += "."
	}
	return l.diag(diag.ValidationFailed, condition.Expr.Range(), v.in, "%s", why)
}
