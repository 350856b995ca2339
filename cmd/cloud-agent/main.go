// Command cloud-agent runs on each control-plane node: the controllers that make a cluster's nodes, balancers and volumes
// what its vendor has. It is one program of several names: the name that it is started by chooses.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// version is set by the linker.
var version = "dev"

// A program is what runs under one name. It gets the arguments after the name, and returns when the context ends.
type program func(ctx context.Context, args []string) error

// programs are those of this file, by name.
func programs() map[string]program {
	return map[string]program{
		"cloud-agent": runAgent,
	}
}

func main() {
	// No core file is written of a program that may hold a vendor's credentials.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	run, ok := programs()[filepath.Base(os.Args[0])]
	if !ok {
		run = runAgent
	}
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}
