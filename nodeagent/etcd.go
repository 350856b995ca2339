package nodeagent

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/nodeagent/etcdapi"
	"github.com/provisionhq/provision/nodeagent/member"
	"github.com/provisionhq/provision/nodeagent/membership"
	"github.com/provisionhq/provision/templates"
)

// etcdClients returns a function that connects to members of etcd with this node's certificate. All clients share their
// connections.
func etcdClients() func([]string) (member.API, error) {
	var mu sync.Mutex
	var base *etcdapi.Client
	return func(endpoints []string) (member.API, error) {
		mu.Lock()
		defer mu.Unlock()
		if base == nil {
			c, err := etcdClient()
			if err != nil {
				return nil, err
			}
			base = c
		}
		return base.At(endpoints...), nil
	}
}

// etcdClient returns a client with this node's certificate, and no endpoints yet.
func etcdClient() (*etcdapi.Client, error) {
	return etcdapi.New(nil, pki.EtcdCA.File(), pki.CertFile("etcd/client"), pki.KeyFile("etcd/client"))
}

// etcdCluster returns the cluster's etcd, which is reached through the member of this node first.
func etcdCluster(n templates.Node, say func(string)) (membership.Cluster, error) {
	c, err := etcdClient()
	if err != nil {
		return membership.Cluster{}, err
	}
	return membership.Cluster{
		Endpoints: append([]string{etcd.ClientURL}, member.Others("/", n)...),
		Connect:   func(endpoints ...string) membership.API { return c.At(endpoints...) },
		Say:       say,
	}, nil
}

// controlPlaneNode reads what this node is, which must be one of the control plane.
func controlPlaneNode() (templates.Node, error) {
	raw, err := os.ReadFile(templates.NodePath)
	if err != nil {
		return templates.Node{}, err
	}
	n, err := templates.ParseNode(raw)
	if err == nil && n.Role != templates.ControlPlane {
		err = fmt.Errorf("%s is a %s: etcd runs on nodes of the control plane", n.Name, n.Role)
	}
	return n, err
}

// runEtcd is the command: it shows or changes the members of etcd, or works on the data of this one.
func runEtcd(ctx context.Context, args []string, out, errOut io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: etcd needs a command", errUsage)
	}
	f := flag.NewFlagSet("etcd "+args[0], flag.ContinueOnError)
	f.SetOutput(io.Discard)
	switch args[0] {
	case "members", "add", "promote", "remove", "update", "move-leader":
		return runMembers(ctx, f, args[0], args[1:], out, errOut)
	case "snapshot":
		return runSnapshot(ctx, f, args[1:], out)
	case "wipe":
		return then(parse(f, args[1:], 0), func() error { return wipe(ctx) })
	case "restore":
		return runRestore(ctx, f, args[1:], out)
	case "defrag":
		return then(parse(f, args[1:], 0), func() error { return defrag(ctx) })
	}
	return fmt.Errorf("%w: etcd has no command %q", errUsage, args[0])
}

// runMembers shows the members or changes them.
func runMembers(ctx context.Context, f *flag.FlagSet, what string, args []string, out, errOut io.Writer) error {
	asJSON := f.Bool("json", false, "")
	limit := f.Duration("timeout", 2*time.Minute, "")
	from, to := f.String("from", "", ""), f.String("to", "", "")
	count := map[string]int{"members": 0, "add": 2, "promote": 1, "remove": 1, "update": 2, "move-leader": 0}[what]
	if err := parse(f, args, count); err != nil {
		return err
	}
	var address netip.Addr
	if count == 2 {
		var err error
		if address, err = netip.ParseAddr(f.Arg(1)); err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
	}
	n, err := controlPlaneNode()
	if err != nil {
		return err
	}
	c, err := etcdCluster(n, func(line string) { fmt.Fprintln(errOut, line) })
	if err != nil {
		return err
	}
	switch what {
	case "add":
		m, err := c.Add(ctx, f.Arg(0), address)
		return then(err, func() error { return json.NewEncoder(out).Encode(m) })
	case "promote":
		return c.Promote(ctx, f.Arg(0), *limit)
	case "remove":
		return c.Remove(ctx, f.Arg(0))
	case "update":
		return c.Update(ctx, f.Arg(0), address)
	case "move-leader":
		return c.MoveLeader(ctx, *from, *to)
	}
	r, err := c.Report(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	return printMembers(out, r)
}

func printMembers(out io.Writer, r templates.EtcdReport) error {
	if !r.Quorum {
		fmt.Fprintln(out, "problem: there is no quorum:", r.Problem)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tADDRESS\tROLE\tBEHIND\tSIZE\tVERSION\tHEALTH")
	for _, m := range r.Members {
		role := "voter"
		switch {
		case m.Leader:
			role = "leader"
		case m.Learner:
			role = "learner"
		}
		health := "ok"
		if !m.Healthy {
			health = m.Problem
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d MiB\t%s\t%s\n", m.Name, m.ID, m.Address, role, m.Lag, m.Size>>20, m.Version, health)
	}
	return w.Flush()
}

// defrag gives back to the disk what this node's member does not use of its file. The member answers nothing meanwhile.
func defrag(ctx context.Context) error {
	c, err := etcdClient()
	if err != nil {
		return err
	}
	return c.At(etcd.ClientURL).Defragment(ctx)
}
