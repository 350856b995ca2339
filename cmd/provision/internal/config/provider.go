package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// provider reads the provider block. What its attributes mean is the vendor's to say; they become plain data by one rule
// for all vendors:
//
//   - A nested block, host "a" { address = "10.0.0.1" }, is an entry of the list Attributes["host"], in the order of the
//     file. The entry is a map of the block's attributes, with its label as "name", if it has one, and its place, FILE:LINE,
//     as "range": these two names are therefore no attributes of nested blocks. Blocks in blocks are lists in the same way.
//   - Cluster.Ranges knows each: "provider.host[0]", "provider.host[0].address", "provider.host[0].bmc[0].user".
//   - What is made of a sensitive variable makes the attribute of the provider sensitive that it is in: "host".
//   - A text that begins with ./ or ../ is a path that starts where the file is that has it, not where the command runs.
//   - A text of the block itself that ends in .hcl names a file with more of the block, in the same way beside its own:
//     attributes and blocks of it count as written in the block. An attribute that both have is refused.
func (l *loader) provider(t top, files []file) {
	b := l.one(t.providers, files, "provider", `provider "local" {}`)
	if b == nil {
		return
	}
	name, ok := l.labels(b, 1)
	if !ok {
		return
	}
	l.cluster.Ranges["provider"] = l.place(b.DefRange())
	p := Provider{Name: name, Attributes: map[string]any{}, beside: map[string]bool{}, Range: l.place(b.DefRange())}
	r := &providerReader{l: l, p: &p, in: fmt.Sprintf("provider %q", name)}
	for _, more := range r.body(b.Body, p.Attributes, "provider") {
		r.body(more, p.Attributes, "provider")
	}
	slices.Sort(p.Sensitive)
	p.Sensitive = slices.Compact(p.Sensitive)
	l.cluster.Provider = p
}

// A providerReader makes plain data of the provider block.
type providerReader struct {
	l  *loader
	p  *Provider
	in string
}

// body reads attributes and blocks into m. It returns the bodies of files that the block's own attributes name.
func (r *providerReader) body(b *hclsyntax.Body, m map[string]any, key string) (more []*hclsyntax.Body) {
	for _, a := range attributes(b) {
		if !r.free(a, m, key) {
			continue
		}
		r.l.cluster.Ranges[key+"."+a.Name] = r.l.place(a.SrcRange)
		v := r.l.eval(a.Expr, r.in)
		if v.ContainsMarked() {
			r.p.Sensitive = append(r.p.Sensitive, r.attribute(key, a.Name))
			v, _ = v.UnmarkDeep()
		}
		if !v.IsWhollyKnown() || v.IsNull() {
			continue
		}
		value := plain(v)
		text, isText := value.(string)
		switch {
		case isText && key == "provider" && strings.HasSuffix(text, ".hcl"):
			if body := r.file(a, text); body != nil {
				more = append(more, body)
			}
		case isText:
			m[a.Name] = beside(a.SrcRange.Filename, text)
			if key == "provider" && m[a.Name] != text {
				r.p.beside[a.Name] = true
			}
		default:
			m[a.Name] = value
		}
	}
	for _, n := range b.Blocks {
		r.block(n, m, key)
	}
	return more
}

// free says whether the attribute can be in m, and reports it if not.
func (r *providerReader) free(a *hclsyntax.Attribute, m map[string]any, key string) bool {
	switch _, there := m[a.Name]; {
	case key != "provider" && (a.Name == "name" || a.Name == "range"):
		d := r.l.diag(diag.UnknownAttribute, a.NameRange, r.in, "A block inside a provider's has no attribute %q: its name stands before the brace, as in host \"a\" { … }.", a.Name)
		r.l.report(d)
		return false
	case there:
		first := r.l.cluster.Ranges[key+"."+a.Name]
		r.l.report(r.l.diag(diag.DuplicateAttribute, a.SrcRange, r.in, "The attribute %q was already set at %s.", a.Name, first.String()))
		return false
	}
	return true
}

// attribute is the attribute of the provider that an attribute at the key is in.
func (r *providerReader) attribute(key, name string) string {
	rest, nested := strings.CutPrefix(key, "provider.")
	if !nested {
		return name
	}
	name, _, _ = strings.Cut(rest, "[")
	return name
}

// block reads a nested block as an entry of a list.
func (r *providerReader) block(b *hclsyntax.Block, m map[string]any, key string) {
	place := r.l.place(b.DefRange())
	if len(b.Labels) > 1 {
		r.l.report(r.l.diag(diag.SyntaxError, b.DefRange(), r.in, "A block %s has one name at most.", b.Type))
		return
	}
	list, isList := m[b.Type].([]any)
	if _, there := m[b.Type]; there && !isList {
		first := r.l.cluster.Ranges[key+"."+b.Type]
		r.l.report(r.l.diag(diag.DuplicateAttribute, b.DefRange(), r.in, "%q was already set as an attribute at %s: it is one or the other.", b.Type, first.String()))
		return
	}
	at := fmt.Sprintf("%s.%s[%d]", key, b.Type, len(list))
	r.l.cluster.Ranges[at] = place
	if len(list) == 0 {
		r.l.cluster.Ranges[key+"."+b.Type] = place
	}
	entry := map[string]any{"range": fmt.Sprintf("%s:%d", place.File, place.Start.Line)}
	if len(b.Labels) == 1 {
		entry["name"] = b.Labels[0]
	}
	r.body(b.Body, entry, at)
	m[b.Type] = append(list, entry)
}

// file reads a file that holds more of the block.
func (r *providerReader) file(a *hclsyntax.Attribute, name string) *hclsyntax.Body {
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(a.SrcRange.Filename), name)
	}
	src, err := readLimited(name)
	if err != nil {
		place := r.l.place(a.SrcRange)
		r.l.report(unreadable(name, "the rest of the block "+r.in, err).At(&place, r.in))
		return nil
	}
	return r.l.parse(name, src).body
}

// beside makes a path that begins with ./ or ../ start where the file is.
func beside(file, text string) string {
	if strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") {
		return filepath.Join(filepath.Dir(file), text)
	}
	return text
}

// Path is the provider's attribute of that name, which is a path, as the command has to open it: it starts where the file is,
// whether it begins with ./ or not. ok is false if there is none.
func (p Provider) Path(name string) (path string, ok bool) {
	path, ok = p.Attributes[name].(string)
	if !ok || path == "" || filepath.IsAbs(path) || strings.HasPrefix(path, "~/") || p.beside[name] {
		return path, ok
	}
	return filepath.Join(filepath.Dir(p.Range.File), path), true
}
