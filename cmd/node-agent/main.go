// Command node-agent runs on every node: see package nodeagent.
package main

import (
	"os"

	"github.com/provisionhq/provision/nodeagent"
)

func main() {
	os.Exit(nodeagent.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
