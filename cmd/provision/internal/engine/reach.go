package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
	"golang.org/x/sync/errgroup"
)

// find lists the cluster's machines and loads its secrets, for verbs that use a cluster and do not change it.
func (e *Engine) find(ctx context.Context) error {
	var err error
	if e.secrets, err = loadSecrets(e.State); err != nil {
		return err
	}
	e.want.UID, e.want.Nodes, e.want.Renumber = e.State.UID(), !e.Provider.Caps().Simulated, e.Provider.Caps().Renumber
	if err := e.look(ctx, e.wanted()); err != nil {
		return err
	}
	if len(e.world.Machines) == 0 {
		return diag.New(diag.NoCluster, "The vendor has no machine of a cluster named %q.", e.Cluster.Name).Next("Make it:", e.again())
	}
	if err := e.own(ctx); err != nil {
		return err
	}
	if e.secrets == nil {
		return e.lost(0, nil)
	}
	return nil
}

// Connect opens a connection to the node of that name: the machine's name (demo-workers-0) or its address in plans
// (workers[0]). The connection is the engine's to close.
func (e *Engine) Connect(ctx context.Context, name string) (ssh.Host, providers.Machine, error) {
	if err := e.find(ctx); err != nil {
		return nil, providers.Machine{}, err
	}
	var known []string
	for _, m := range e.world.Machines {
		known = append(known, m.Name)
		if m.Name != name && e.Cluster.Name+"-"+name != m.Name && nodeAddress(m, name) != name {
			continue
		}
		if m.State == providers.Stopped {
			return nil, m, diag.New(diag.MachineDied, "The machine %s is stopped.", m.Name).Next("Start it again:", e.again())
		}
		if !m.SSH.IsValid() {
			return nil, m, diag.New(diag.Unsupported, "Machines of provider %s do not answer SSH.", e.Provider.Name())
		}
		h, err := e.host(ctx, m)
		if err != nil {
			return nil, m, e.diagnose(err)
		}
		return h, m, nil
	}
	return nil, providers.Machine{}, diag.New(diag.UnknownNode, "The cluster has no node %q. It has:\n\n- %s", name, strings.Join(known, "\n- "))
}

// nodeAddress is the name's address if it is the machine's, as it stands in plans.
func nodeAddress(m providers.Machine, name string) string {
	i := strings.LastIndexByte(m.Name, '-')
	for _, a := range []string{fmt.Sprintf("%s[%s]", m.Pool, m.Name[i+1:]), fmt.Sprintf("node.%s[%s]", m.Pool, m.Name[i+1:]), fmt.Sprintf("machine.%s[%s]", m.Pool, m.Name[i+1:]), m.Pool + "-" + m.Name[i+1:]} {
		if a == name {
			return a
		}
	}
	return ""
}

// Kubeconfig returns a kubeconfig of an administrator, with a client certificate of that life. It names the cluster's endpoint,
// or the first API server that answers where there is none, and each API server as a context of its own.
func (e *Engine) Kubeconfig(ctx context.Context, person string, life time.Duration) ([]byte, error) {
	if err := e.find(ctx); err != nil {
		return nil, err
	}
	ways := e.ways()
	if len(ways) == 0 {
		return nil, diag.New(diag.NoCluster, "The cluster %q has no control-plane machine.", e.Cluster.Name).Next("Mend it:", e.again())
	}
	pair, err := e.secrets.authority.Admin(person, life, time.Now())
	if err != nil {
		return nil, err
	}
	k := pki.Kubeconfig{
		Cluster: e.Cluster.Name, Server: ways[firstOpen(ctx, ways)].URL,
		CA: e.secrets.authority.Cluster.CertPEM(), User: person, Pair: pair,
	}
	if len(ways) > 1 {
		k.Others = ways
	}
	return k.Render()
}

// ways are all ways to the API from outside, the best first: a name, the virtual address, the balancer, each API server.
func (e *Engine) ways() []pki.Way {
	var ws []pki.Way
	add := func(name, host string) {
		ws = append(ws, pki.Way{Name: name, URL: "https://" + net.JoinHostPort(host, strconv.Itoa(templates.APIPort))})
	}
	for i, n := range e.Cluster.Endpoint.Names {
		if i == 0 {
			add(e.Cluster.Name+"-name", n)
		}
	}
	if a := e.Cluster.Endpoint.Address; a.IsValid() {
		add(e.Cluster.Name+"-address", a.String())
	}
	if lb, ok := e.world.APIBalancer(); ok {
		for _, n := range plan.BalancerNames(lb)[:min(1, len(plan.BalancerNames(lb)))] {
			add(e.Cluster.Name+"-balancer", n)
		}
	}
	for _, cp := range e.controlPlane() {
		if m, ok := e.machine(cp.Name); ok && m.Private.IsValid() {
			addr := m.Private
			if m.Public.IsValid() {
				addr = m.Public
			}
			add(cp.Name, addr.String())
		}
	}
	return ws
}

// firstOpen is the index of the first way that takes a connection; 0 if none does.
func firstOpen(ctx context.Context, ways []pki.Way) int {
	if len(ways) == 1 {
		return 0
	}
	open := make([]bool, len(ways))
	var g errgroup.Group
	for i, w := range ways {
		g.Go(func() error {
			d := net.Dialer{Timeout: probeTimeout}
			c, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(w.URL, "https://"))
			if err == nil {
				open[i] = true
				c.Close()
			}
			return nil
		})
	}
	g.Wait()
	return max(0, slices.Index(open, true))
}

// A Status is what a cluster is like now.
type Status struct {
	Schema     int          `json:"schema"`
	Cluster    string       `json:"cluster"`
	Provider   string       `json:"provider"`
	Kubernetes string       `json:"kubernetes"`
	API        string       `json:"api,omitempty"`
	Ready      bool         `json:"ready"` // the API answers and all nodes of the file are ready
	Nodes      []NodeStatus `json:"nodes"`

	Etcd    *EtcdHealth    `json:"etcd,omitempty"`
	Address *AddressHealth `json:"address,omitempty"` // the virtual one, if the cluster has one

	Services []AddressHealth `json:"services,omitempty"` // addresses of Services that nodes announce, sorted
}

// A NodeStatus is one machine and the node on it.
type NodeStatus struct {
	Name         string            `json:"name"`
	Address      string            `json:"address"` // in plans: node.workers[0]
	Role         string            `json:"role"`
	Pool         string            `json:"pool"`
	Machine      string            `json:"machine"` // its state at the vendor; "missing" if it is not there
	IP           string            `json:"ip,omitempty"`
	Ready        bool              `json:"ready"` // as Kubernetes sees it
	Cordoned     bool              `json:"cordoned,omitempty"`
	Version      string            `json:"version,omitempty"`
	Problem      string            `json:"problem,omitempty"`
	Agent        *templates.Status `json:"agent,omitempty"`
	Certificates string            `json:"certificates,omitempty"` // when the first of them ends
}

// Status asks the vendor, every machine and the API, at once.
func (e *Engine) Status(ctx context.Context) (Status, error) {
	if err := e.find(ctx); err != nil {
		return Status{}, err
	}
	agents := map[string]*templates.Status{}
	problems := map[string]string{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(e.Width)
	for _, m := range e.world.Machines {
		if m.Partial || !e.want.Nodes { // machines without SSH have nothing to ask
			continue
		}
		g.Go(func() error {
			s, err := e.askAgent(gctx, m)
			e.mu.Lock()
			defer e.mu.Unlock()
			if err != nil {
				problems[m.Name] = firstLine(err)
				return nil
			}
			agents[m.Name] = &s
			return nil
		})
	}
	var etcd *EtcdHealth
	if e.want.Nodes {
		g.Go(func() error { return e.askKube(gctx) })
		g.Go(func() error { etcd = e.askEtcdHealth(gctx); return nil })
	}
	if err := g.Wait(); err != nil {
		return Status{}, err
	}
	s := e.compose(agents, problems)
	s.Etcd, s.Address, s.Services = etcd, e.addressHealth(agents), serviceHealth(agents)
	return s, nil
}

func (e *Engine) askAgent(ctx context.Context, m providers.Machine) (templates.Status, error) {
	if m.State == providers.Stopped {
		return templates.Status{}, errors.New("the machine is stopped")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	h, err := e.host(ctx, m)
	if err != nil {
		return templates.Status{}, err
	}
	return bootstrap.Status(ctx, h)
}

func (e *Engine) compose(agents map[string]*templates.Status, problems map[string]string) Status {
	s := Status{Schema: 1, Cluster: e.Cluster.Name, Provider: e.Provider.Name(), Kubernetes: e.Cluster.Kubernetes, Ready: e.world.API}
	if ws := e.ways(); len(ws) > 0 {
		s.API = ws[0].URL
	}
	seen := map[string]bool{}
	for _, m := range e.members() {
		seen[m.Name] = true
		n := NodeStatus{Name: m.Name, Address: m.Address(plan.Node), Role: string(m.Role), Pool: m.PoolName(), Machine: "missing"}
		if mach, ok := e.machine(m.Name); ok {
			n.Machine, n.IP = string(mach.State), mach.Private.String()
		}
		e.fill(&n, agents[m.Name], problems[m.Name])
		s.Ready = s.Ready && n.Ready
		s.Nodes = append(s.Nodes, n)
	}
	for _, mach := range e.world.Machines {
		if !seen[mach.Name] {
			n := NodeStatus{Name: mach.Name, Role: "worker", Pool: mach.Pool, Machine: string(mach.State), IP: mach.Private.String(), Problem: "no longer in the file"}
			e.fill(&n, agents[mach.Name], n.Problem)
			s.Nodes = append(s.Nodes, n)
		}
	}
	return s
}

func (e *Engine) fill(n *NodeStatus, agent *templates.Status, problem string) {
	kube := e.world.Nodes[n.Name]
	n.Ready, n.Cordoned, n.Version, n.Problem, n.Agent = kube.Ready, kube.Unschedulable, kube.Version, problem, agent
	if _, joined := e.world.Nodes[n.Name]; n.Problem == "" && n.Machine != "missing" {
		switch {
		case n.Machine == string(providers.Stopped):
			n.Problem = "the machine is stopped"
		case !e.want.Nodes:
			n.Problem = "the machine is simulated: no node runs on it"
		case !e.world.API:
			n.Problem = "the cluster's API does not answer"
		case !joined:
			n.Problem = "has not joined"
		}
	}
	if agent == nil {
		return
	}
	if first := slices.MinFunc(append(agent.Certificates, templates.CertificateStatus{NotAfter: time.Unix(1<<36, 0)}), func(a, b templates.CertificateStatus) int {
		return a.NotAfter.Compare(b.NotAfter)
	}); first.Name != "" {
		n.Certificates = first.NotAfter.UTC().Format(time.RFC3339)
	}
	if len(agent.Problems) > 0 && n.Problem == "" {
		n.Problem = agent.Problems[0]
	}
}
