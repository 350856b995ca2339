// Command provision makes Kubernetes clusters, with the machines, networks and balancers that they run on, from one file.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/provisionhq/provision/providers/all"
)

func main() {
	if ran, code := all.Machine(os.Args); ran {
		os.Exit(code) // this process is the first process of a machine, or watches over one
	}
	if err := hideMemory(); err != nil {
		fmt.Fprintf(os.Stderr, "A core file of this process would hold secrets, and the system refuses not to write one: %v\n", err)
	}
	os.Exit(mainCode())
}

// mainCode runs the command and returns its exit code. The first interrupt asks the engine to stop at the next safe
// point, the second ends the process at once.
func mainCode() int {
	stop := make(chan struct{})
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, stop: stop, environ: os.Environ(), start: time.Now()}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // under nohup it stays so
		signal.Notify(signals, syscall.SIGHUP) // the connection to the terminal is lost
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-signals
		close(stop)
		<-signals
		cancel()
		// What runs is recorded before it begins, so nothing is lost if it does not end in time.
		time.AfterFunc(time.Second, func() {
			time.AfterFunc(time.Second, func() { os.Exit(exitInterrupted) }) // whoever reads what it says may not read
			a.cutOff()
			if a.cut.cut {
				os.Exit(exitInterrupted)
			}
		})
	}()
	return a.run(ctx, os.Args[1:])
}
