package config

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// Load reads a cluster from a file, or from all .hcl files of a folder but those that end in .vars.hcl or
// .inventory.hcl. The cluster is nil
// if a diagnostic is an error; there may be warnings beside a cluster.
func Load(path string, o Options) (*Cluster, diag.Diagnostics) {
	l := &loader{sources: map[string][]byte{}, options: o}
	files := l.read(path)
	if l.diags.HasErrors() {
		return nil, l.sorted()
	}
	return l.load(path, files)
}

// A loader reads one cluster and collects what is wrong with it.
type loader struct {
	options Options
	sources map[string][]byte // by file name, for the lines that diagnostics show
	diags   diag.Diagnostics
	scope   *scope
	cluster *Cluster
}

// load makes a cluster of files that have been parsed.
func (l *loader) load(path string, files []file) (*Cluster, diag.Diagnostics) {
	l.cluster = &Cluster{File: path, Ranges: map[string]diag.Range{}}
	t := l.split(files)
	l.scope = l.newScope(t, files)
	l.provider(t, files)
	l.clusterBlock(t, files)
	l.state(t)
	if l.cluster.Name != "" {
		l.check()
	}
	ds := l.sorted()
	if ds.HasErrors() {
		return nil, ds
	}
	return l.cluster, ds
}

// top are the blocks of all files by type.
type top struct {
	variables, locals, providers, clusters, states []*hclsyntax.Block
}

// split sorts the files' blocks by type.
func (l *loader) split(files []file) top {
	var t top
	for _, f := range files {
		for _, a := range attributes(f.body) {
			l.report(l.diag(diag.UnknownAttribute, a.SrcRange, "", "A file has no attributes of its own: %q belongs into a block, most likely into cluster.", a.Name))
		}
		for _, b := range f.body.Blocks {
			switch b.Type {
			case "variable":
				t.variables = append(t.variables, b)
			case "locals":
				t.locals = append(t.locals, b)
			case "provider":
				t.providers = append(t.providers, b)
			case "cluster":
				t.clusters = append(t.clusters, b)
			case "state":
				t.states = append(t.states, b)
			default:
				l.unknownBlock(b, "", "cluster", "locals", "provider", "state", "variable")
			}
		}
	}
	return t
}

// attributes returns a body's attributes in the order of the file.
func attributes(b *hclsyntax.Body) []*hclsyntax.Attribute {
	as := make([]*hclsyntax.Attribute, 0, len(b.Attributes))
	for _, a := range b.Attributes {
		as = append(as, a)
	}
	slices.SortFunc(as, func(a, b *hclsyntax.Attribute) int { return cmp.Compare(a.SrcRange.Start.Byte, b.SrcRange.Start.Byte) })
	return as
}

// one returns the only block of its type, and reports if there is none or more.
func (l *loader) one(blocks []*hclsyntax.Block, files []file, kind, example string) *hclsyntax.Block {
	if len(blocks) == 0 {
		l.report(l.diag(diag.MissingBlock, files[0].start(), "", "There has to be a %s block: %s.", kind, example))
		return nil
	}
	for _, b := range blocks[1:] {
		l.again(b, blocks[0], "There can be only one %s block.", kind)
	}
	return blocks[0]
}

// again reports a block that is there a second time.
func (l *loader) again(b, first *hclsyntax.Block, format string, args ...any) {
	d := l.diag(diag.DuplicateBlock, b.DefRange(), "", format, args...)
	r := l.place(first.DefRange())
	d.Detail += " The first one is at " + r.String() + "."
	l.report(d)
}

// labels checks how many names a block has and returns its name.
func (l *loader) labels(b *hclsyntax.Block, want int) (string, bool) {
	if len(b.Labels) != want {
		example := "no name: " + b.Type + " {"
		if want == 1 {
			example = "one name, in quotes: " + b.Type + ` "NAME" {`
		}
		l.report(l.diag(diag.SyntaxError, b.DefRange(), "", "A block %s has %s", b.Type, example))
		return "", false
	}
	if want == 0 {
		return "", true
	}
	return b.Labels[0], true
}

func (l *loader) unknownBlock(b *hclsyntax.Block, in string, known ...string) {
	where := "A file"
	if in != "" {
		where = "The block " + in
	}
	has := "no blocks"
	if len(known) > 0 {
		has = "the blocks " + diag.List(known)
	}
	l.report(l.diag(diag.UnknownBlock, b.DefRange(), in, "%s has no block %q.%s It has %s.", where, b.Type, diag.DidYouMean(b.Type, known), has))
}

func (l *loader) report(ds ...diag.Diagnostic) { l.diags = append(l.diags, ds...) }

// sorted returns what was found in the order of the files, what has no place first.
func (l *loader) sorted() diag.Diagnostics {
	place := func(d diag.Diagnostic) (string, int) {
		if d.Range == nil {
			return "", 0
		}
		return d.Range.File, d.Range.Start.Byte
	}
	slices.SortStableFunc(l.diags, func(a, b diag.Diagnostic) int {
		af, ab := place(a)
		bf, bb := place(b)
		return cmp.Or(strings.Compare(af, bf), cmp.Compare(ab, bb))
	})
	return slices.CompactFunc(l.diags, func(a, b diag.Diagnostic) bool { return a.Error() == b.Error() })
}
