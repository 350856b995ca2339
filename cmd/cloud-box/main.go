//go:build linux

// Command cloud-box is a cloud in a box: it serves a vendor's emulated API on a loopback port, and runs a real machine of provider
// local behind each instance that the API has. It is for rehearsals and tests; docs/rehearse.md tells what it is not.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/provisionhq/provision/cmd/cloud-box/internal/rack"
	"github.com/provisionhq/provision/providers/local"
)

const usage = `Usage:
  cloud-box aws|gcp|azure --folder DIR [--tied]
                                        serve the vendor; write one line of JSON when it is ready
  cloud-box status --folder DIR         write that line again, if a box serves in the folder
  cloud-box clean --folder DIR          end the box of that folder and remove all that it made

With --tied it ends when its standard input does. It needs root, and for AWS moto_server (pip install 'moto[server]').
`

func main() {
	if ran, code := local.Machine(os.Args); ran {
		os.Exit(code) // this process is the first process of a machine, or watches over one
	}
	runtime.LockOSThread() // children that end with this thread are to end with the process
	err := run(os.Args[1:])
	if errors.Is(err, errUsage) {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cloud-box: %v\n", err)
		os.Exit(1)
	}
}

// errUsage is of a command line that is none.
var errUsage = errors.New("not understood")

// A vendor is an emulated API with hardware.
type vendor interface {
	endpoint() string
	environment() map[string]string
	close(context.Context) error
}

// options are what a vendor is opened with.
type options struct {
	folder string
	say    func(format string, args ...any)
	entry  func(entry) // writes a line of the log of requests
}

// run does what the command line asks for.
func run(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	f := flag.NewFlagSet("cloud-box "+args[0], flag.ContinueOnError)
	folder := f.String("folder", "", "where machines and logs are kept, on a real disk")
	tied := f.Bool("tied", false, "end when standard input ends")
	f.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	if *folder == "" || f.NArg() > 0 {
		return errUsage
	}
	dir, err := filepath.Abs(*folder)
	if err != nil {
		return err
	}
	switch args[0] {
	case "aws":
		return serve(args[0], dir, *tied, openAmazon)
	case "gcp":
		return serve(args[0], dir, *tied, openGoogle)
	case "azure":
		return serve(args[0], dir, *tied, openMicrosoft)
	case "status":
		return status(dir)
	case "clean":
		return clean(dir)
	}
	return fmt.Errorf("there is no vendor %q in the box", args[0])
}

// serve serves until it is told to end, and then removes what it made.
func serve(name, dir string, tied bool, open func(context.Context, options) (vendor, error)) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	p, err := take(dir)
	if err != nil {
		return err
	}
	defer p.leave()
	if err := rack.New(rack.Folder(dir), nil).Clear(ctx); err != nil { // of a box that was killed
		return err
	}
	log, err := openLog(filepath.Join(dir, "requests.ndjson"))
	if err != nil {
		return err
	}
	defer log.Close()
	var writing sync.Mutex
	lines := json.NewEncoder(log)
	v, err := open(ctx, options{folder: dir,
		say: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
		entry: func(e entry) {
			writing.Lock()
			defer writing.Unlock()
			_ = lines.Encode(e) // a full disk does not stop the cloud
		},
	})
	if err != nil {
		return err
	}
	err = p.announce(Box{Vendor: name, Endpoint: v.endpoint(), Environment: v.environment(), PID: os.Getpid()})
	if err == nil && tied {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	if err == nil {
		<-ctx.Done()
	}
	within, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return errors.Join(err, v.close(within))
}
