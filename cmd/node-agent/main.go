// Command node-agent runs on every node: see package nodeagent.
package main

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/nodeagent"
)

func main() {
	// No core file is written of a program that holds a node's keys. What it starts is as usual.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	os.Exit(nodeagent.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
