// Command pack builds everything that a node needs and packs it into one bundle.
//
//	go run ./bootstrap/bundle/pack -arch amd64 -out bin/bundle-linux-amd64.tar.zst
//
// It runs in the root of the repository and needs the Go tool, gcc and static libseccomp (for runc and pause), and zstd.
// Nothing that is unchanged is built or compressed again: results are kept under .cache/bundle. The same inputs give the
// same bytes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"github.com/provisionhq/provision/bootstrap/bundle"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	p, err := parse(os.Args[1:])
	if err == nil {
		err = p.run(ctx)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

// A packer makes one bundle.
type packer struct {
	arch    string
	out     string
	notices string
	cache   string // .cache/bundle/ARCH
	fast    bool
}

func parse(args []string) (*packer, error) {
	p := new(packer)
	fs := flag.NewFlagSet("pack", flag.ContinueOnError)
	fs.StringVar(&p.arch, "arch", runtime.GOARCH, "`architecture` of the nodes: amd64 or arm64")
	fs.StringVar(&p.out, "out", "", "`file` to write; by default bin/bundle-linux-ARCH.tar.zst")
	fs.StringVar(&p.notices, "notices", "", "`file` to write the table of third-party modules to, in Markdown")
	fs.BoolVar(&p.fast, "fast", false, "compress quickly, for a bundle that is a quarter larger")
	cache := fs.String("cache", ".cache/bundle", "`folder` for results that are used again")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if _, err := os.Stat("bootstrap/bundle/pack"); err != nil {
		return nil, errors.New("run this in the root of the repository")
	}
	if p.out == "" {
		p.out = "bin/bundle-linux-" + p.arch + ".tar.zst"
	}
	var err error
	p.cache, err = filepath.Abs(filepath.Join(*cache, p.arch))
	return p, err
}

func (p *packer) run(ctx context.Context) error {
	start := time.Now()
	if err := p.checkTools(); err != nil {
		return err
	}
	built, err := p.build(ctx)
	if err != nil {
		return err
	}
	notices, err := collectNotices(ctx, built)
	if err != nil {
		return err
	}
	if p.notices != "" {
		if err := os.WriteFile(p.notices, notices.table(), 0o644); err != nil {
			return err
		}
	}
	m := &bundle.Manifest{Kubernetes: built.version("kube"), Arch: p.arch, Components: notices.components(built)}
	contents, err := p.contents(m, built, notices)
	if err != nil {
		return err
	}
	if err := p.archive(ctx, m, contents); err != nil {
		return err
	}
	info, err := os.Stat(p.out)
	if err != nil {
		return err
	}
	fmt.Printf("%-24s %-8s %6.1f MB -> %5.1f MB %7.1fs  id %.12s\n", filepath.Base(p.out), "packed",
		mega(m.Size()), mega(info.Size()), time.Since(start).Seconds(), m.ID)
	return nil
}

func mega(n int64) float64 { return float64(n) / 1e6 }
