// Package nodeagent runs on every node of a cluster. It starts, watches and restarts the node's processes, renews its
// certificates, hands it the bundle's images, forwards its API connections to a server that is well, and says how it is.
package nodeagent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/apiserver"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/nodeagent/api"
	"github.com/provisionhq/provision/nodeagent/approver"
	"github.com/provisionhq/provision/nodeagent/balancer"
	"github.com/provisionhq/provision/nodeagent/member"
	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/nodeagent/welcome"
	"github.com/provisionhq/provision/templates"
)

const (
	runDir      = "/run/provision"
	recordsFile = runDir + "/processes.json"

	renewPeriod = time.Hour
	retryPeriod = 2 * time.Second // while something is missing
)

// An agent is the node agent at work.
type agent struct {
	log      *slog.Logger
	host     host
	sup      *supervisor.Supervisor
	balancer *balancer.Balancer
	keeper   *member.Keeper
	vip      vip
	services services
	reload   chan chan error

	mu       sync.Mutex
	changed  chan struct{}
	stale    bool   // the node is about to be made as node.json says
	hash     string // of node.json
	node     templates.Node
	problems map[string]string // by what it concerns
	images   imageState
	pod      string             // what the pods' network still waits for; "" when in place
	table    string             // why the table of Services' addresses cannot be had; "" when it can
	joined   string             // why the node is not Ready in its cluster; "" when it is
	stopOld  context.CancelFunc // ends what works for the node as it was configured before
	dead     bool               // Kill was called
}

type imageState struct {
	bundle      string
	first, done bool
}

// run is the node agent's life. It returns when ctx ends, and leaves the node's processes running.
func run(ctx context.Context, log *slog.Logger) error {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return err
	}
	unlock, err := lock(runDir + "/agent.lock")
	if err != nil {
		return err
	}
	defer unlock()
	prepare(log)
	sup, err := supervisor.New(supervisor.Options{Records: recordsFile, Logs: templates.LogDir, Log: log})
	if err != nil {
		return err
	}
	defer sup.Close()
	a := &agent{log: log, host: look(), sup: sup, reload: make(chan chan error), changed: make(chan struct{}), problems: map[string]string{}, pod: "flannel", joined: "the node's certificate"}
	local, err := net.Listen("tcp", templates.LocalEndpoint)
	if err != nil {
		return fmt.Errorf("listen for the node's API connections: %w", err)
	}
	a.keeper = member.New(member.Options{Connect: etcdClients(), Log: log, Changed: a.notify})
	a.balancer = balancer.New(balancer.Options{Probe: (&prober{known: map[string]func(context.Context) error{}}).probe, Log: log})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { sup.RotateLogs(ctx) })
	all.Go(func() { _ = a.balancer.Serve(ctx, local) })
	all.Go(func() { a.keeper.Run(ctx) })
	all.Go(func() { a.loop(ctx) })
	err = a.serve(ctx, cancel)
	cancel()
	return err
}

// A prober asks API servers whether they are ready. Before the authority's certificate is here nothing can be asked.
type prober struct {
	mu    sync.Mutex
	known map[string]func(context.Context) error // by endpoint
}

func (p *prober) probe(ctx context.Context, endpoint string) error {
	p.mu.Lock()
	ready, ok := p.known[endpoint]
	if !ok {
		ready = controlplane.HTTPReady("https://"+endpoint+"/readyz", pki.ClusterCA.File())
		p.known[endpoint] = ready
	}
	p.mu.Unlock()
	return ready(ctx)
}

// loop makes the node as configured, at once, when told to, when something was missing, and when certificates may be due.
func (a *agent) loop(ctx context.Context) {
	for {
		err := a.apply(ctx)
		a.problem("configuration", err)
		a.begin(false)
		wait := renewPeriod
		if err != nil && !errors.Is(err, errNotConfigured) {
			wait = retryPeriod
		}
		select {
		case <-ctx.Done():
			a.mu.Lock()
			if a.stopOld != nil {
				a.stopOld()
			}
			a.mu.Unlock()
			a.vip.leave()
			a.services.rest()
			return
		case answer := <-a.reload:
			a.begin(true) // before the answer: who waits for the node to be ready does not mean as it was before
			answer <- nil
		case <-time.After(wait):
		}
	}
}

var errNotConfigured = errors.New("this node is not configured yet")

// apply makes the node as node.json says. What is so already is left alone.
func (a *agent) apply(ctx context.Context) error {
	raw, err := os.ReadFile(templates.NodePath)
	if errors.Is(err, fs.ErrNotExist) {
		return errNotConfigured
	} else if err != nil {
		return err
	}
	node, err := templates.ParseNode(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", templates.NodePath, err)
	}
	sum := sha256.Sum256(raw)
	a.mu.Lock()
	a.hash, a.node = hex.EncodeToString(sum[:]), node
	a.mu.Unlock()
	if !exists(pki.ClusterCA.File()) {
		return fmt.Errorf("%s is not here yet", pki.ClusterCA.File())
	}
	dir := filepath.Join(templates.BundleDir, node.Bundle)
	manifest, err := bundle.Load(dir)
	if err != nil {
		return fmt.Errorf("bundle %.12s is not installed: %w", node.Bundle, err)
	}
	if err := a.issue(node); err != nil {
		return err
	}
	return a.start(ctx, node, dir, manifest)
}

// issue sees to the certificates that the node issues to itself, and to root's kubeconfig.
func (a *agent) issue(node templates.Node) error {
	certs := certificates(node)
	issued, err := pki.Keep("/", certs, time.Now())
	if len(issued) > 0 {
		a.log.Info("issued certificates", "names", strings.Join(issued, " "))
	}
	if err != nil || node.Role != templates.ControlPlane {
		return err
	}
	conf, err := adminConf(node)
	if err != nil {
		return err
	}
	return supervisor.WriteFile(templates.AdminConf, conf, 0o600)
}

func (a *agent) start(ctx context.Context, node templates.Node, dir string, m *bundle.Manifest) error {
	pause, keep, err := names(m)
	if err != nil {
		return err
	}
	f := fleet{
		Setting: controlplane.Setting{Node: node, Bin: dir + "/bin", Member: controlplane.Member{
			Hold: a.keeper.Hold, Args: a.keeper.Args, Serve: a.keeper.Serve,
		}},
		host: a.host, pause: pause, keep: keep, images: a.missingImages,
	}
	specs, err := f.processes()
	if err != nil {
		return err
	}
	a.keeper.Configure(ctx, node)
	self := netip.AddrPortFrom(node.Address, templates.APIPort).String()
	a.balancer.Set(ctx, node.Endpoints, self)
	a.work(ctx, node, dir, m)
	if node.Role == templates.ControlPlane {
		impatient(a.log)
	}
	a.follow(ctx, node)
	a.mu.Lock()
	dead := a.dead
	a.mu.Unlock()
	if dead {
		return nil
	}
	if err := a.announceServices(ctx, node); err != nil {
		return err
	}
	return a.sup.Set(specs)
}

// work starts what the agent does for the node beside its processes, and ends what it did for the node as it was before.
func (a *agent) work(ctx context.Context, node templates.Node, dir string, m *bundle.Manifest) {
	ctx, cancel := context.WithCancel(ctx)
	a.mu.Lock()
	if a.stopOld != nil {
		a.stopOld()
	}
	a.stopOld = cancel
	if a.images.bundle != m.ID {
		a.images = imageState{bundle: m.ID}
	}
	imported := a.images.done
	a.mu.Unlock()
	if !imported {
		go a.importImages(ctx, dir, m)
	}
	go keepCNI(ctx, flannelSubnet, cniConf, a.reportCNI)
	go a.followNode(ctx, node.Name)
	go a.mountVolumes(ctx, node)
	if node.Role == templates.ControlPlane {
		go a.approve(ctx, node)
	}
	if node.Role == templates.ControlPlane && node.Welcome {
		go a.welcome(ctx, node, dir)
	}
}

// archives is where a control-plane node keeps its bundle as invited machines fetch it.
const archives = "/var/lib/provision/welcome"

// welcome serves invited machines.
func (a *agent) welcome(ctx context.Context, node templates.Node, dir string) {
	groups, err := welcome.Ask(controlplane.LocalServer, pki.ClusterCA.File())
	if err != nil {
		a.log.Error("cannot serve invited machines", "err", err)
		return
	}
	h := &welcome.Host{Node: node, Bundle: dir, Agent: templates.AgentPath, Archives: archives, Groups: groups, Log: a.log}
	h.Run(ctx)
}

// importImages tries until all images are there.
func (a *agent) importImages(ctx context.Context, dir string, m *bundle.Manifest) {
	i := importer{dir: dir, images: m.Images, progress: func(first, done bool) {
		a.update(func() { a.images.first, a.images.done = first, done })
	}}
	for ctx.Err() == nil {
		a.await(ctx, containerdName)
		err := i.run(ctx)
		if ctx.Err() != nil {
			return
		}
		a.problem("images", err)
		if err == nil {
			return
		}
		a.log.Error("cannot import images", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(retryPeriod):
		}
	}
}

func (a *agent) missingImages() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.images.first {
		return "images"
	}
	return ""
}

func (a *agent) reportCNI(err error) {
	text := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		text = "flannel to say which subnet this node has"
	case err != nil:
		text = err.Error()
	}
	a.update(func() { a.pod = text })
}

// approve looks after nodes' requests, once the API server of this node answers.
func (a *agent) approve(ctx context.Context, node templates.Node) {
	a.await(ctx, apiserver.Name)
	client, err := api.New(controlplane.LocalServer, pki.ClusterCA.File(), pki.CertFile("node-agent"), pki.KeyFile("node-agent"))
	if err != nil {
		a.log.Error("cannot approve certificates", "err", err)
		return
	}
	(&approver.Approver{API: client, Log: a.log, Forbidden: forbidden(node)}).Run(ctx)
}

// forbidden are addresses that are no machine's own.
func forbidden(n templates.Node) approver.Ranges {
	list := approver.Ranges{n.Pods, n.Services}
	if n.VIP.IsValid() {
		list = append(list, netip.PrefixFrom(n.VIP, n.VIP.BitLen()))
	}
	return list
}

// await returns when a process is ready, or ctx ends.
func (a *agent) await(ctx context.Context, process string) {
	for ctx.Err() == nil {
		changed := a.sup.Changed()
		if a.sup.Ready(process) {
			return
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// begin notes that the node is about to be made as configured, or that it was.
func (a *agent) begin(stale bool) {
	a.mu.Lock()
	a.stale = stale
	a.mu.Unlock()
	a.notify()
}

// problem notes why something does not work, or that it does.
func (a *agent) problem(about string, err error) {
	a.update(func() {
		delete(a.problems, about)
		if err != nil {
			a.problems[about] = err.Error()
		}
	})
}

// update changes what Status says, and tells everybody if it did.
func (a *agent) update(f func()) {
	a.mu.Lock()
	type view struct {
		images                       imageState
		pod, joined, table, problems string
	}
	look := func() view { return view{a.images, a.pod, a.joined, a.table, strings.Join(sorted(a.problems), "\n")} }
	before := look()
	f()
	changed := look() != before
	a.mu.Unlock()
	if changed {
		a.notify()
	}
}

// notify tells everybody who watches the status that it may be another.
func (a *agent) notify() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
}

// sorted returns the problems in an order that stays.
func sorted(problems map[string]string) []string {
	var list []string
	for _, about := range slices.Sorted(maps.Keys(problems)) {
		list = append(list, problems[about])
	}
	return list
}
