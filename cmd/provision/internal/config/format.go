package config

import (
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// Format returns the source in the canonical layout. Comments stay, and so does everything but space. A syntax error is
// returned as diagnostics, and the source as it is.
func Format(filename string, src []byte) ([]byte, diag.Diagnostics) {
	l := &loader{sources: map[string][]byte{}}
	if l.parse(filename, src); l.diags.HasErrors() {
		return src, l.sorted()
	}
	return hclwrite.Format(src), nil
}

// Names returns the names of the machines that the file asks for, in the order of plans, for a shell to complete; none
// if the file is not right.
func Names(path string, o Options) []string {
	c, _ := Load(path, o)
	if c == nil {
		return nil
	}
	var names []string
	for _, p := range append([]Pool{c.ControlPlane}, c.Pools...) {
		for i := range p.Count {
			names = append(names, machineName(c.Name, &p, i))
		}
	}
	return names
}
