package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
	"golang.org/x/sync/errgroup"
)

// tokens are the bootstrap tokens of the nodes that join in this apply, by node name.
type tokens map[string]pki.Token

func (t tokens) names() []string { return slices.Sorted(maps.Keys(t)) }

// noToken is for nodes that have joined.
var noToken pki.Token

// tokenLife is how long a new node may take from its token to its certificate. The token is deleted when it is used.
const tokenLife = time.Hour

// dial connects to a machine.
func (e *Engine) dial(ctx context.Context, m providers.Machine) (ssh.Host, error) {
	return e.dialWith(ctx, m, e.secrets.keys)
}

func (e *Engine) dialWith(ctx context.Context, m providers.Machine, keys *ssh.Keys) (ssh.Host, error) {
	o := ssh.Options{
		Name: m.Name, Addr: m.SSH.String(), User: m.User, Sudo: m.User != "" && m.User != "root",
		Keys: keys, HostKeys: m.HostKeys, Timeout: bootTimeout, Redial: redialTimeout, KeepAlive: keepAlive,
	}
	if m.Jump != nil {
		through, err := e.bastion(ctx, *m.Jump)
		if err != nil {
			return nil, err
		}
		o.Through = through
	}
	return ssh.Dial(ctx, o)
}

// bastion returns the open connection to a bastion, or opens it. All machines behind one share it.
func (e *Engine) bastion(ctx context.Context, j providers.Jump) (ssh.Host, error) {
	e.jumping.Lock()
	defer e.jumping.Unlock()
	if h, ok := e.jumps[j.Address]; ok {
		return h, nil
	}
	o := ssh.KeyOptions{Agent: os.Getenv("SSH_AUTH_SOCK")}
	if j.Key != "" {
		o.Files = []string{j.Key}
	}
	keys, err := ssh.NewKeys(o)
	if err != nil {
		return nil, err
	}
	h, err := ssh.Dial(ctx, ssh.Options{
		Name: "bastion " + j.Address, Addr: j.Address, User: j.User, Keys: keys, HostKeys: j.HostKeys,
		Timeout: redialTimeout, Redial: redialTimeout, KeepAlive: keepAlive,
	})
	if err != nil {
		return nil, err
	}
	e.jumps[j.Address] = h
	return h, nil
}

// target is what bootstrap needs to work on the member's machine.
func (e *Engine) target(ctx context.Context, m plan.Member, token pki.Token) (*bootstrap.Target, error) {
	mach, ok := e.machine(m.Name)
	if !ok {
		return nil, fmt.Errorf("machine %s is not there: %w", m.Name, providers.NotFound)
	}
	n, err := m.NodeConfig(e.Cluster, e.want.Identity, e.machinesFor(m))
	if err != nil {
		return nil, err
	}
	files, err := e.files(m.Role, token)
	if err != nil {
		return nil, err
	}
	h, err := e.host(ctx, mach)
	if err != nil {
		return nil, err
	}
	return &bootstrap.Target{Host: h, Node: n, Files: files, Programs: e.programs, Besides: e.besides(m.Role), Wait: joinTimeout}, nil
}

// files are the secrets that a node of the role gets.
func (e *Engine) files(role templates.Role, token pki.Token) ([]templates.File, error) {
	content := e.secrets.authority.NodeFiles()
	if role == templates.ControlPlane {
		var err error
		if content, err = e.secrets.authority.Files(); err != nil {
			return nil, err
		}
	}
	if g := e.Cluster.Endpoint.BGP; g != nil && role == templates.ControlPlane {
		b, err := routersSecrets(g)
		if err != nil {
			return nil, err
		}
		content[templates.BGPPath] = b
	}
	if role == templates.ControlPlane && e.want.Cloud != nil {
		c, err := e.cloud()
		if err != nil {
			return nil, err
		}
		b, err := templates.RenderCloud(c)
		if err != nil {
			return nil, err
		}
		content[templates.CloudPath] = b
	}
	if token != (noToken) {
		b, err := pki.Kubeconfig{
			Cluster: e.Cluster.Name, Server: "https://" + templates.LocalEndpoint, CA: e.secrets.authority.Cluster.CertPEM(),
			User: "bootstrap", Token: token,
		}.Render()
		if err != nil {
			return nil, err
		}
		content[templates.BootstrapConf] = b
	}
	var fs []templates.File
	for _, path := range slices.Sorted(maps.Keys(content)) {
		fs = append(fs, templates.File{Path: path, Mode: "0600", Content: content[path]})
	}
	return fs, nil
}

// stale names the files and programs of a host that are not as they should be.
func stale(files []templates.File, programs []bootstrap.Program, have map[string]string) []string {
	var stale []string
	for _, p := range programs {
		if sum, err := p.Source.Sum(); err != nil || have[p.Path] != sum {
			stale = append(stale, p.Path)
		}
	}
	for _, f := range files {
		sum := sha256.Sum256(f.Content)
		if have[f.Path] != hex.EncodeToString(sum[:]) {
			stale = append(stale, f.Path)
		}
	}
	return stale
}

func paths(files []templates.File) []string {
	var ps []string
	for _, f := range files {
		ps = append(ps, f.Path)
	}
	return ps
}

// install puts agent, bundle and configuration on a machine and starts it.
func (e *Engine) install(ctx context.Context, c plan.Change, m plan.Member, joins bool) error {
	t, err := e.target(ctx, m, noToken)
	if err != nil {
		return err
	}
	t.JoinEtcd = joins
	return bootstrap.Run(ctx, t, bootstrap.Install(), e.report(c.Address+installing))
}

// join gives an installed node its token and waits until it is ready.
func (e *Engine) join(ctx context.Context, c plan.Change, m plan.Member, token pki.Token) error {
	t, err := e.target(ctx, m, token)
	if err != nil {
		return err
	}
	e.becomes(m.Name, true)
	return bootstrap.Run(ctx, t, bootstrap.Join(), e.report(c.Address))
}

// restart makes a node that has joined be as the plan says, with the programs at hand. Pods leave it first if its version
// of Kubernetes changes.
func (e *Engine) restart(ctx context.Context, c plan.Change, m plan.Member) error {
	drained := c.Moves() && m.Role == templates.Worker // before its machine moved
	if m.Role == templates.Worker && slices.ContainsFunc(c.Fields, func(f plan.Field) bool { return f.Name == "kubernetes" }) {
		if err := e.drain(ctx, m.Name, m.Pool.Drain); err != nil {
			return err
		}
		drained = true
	}
	t, err := e.target(ctx, m, noToken)
	if err != nil {
		return err
	}
	if err := bootstrap.Run(ctx, t, bootstrap.Install(), e.report(c.Address)); err != nil {
		return err
	}
	if err := bootstrap.Run(ctx, t, bootstrap.Settle(), e.report(c.Address)); err != nil {
		return err
	}
	if c.Moves() {
		if err := e.arrived(ctx, c.Address, m); err != nil {
			return err
		}
	}
	if drained {
		if err := e.uncordon(ctx, m.Name); err != nil {
			return err
		}
	}
	return e.dressAs(ctx, c, m)
}

// update changes a node in place: what its agent takes while it runs, and what the API has of it.
func (e *Engine) update(ctx context.Context, c plan.Change, m plan.Member) error {
	if slices.ContainsFunc(c.Fields, func(f plan.Field) bool { return !f.OfAPI() }) {
		if err := e.reconfigure(ctx, c.Address, m); err != nil {
			return err
		}
	}
	return e.dressAs(ctx, c, m)
}

// dressAs changes what the API has of a node, as far as the change says.
func (e *Engine) dressAs(ctx context.Context, c plan.Change, m plan.Member) error {
	dress := false
	for _, f := range c.Fields {
		if f.Name == plan.CordonField {
			if err := e.uncordon(ctx, m.Name); err != nil {
				return err
			}
			continue
		}
		dress = dress || f.OfAPI()
	}
	if !dress {
		return nil
	}
	return e.dress(ctx, m)
}

// endpoints gives all nodes the addresses that the control plane has in the end.
func (e *Engine) endpoints(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(e.Width)
	for _, m := range e.members() {
		g.Go(func() error { return e.reconfigure(gctx, endpointStep, m) })
	}
	return g.Wait()
}

// waitAPI waits until the cluster's API answers on some control-plane machine.
func (e *Engine) waitAPI(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cps := slices.DeleteFunc(slices.Clone(e.controlPlane()), func(m plan.Member) bool {
		_, there := e.machine(m.Name)
		return e.isDown(m.Name) || !there
	})
	results := make(chan error, len(cps))
	for _, m := range cps {
		go func() {
			results <- e.waitServing(ctx, m)
		}()
	}
	var errs []error
	for range cps {
		err := <-results
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return fmt.Errorf("no control-plane machine is there")
	}
	return errs[0]
}

// waitServing waits until the API server of a control-plane machine answers.
func (e *Engine) waitServing(ctx context.Context, m plan.Member) error {
	mach, ok := e.machine(m.Name)
	if !ok {
		return fmt.Errorf("machine %s is not there: %w", m.Name, providers.NotFound)
	}
	h, err := e.host(ctx, mach)
	if err != nil {
		return err
	}
	t := &bootstrap.Target{Host: h, Node: templates.Node{Name: m.Name}, Wait: apiTimeout}
	report := e.report(apiStep)
	if err := bootstrap.Run(ctx, t, bootstrap.Serve(), func(ev bootstrap.Event) {
		if ctx.Err() == nil { // what a machine says of being asked no longer is no news
			report(ev)
		}
	}); err != nil {
		return err
	}
	e.serves(m.Name)
	return nil
}

// dress sets one node's labels and taints.
func (e *Engine) dress(ctx context.Context, m plan.Member) error {
	return e.dressAll(ctx, []string{m.Name})
}

// dressAll sets what kubelets may not set themselves, on all of the nodes at once. A node that changed meanwhile is looked at
// again.
func (e *Engine) dressAll(ctx context.Context, names []string) error {
	k, err := e.kube(ctx)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		nodes, err := k.nodes(ctx)
		if err != nil {
			return err
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(4)
		for _, m := range e.members() {
			if slices.Contains(names, m.Name) {
				g.Go(func() error { return k.dress(gctx, m, nodes[m.Name]) })
			}
		}
		err = g.Wait()
		var exit *ssh.ExitError
		if err == nil || try == 5 || !errors.As(err, &exit) || !strings.Contains(string(exit.Stderr), "the object has been modified") {
			return err
		}
	}
}

// report turns what happens on a machine into events of the step.
func (e *Engine) report(address string) func(bootstrap.Event) {
	return func(ev bootstrap.Event) {
		switch ev.Kind {
		case bootstrap.Started:
			e.Events(ui.Event{Type: ui.Progress, Address: address, Text: ev.Phase})
		case bootstrap.Progress:
			e.Events(ui.Event{Type: ui.Progress, Address: address, Text: ev.Phase, Done: ev.Done, Total: ev.Total})
		case bootstrap.Said:
			e.Events(ui.Event{Type: ui.Progress, Address: address, Text: ev.Phase + ": " + ev.Line})
		case bootstrap.Finished:
			e.span(address, ev.Phase, ev.Took)
		}
	}
}

// span notes how long a part of a step took that ends now.
func (e *Engine) span(address, phase string, took time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spans = append(e.spans, ui.Span{Address: address, Phase: phase, Start: time.Since(e.start) - took, Took: took})
}

func lines(b []byte) []string {
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}
