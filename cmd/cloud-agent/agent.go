package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/provisionhq/provision/nodeagent/pages"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/all"
	"github.com/provisionhq/provision/templates"
)

// collectAt is the percentage by which the heap grows before it is collected, unless GOGC says otherwise: the node's
// memory is for pods, and what runs here has time.
const collectAt = 50

// An agent is what its parts share.
type agent struct {
	cloud    templates.Cloud
	provider providers.Provider // nil: the vendor cannot be asked from here
	close    func()             // ends what belongs to the provider
	config   *rest.Config
	client   kubernetes.Interface
	identity string // in elections
}

// flags are the agent's arguments.
type flags struct{ config, kubeconfig, listen string }

func parse(args []string, w io.Writer) (f flags, err error) {
	set := flag.NewFlagSet("cloud-agent", flag.ContinueOnError)
	set.SetOutput(w)
	set.StringVar(&f.config, "config", templates.CloudPath, "`file` that says what to work with; the agent ends when it changes, to be started again")
	set.StringVar(&f.kubeconfig, "kubeconfig", templates.CloudKubeconfig, "`file` that leads to the API server")
	set.StringVar(&f.listen, "listen", templates.CloudHealth, "`address` of /healthz, /readyz and /metrics")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("%q is one argument too many", set.Arg(0))
	}
	return f, nil
}

// runAgent runs all parts until the context ends, one of them fails or the file changes.
func runAgent(ctx context.Context, args []string) error {
	f, err := parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
	content, err := os.ReadFile(f.config)
	if err != nil {
		return err
	}
	a, err := newAgent(ctx, content, f.kubeconfig)
	if err != nil {
		return err
	}
	defer a.close()
	stop, err := serve(f.listen)
	if err != nil {
		return err
	}
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		watch(ctx, f.config, content)
	}()
	go pages.Trim()
	klog.InfoS("Cloud agent started", "version", version, "cluster", a.cloud.Cluster, "vendor", a.cloud.Vendor)
	return a.run(ctx, parts())
}

// newAgent opens the vendor and the way to the API server; neither is called yet.
func newAgent(ctx context.Context, content []byte, kubeconfig string) (*agent, error) {
	cloud, err := templates.ParseCloud(content)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "cloud-agent/" + version
	config.QPS, config.Burst = 500, 1000 // a thousand nodes may join at once; the API server looks after itself
	config.AcceptContentTypes, config.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	p, err := open(ctx, cloud)
	if err != nil {
		return nil, err
	}
	a := &agent{cloud: cloud, config: config, client: client, identity: fmt.Sprintf("%s_%d_%d", host, os.Getpid(), time.Now().UnixNano())}
	a.close = func() { _ = all.Close(p) }
	if p != nil {
		a.provider = measured(p)
	}
	return a, nil
}

// run runs the parts that the cluster needs. The first one that fails ends all: what it was at may hold what the others
// wait for, and a new process begins clean.
func (a *agent) run(ctx context.Context, parts []part) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, p := range parts {
		if !p.needed(a) {
			continue
		}
		wg.Go(func() {
			if err := p.run(ctx, a); err != nil {
				cancel(fmt.Errorf("%s: %w", p.name, err))
			}
		})
	}
	<-ctx.Done()
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(endTime):
		klog.InfoS("Not all parts ended in time", "waited", endTime)
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// endTime is how long parts may take to end: giving up a lease is one call.
const endTime = 5 * time.Second
