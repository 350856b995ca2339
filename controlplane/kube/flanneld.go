package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/lease"
	"github.com/flannel-io/flannel/pkg/subnet"
	subnetkube "github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/nftables"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// annotationPrefix is upstream's, so that a node can be handed over to upstream's own flanneld and back.
const annotationPrefix = "flannel.alpha.coreos.com"

// flanneld carries pods' packets between nodes: upstream's backends vxlan and host-gw, with subnets from
// node.spec.podCIDR and masquerading in nftables. Upstream's main also links etcd's subnets, iptables and seven more
// backends, some of which need modules that are not published.
type flanneld struct {
	kubeconfig, node    string
	iface               string
	publicIP, publicIP6 string
	netConf, subnetFile string
	healthz             string
	masquerade          bool
	nodeCondition       bool

	ready atomic.Bool
	wg    sync.WaitGroup
}

func runFlanneld() int {
	f, err := parseFlanneld(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case f == nil: // --version
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = f.run(ctx)
	if err != nil && ctx.Err() == nil {
		klog.ErrorS(err, "flanneld failed")
		klog.Flush()
		return 1
	}
	return 0
}

// parseFlanneld returns nil without an error if the version was asked for and printed.
func parseFlanneld(args []string) (*flanneld, error) {
	f := new(flanneld)
	fs := flag.NewFlagSet("flanneld", flag.ContinueOnError)
	klog.InitFlags(fs)
	fs.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file` to reach the API server with")
	fs.StringVar(&f.node, "node-name", "", "`name` of this node in Kubernetes")
	fs.StringVar(&f.iface, "iface", "", "`interface`, or its address, that reaches the other nodes; by default that of --public-ip, or else of the default route")
	fs.StringVar(&f.publicIP, "public-ip", "", "IPv4 `address` that other nodes reach this one by; by default the interface's")
	fs.StringVar(&f.publicIP6, "public-ipv6", "", "IPv6 `address` that other nodes reach this one by; by default the interface's")
	fs.StringVar(&f.netConf, "net-conf", "/etc/kube-flannel/net-conf.json", "network configuration `file`")
	fs.StringVar(&f.subnetFile, "subnet-file", "/run/flannel/subnet.env", "`file` to write the node's subnet and MTU to")
	fs.StringVar(&f.healthz, "healthz-addr", "", "`address` to serve /healthz and /readyz on; none by default")
	fs.BoolVar(&f.masquerade, "ip-masq", true, "masquerade what leaves the pod network")
	fs.BoolVar(&f.nodeCondition, "set-node-network-unavailable", true, "set the node's NetworkUnavailable condition to false when ready")
	printVersion := fs.Bool("version", false, "print the version and exit")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if *printVersion {
		fmt.Println("flanneld", flannelVersion())
		return nil, nil
	}
	if f.kubeconfig == "" || f.node == "" {
		err := errors.New("flanneld: --kubeconfig and --node-name are required")
		fmt.Fprintln(os.Stderr, err)
		return nil, err
	}
	return f, nil
}

// flannelVersion is that of the module, so that it cannot differ from what is linked in.
func flannelVersion() string {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == "github.com/flannel-io/flannel" {
			return m.Version
		}
	}
	return "unknown"
}

// run returns when ctx is done or the network cannot be set up.
func (f *flanneld) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer f.wg.Wait()
	defer cancel()
	if f.healthz != "" {
		f.serveHealth(ctx)
	}
	if err := f.waitForSubnet(ctx); err != nil {
		return err
	}
	// The library reads the node's name from the environment only.
	if err := os.Setenv("NODE_NAME", f.node); err != nil {
		return err
	}
	manager, err := subnetkube.NewSubnetManager(ctx, "", f.kubeconfig, annotationPrefix, f.netConf, f.nodeCondition)
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	config, err := manager.GetNetworkConfig(ctx)
	if err != nil {
		return fmt.Errorf("network configuration: %w", err)
	}
	network, err := f.register(ctx, manager, config)
	if err != nil {
		return err
	}
	if err := f.setUpRules(ctx, config, network.Lease()); err != nil {
		return err
	}
	l := network.Lease()
	if err := manager.HandleSubnetFile(f.subnetFile, config, f.masquerade, l.Subnet, l.IPv6Subnet, network.MTU()); err != nil {
		return fmt.Errorf("write %s: %w", f.subnetFile, err)
	}
	f.ready.Store(true)
	if err := manager.CompleteLease(ctx, l, &f.wg); err != nil {
		return fmt.Errorf("complete lease: %w", err)
	}
	klog.InfoS("Flannel is ready", "backend", config.BackendType, "subnet", l.Subnet, "mtu", network.MTU())
	network.Run(ctx)
	return ctx.Err()
}

// waitForSubnet returns when the node has a pod CIDR and an annotation. The library gives up at once if a node has no
// pod CIDR yet, and a node that has just joined never has; it panics if a node has no annotations, and the kubelet
// always makes one.
func (f *flanneld) waitForSubnet(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", f.kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for said := false; ; said = true {
		node, err := client.CoreV1().Nodes().Get(ctx, f.node, metav1.GetOptions{})
		if err == nil && node.Spec.PodCIDR != "" && len(node.Annotations) > 0 {
			return nil
		}
		if !said {
			klog.InfoS("Waiting for the node to have a pod CIDR", "node", f.node, "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (f *flanneld) register(ctx context.Context, manager subnet.Manager, config *subnet.Config) (backend.Network, error) {
	external, err := f.lookUpInterface(ctx, manager, config)
	if err != nil {
		return nil, err
	}
	be, err := backend.NewManager(ctx, manager, external).GetBackend(config.BackendType)
	if err != nil {
		return nil, err
	}
	// The library's list of nodes may be older than the node that was just seen, so a failure is not yet the end.
	for left := 10; ; left-- {
		network, err := be.RegisterNetwork(ctx, &f.wg, config)
		if err == nil {
			return network, nil
		}
		if left == 0 || ctx.Err() != nil {
			return nil, fmt.Errorf("register network: %w", err)
		}
		klog.InfoS("Network is not registered yet", "err", err)
		time.Sleep(500 * time.Millisecond)
	}
}

func (f *flanneld) lookUpInterface(ctx context.Context, manager subnet.Manager, config *subnet.Config) (*backend.ExternalInterface, error) {
	family, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return nil, err
	}
	public := ipmatch.PublicIPOpts{PublicIP: f.publicIP, PublicIPv6: f.publicIP6}
	if v4, v6 := manager.GetStoredPublicIP(ctx); v4 != "" || v6 != "" {
		public = ipmatch.PublicIPOpts{PublicIP: v4, PublicIPv6: v6}
	}
	name := f.iface
	if name == "" {
		name = public.PublicIP
	}
	if name == "" {
		name = public.PublicIPv6
	}
	external, err := ipmatch.LookupExtIface(name, "", "", family, public)
	if err != nil {
		return nil, fmt.Errorf("interface: %w", err)
	}
	return external, nil
}

func (f *flanneld) setUpRules(ctx context.Context, config *subnet.Config, l *lease.Lease) error {
	rules := new(nftables.NFTablesManager)
	if err := rules.Init(ctx); err != nil {
		return err
	}
	if f.masquerade {
		err := rules.SetupAndEnsureMasqRules(ctx, config.Network, ip.IP4Net{}, ip.IP4Net{},
			config.IPv6Network, ip.IP6Net{}, ip.IP6Net{}, l, 0, false)
		if err != nil {
			return err
		}
	}
	rules.SetupAndEnsureForwardRules(ctx, config.Network, config.IPv6Network, 0)
	return nil
}

// serveHealth answers /healthz while the process lives and /readyz once the network is up.
func (f *flanneld) serveHealth(ctx context.Context) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !f.ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	server := &http.Server{Addr: f.healthz, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	f.wg.Go(func() {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			klog.ErrorS(err, "Health server failed")
		}
	})
	f.wg.Go(func() {
		<-ctx.Done()
		_ = server.Close()
	})
}
