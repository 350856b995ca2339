package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// A scope is what expressions can refer to: var.NAME, local.NAME and functions. A value that could not be found, which
// has been reported, is unknown, so that what uses it says nothing more.
type scope struct {
	variables map[string]cty.Value
	locals    map[string]*local
	functions map[string]function.Function
}

// A local is one value of a locals block. It is computed when it is first used.
type local struct {
	attr  *hclsyntax.Attribute
	value cty.Value
	state localState
}

type localState int

const (
	untouched localState = iota
	computing
	computed
)

// secret marks values of variables that are sensitive, and all that is made of them.
const secret mark = "secret"

type mark string

// newScope reads variables and locals.
func (l *loader) newScope(t top, files []file) *scope {
	s := &scope{variables: map[string]cty.Value{}, locals: map[string]*local{}, functions: functions(filepath.Dir(files[0].name))}
	l.scope = s
	l.variables(t.variables)
	for _, b := range t.locals {
		l.labels(b, 0)
		for _, nested := range b.Body.Blocks {
			l.unknownBlock(nested, "locals")
		}
		for _, a := range attributes(b.Body) {
			if first, ok := s.locals[a.Name]; ok {
				l.report(l.diag(diag.DuplicateAttribute, a.SrcRange, "locals", "The local value %q was already set at %s.", a.Name, l.place(first.attr.SrcRange)))
				continue
			}
			s.locals[a.Name] = &local{attr: a}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.locals)) {
		l.local(name, nil)
	}
	return s
}

// local computes a local value, and before it those that it is made of. The path leads to it from others that wait.
func (l *loader) local(name string, path []string) cty.Value {
	v := l.scope.locals[name]
	switch v.state {
	case computed:
		return v.value
	case computing:
		loop := append(path[slices.Index(path, name):], name)
		l.report(l.diag(diag.ReferenceCycle, v.attr.SrcRange, "locals", "The value cannot be found, because it needs itself: local.%s.", strings.Join(loop, " needs local.")))
		return cty.DynamicVal
	}
	v.state = computing
	for _, ref := range v.attr.Expr.Variables() {
		if dep, ok := refName(ref); ok && ref.RootName() == "local" && l.scope.locals[dep] != nil {
			l.local(dep, append(slices.Clone(path), name))
		}
	}
	v.value = l.eval(v.attr.Expr, "locals")
	v.state = computed
	return v.value
}

// eval computes an expression. What is wrong is reported, and the value is unknown then.
func (l *loader) eval(e hcl.Expression, in string) cty.Value {
	if !l.checkNames(e, in) {
		return cty.DynamicVal
	}
	v, hds := e.Value(l.scope.context(e))
	if hds.HasErrors() {
		l.report(l.fromHCL(hds, diag.BadExpression, in)...)
		return cty.DynamicVal
	}
	return v
}

// context holds what the expression refers to and no more.
func (s *scope) context(e hcl.Expression) *hcl.EvalContext {
	locals := map[string]cty.Value{}
	for _, ref := range e.Variables() {
		name, ok := refName(ref)
		if v := s.locals[name]; ok && ref.RootName() == "local" && v != nil {
			locals[name] = cty.DynamicVal
			if v.state == computed {
				locals[name] = v.value
			}
		}
	}
	return &hcl.EvalContext{
		Variables: map[string]cty.Value{"var": cty.ObjectVal(s.variables), "local": cty.ObjectVal(locals)},
		Functions: s.functions,
	}
}

// checkNames reports names in an expression that stand for nothing.
func (l *loader) checkNames(e hcl.Expression, in string) bool {
	before := len(l.diags)
	for _, ref := range e.Variables() {
		l.checkRef(ref, in)
	}
	if node, ok := e.(hclsyntax.Node); ok {
		hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
			if call, ok := n.(*hclsyntax.FunctionCallExpr); ok {
				l.checkFunction(call, in)
			}
			return nil
		})
	}
	return len(l.diags) == before
}

func (l *loader) checkFunction(call *hclsyntax.FunctionCallExpr, in string) {
	if _, ok := l.scope.functions[call.Name]; !ok {
		known := slices.Sorted(maps.Keys(l.scope.functions))
		l.report(l.diag(diag.UnknownFunction, call.NameRange, in, "There is no function %q.%s", call.Name, diag.DidYouMean(call.Name, known)))
	}
}

// checkRef reports a reference to what does not exist.
func (l *loader) checkRef(ref hcl.Traversal, in string) {
	root, r := ref.RootName(), ref.SourceRange()
	if root != "var" && root != "local" {
		l.report(l.diag(diag.UndefinedVariable, r, in, "%s", l.strayName(root)))
		return
	}
	name, ok := refName(ref)
	if !ok {
		l.report(l.diag(diag.UndefinedVariable, r, in, "%q alone is no value: write %s.NAME.", root, root))
		return
	}
	if _, ok := l.scope.variables[name]; ok && root == "var" || root == "local" && l.scope.locals[name] != nil {
		return
	}
	known, what := slices.Sorted(maps.Keys(l.scope.variables)), "variable"
	if root == "local" {
		known, what = slices.Sorted(maps.Keys(l.scope.locals)), "local value"
	}
	d := l.diag(diag.UndefinedVariable, r, in, "There is no %s %q.%s", what, name, diag.DidYouMean(name, known))
	if what == "variable" && diag.Nearest(name, known) == "" {
		d = d.Next(fmt.Sprintf(`A variable is declared by a block of its own: variable %q {}`, name))
	}
	l.report(d)
}

// strayName says what a name alone most likely was meant to be.
func (l *loader) strayName(name string) string {
	if _, ok := l.scope.variables[name]; ok {
		return fmt.Sprintf("%q is no value by itself. To use the variable of that name, write var.%s.", name, name)
	}
	if _, ok := l.scope.locals[name]; ok {
		return fmt.Sprintf("%q is no value by itself. To use the local value of that name, write local.%s.", name, name)
	}
	return fmt.Sprintf("%q is no value. If it is meant as a text, put it in quotes: %q.", name, name)
}

// refName returns NAME of a reference like var.NAME.
func refName(ref hcl.Traversal) (string, bool) {
	if len(ref) < 2 {
		return "", false
	}
	switch step := ref[1].(type) {
	case hcl.TraverseAttr:
		return step.Name, true
	case hcl.TraverseIndex:
		if step.Key.Type() == cty.String && step.Key.IsKnown() && !step.Key.IsNull() {
			return step.Key.AsString(), true
		}
	}
	return "", false
}
