// Command containerd is upstream's containerd and ctr as one program of two names, chosen by the name it is called by.
//
// They are the same libraries twice. The shim is not among them: there is one for every pod, and each would pay for
// what containerd sets up when it starts. It, runc and the CNI plug-ins are tools of this module, built as they are.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
	"github.com/containerd/containerd/v2/cmd/containerd/command"
	"github.com/containerd/containerd/v2/cmd/ctr/app"
)

func main() {
	name, run := "containerd", command.App().Run
	if filepath.Base(os.Args[0]) == "ctr" {
		name, run = "ctr", app.New().Run
	}
	go trimPages()
	if err := run(context.Background(), os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
