//go:build linux

// Command node-scout looks at a machine before it is a node, and carries programs from neighbour to neighbour: see package
// bootstrap/scout/field.
package main

import (
	"os"

	"github.com/provisionhq/provision/bootstrap/scout/field"
)

func main() {
	os.Exit(field.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
