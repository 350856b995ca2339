package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
	"golang.org/x/sync/errgroup"
)

// Plan looks at the world and says what has to change. It changes nothing.
func (e *Engine) Plan(ctx context.Context) (*plan.Plan, error) {
	e.warnings = nil
	if err := e.prepare(ctx); err != nil {
		return nil, err
	}
	e.strangers()
	e.warnAutoscaled()
	if err := e.gone(2, "To apply would make a new, empty cluster in its place."); err != nil {
		return nil, err
	}
	if lb, ok := e.world.APIBalancer(); ok && e.Cluster.Endpoint.Balancer {
		e.want.Balancer = plan.BalancerNames(lb)
	}
	p := plan.Diff(e.Cluster, e.want, e.world)
	return p, e.refuse(p)
}

// prepare fills in what is wanted and what is there.
func (e *Engine) prepare(ctx context.Context) error {
	if err := e.open(); err != nil {
		return err
	}
	if err := e.survey(ctx); err != nil {
		return err
	}
	if err := e.own(ctx); err != nil {
		return err
	}
	e.askEarly(ctx)
	return e.ask(ctx)
}

// survey asks the vendor what there is and what is on offer, at once.
func (e *Engine) survey(ctx context.Context) error {
	var types []providers.MachineType
	checked := make(chan error, 1)
	go func() {
		var err error
		types, err = e.checkOffer(ctx)
		checked <- err
	}()
	looked := e.look(ctx, e.wanted())
	if err := <-checked; err != nil { // of two errors always the same one
		return err
	}
	e.world.Types, e.world.Prices = types, e.Provider.Caps().Prices
	return looked
}

// ask asks all machines, and one of the control plane about the cluster, at once.
func (e *Engine) ask(ctx context.Context) error {
	e.world.Hosts = map[string]plan.Host{}
	if !e.want.Nodes || e.secrets == nil {
		return nil
	}
	all := ctx
	g, ctx := errgroup.WithContext(all)
	g.SetLimit(e.Width)
	for i, m := range e.world.Machines {
		if m.Partial {
			continue
		}
		g.Go(func() error {
			h := e.askHost(ctx, m)
			if h.Problem != "" && m.State == providers.Running {
				m = e.lookAgain(ctx, m)
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			e.world.Hosts[m.Name], e.world.Machines[i], e.byName[m.Name] = h, m, m
			return nil
		})
	}
	g.Go(func() error { return e.askKube(ctx) })
	if err := g.Wait(); err != nil {
		return err
	}
	e.askEtcd(all)
	return all.Err()
}

// lookAgain is the machine as the vendor has it now: one that does not answer may have stopped while it was asked, and a plan that took it for
// running would wait for it instead of starting it.
func (e *Engine) lookAgain(ctx context.Context, m providers.Machine) providers.Machine {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	now, err := e.Provider.Machines().Get(ctx, m.ID)
	if err != nil || now.Name != m.Name || now.Owner != m.Owner { // what it was like a moment ago is the better guess
		return m
	}
	return now
}

// askHost asks one machine what runs on it. A machine that does not answer is a finding and no error.
func (e *Engine) askHost(ctx context.Context, m providers.Machine) plan.Host {
	if m.State == providers.Stopped {
		return plan.Host{Problem: "the machine is stopped"} // and would be waited for
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	h, err := e.host(ctx, m)
	if err != nil {
		return plan.Host{Problem: firstLine(err)}
	}
	role := templates.Worker
	if m.Pool == plan.ControlPlanePool {
		role = templates.ControlPlane
	}
	files, err := e.files(role, pki.Token{})
	if err != nil {
		return plan.Host{Problem: firstLine(err)}
	}
	besides := e.besides(role)
	asked := append(paths(files), templates.FoundingPath)
	for _, p := range besides {
		asked = append(asked, p.Path)
	}
	f, err := bootstrap.Gather(ctx, h, asked...)
	if err != nil {
		return plan.Host{Problem: firstLine(err)}
	}
	ph := plan.Host{Node: f.Node, Agent: f.Agent, Running: f.Status != nil, Joined: f.Joined, Stale: stale(files, besides, f.Files), Due: due(f.Status, time.Now())}
	_, ph.Founding = f.Files[templates.FoundingPath]
	if f.Status != nil && f.Status.Etcd != nil {
		ph.Etcd = f.Status.Etcd.State
	}
	return ph
}

// due names certificates with less than renewal left: the node agent renews them long before, so something keeps it from it.
func due(s *templates.Status, now time.Time) []string {
	if s == nil {
		return nil
	}
	var names []string
	for _, c := range s.Certificates {
		if c.NotAfter.Sub(now) < renewal {
			names = append(names, c.Name)
		}
	}
	return names
}

// renewal is what is left of a certificate when it should have been renewed twice over.
const renewal = 30 * 24 * time.Hour

// askKube asks the cluster's API for its nodes and add-ons. An API that does not answer is a finding and no error.
func (e *Engine) askKube(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	k, err := e.kube(ctx)
	if err != nil {
		return nil
	}
	var nodes map[string]plan.KubeNode
	var addons map[string]string
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { nodes, err = k.nodes(gctx); return err })
	g.Go(func() (err error) { addons, err = k.addons(gctx); return err })
	if g.Wait() != nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.world.API, e.world.Nodes, e.world.Addons = true, nodes, addons
	return nil
}

// Check compares the file with what is known of the vendor's offer and, if there is a bundle at hand, with the version that it
// holds. It asks no vendor and needs no state and no provider.
func Check(o Options, of Offer) error {
	e := New(o)
	if ds := e.unoffered(of); len(ds) > 0 {
		return ds
	}
	if _, err := os.Stat(o.Bundle); err != nil || of.Caps.Simulated {
		return nil
	}
	p, err := e.loadPrograms()
	if err != nil {
		return err
	}
	return e.checkVersion(p)
}

// checkVersion refuses a version that the bundle does not hold.
func (e *Engine) checkVersion(p *bootstrap.Programs) error {
	held := strings.TrimPrefix(p.Manifest.Kubernetes, "v")
	if e.Cluster.Kubernetes != held {
		return diag.Diagnostics{config.UnknownVersion(e.Cluster, []string{held})}
	}
	return nil
}

// open reads which bundle and agent are at hand, and the secrets.
func (e *Engine) open() (err error) {
	e.want.UID, e.want.Nodes, e.want.Renumber = e.State.UID(), !e.Provider.Caps().Simulated, e.Provider.Caps().Renumber
	if e.want.Replace, err = e.replaced(); err != nil {
		return err
	}
	if e.secrets, err = loadSecrets(e.State); err != nil || !e.want.Nodes {
		return err
	}
	if e.programs, err = e.loadPrograms(); err != nil {
		return err
	}
	if err := e.checkVersion(e.programs); err != nil {
		return err
	}
	if e.want.Bundle, e.want.Agent, err = e.identity(); err != nil {
		return err
	}
	if e.manifests, err = e.addonManifests(); err != nil {
		return err
	}
	e.want.Addons, e.want.Cloud = addonHashes(e.manifests), e.nodeCloud()
	e.plugin, err = e.nodePlugin()
	return err
}

// replaced are the addresses of the machines that a person wants replaced. What names none is a mistake.
func (e *Engine) replaced() (map[string]bool, error) {
	in, past := map[string]bool{}, e.Done(nil).Replaced
	var known []string
	for _, m := range e.members() {
		known = append(known, m.Address(plan.Machine))
	}
	for _, pattern := range e.Options.Replace {
		found := false
		for _, a := range known {
			if plan.Match(pattern, a) {
				in[a], found = !past[a], true
			}
		}
		if !found {
			return nil, diag.New(diag.UnknownAddress, "--replace %s: the file asks for no such machine.%s", pattern, diag.DidYouMean(pattern, known))
		}
	}
	return in, nil
}

func (e *Engine) identity() (bundle, agent string, err error) {
	agent, err = e.programs.Agent.Sum()
	return e.programs.Manifest.ID, agent, err
}

// loadPrograms opens bundle and agent.
func (e *Engine) loadPrograms() (*bootstrap.Programs, error) {
	p, err := bootstrap.LoadPrograms(e.Agent, e.Bundle)
	if err == nil {
		return p, nil
	}
	var gone *fs.PathError
	if errors.As(err, &gone) && errors.Is(err, fs.ErrNotExist) {
		id, what := diag.BundleMissing, "bundle"
		if gone.Path == e.Agent {
			id, what = diag.AgentMissing, "node agent"
		}
		return nil, diag.Wrap(err, id, "There is no %s at %s. It is looked for beside the program; --%s names another place.", what, gone.Path, map[string]string{"bundle": "bundle", "node agent": "agent"}[what]).
			Next("Build it:", "make build")
	}
	if d, ok := e.fromBundle(err); ok {
		return nil, d
	}
	return nil, err
}
