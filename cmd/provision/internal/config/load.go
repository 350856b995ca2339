package config

import "github.com/provisionhq/provision/cmd/provision/internal/diag"

// Load reads a cluster from a file, or from all .hcl files of a folder but those that end in .vars.hcl. The cluster is nil
// if a diagnostic is an error; there may be warnings beside a cluster.
func Load(path string, o Options) (*Cluster, diag.Diagnostics) {
	return nil, nil
}

// Format returns the source in the canonical layout. Comments stay. A syntax error is returned as diagnostics.
func Format(filename string, src []byte) ([]byte, diag.Diagnostics) { return src, nil }

// Names returns the names of the machines that the file asks for, for a shell to complete; none if it can not be read.
func Names(path string, o Options) []string { return nil }
