package gcp

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/gcp/gcptest"
)

const agentAccount = "agent@demo-project.iam.gserviceaccount.com"

// TestCloudAgentAccount looks which service account machines get, and for what it is good there.
func TestCloudAgentAccount(t *testing.T) {
	nodes := "nodes@demo-project.iam.gserviceaccount.com"
	for _, c := range []struct {
		o            Options
		agent, other string
	}{
		{Options{}, "", ""},
		{Options{CloudAgentAccount: agentAccount}, agentAccount + " compute", ""},
		{Options{ServiceAccount: nodes}, nodes + " cloud-platform", nodes + " cloud-platform"},
		{Options{ServiceAccount: nodes, CloudAgentAccount: agentAccount}, agentAccount + " compute", nodes + " cloud-platform"},
	} {
		p := open(t, gcptest.Options{}, c.o)
		n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"demo-cp-0": c.agent, "demo-workers-0": c.other} {
			spec := node(n, name, "a")
			spec.CloudAgent = name == "demo-cp-0"
			m, err := p.Machines().Create(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			i, err := p.instance(t.Context(), m.ID)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range i.ServiceAccounts {
				got = append(got, a.GetEmail()+" "+strings.TrimPrefix(strings.Join(a.Scopes, ","), "https://www.googleapis.com/auth/"))
			}
			if strings.Join(got, ", ") != want {
				t.Errorf("%+v: machine %s has %q, want %q", c.o, name, got, want)
			}
		}
	}
}

// TestTheAgentsRole compares the agent's role in docs/security.md with the list in code.
func TestTheAgentsRole(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, role, _ := strings.Cut(string(text), "<!-- gcp-agent-role -->")
	_, role, _ = strings.Cut(role, "includedPermissions:")
	role, _, _ = strings.Cut(role, "```")
	if got, want := strings.Fields(strings.ReplaceAll(role, "- ", "")), AgentPermissions(); !slices.Equal(got, want) {
		t.Errorf("docs/security.md has %v\nthe code %v", got, want)
	}
}

// TestTheAgentsRoleIsEnough does with the agent's role what an agent does in a network that is there, and what it may not.
func TestTheAgentsRoleIsEnough(t *testing.T) {
	p := open(t, gcptest.Options{}, Options{NAT: NATOne})
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	cloud.Grant(AgentPermissions())
	p = again(t, Options{NAT: NATOne})
	begin := len(cloud.Requests())
	if err := served(t, p, n); err != nil {
		t.Error(err)
	}
	for _, q := range cloud.Requests()[begin:] {
		if q.Status == http.StatusForbidden {
			t.Errorf("%s was refused: %s", q.Method, q.Reason)
		}
	}
	_, err = p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "second"})
	if providers.KindOf(err) != providers.Denied {
		t.Errorf("an agent makes a network: %v", err)
	}
	if err := p.Networks().Delete(t.Context(), n.ID); providers.KindOf(err) != providers.Denied {
		t.Errorf("an agent deletes the network: %v", err)
	}
}

// served is the work of an agent: machines, balancers, volumes and their copies.
func served(t *testing.T, p *Provider, n providers.Network) error {
	ctx := t.Context()
	m, err := p.Machines().Create(ctx, node(n, "demo-a-0", "a"))
	if err != nil {
		return err
	}
	lb := providers.LoadBalancerSpec{Owner: "demo", Name: "service", Network: n.ID, Targets: []providers.ID{m.ID}, Ports: []providers.BalancerPort{{Name: "a", Protocol: "tcp", Port: 80, TargetPort: 30080}}}
	b, err := p.LoadBalancers().Create(ctx, lb)
	if err != nil {
		return err
	}
	lb.Ports[0].TargetPort, lb.Targets = 30081, nil
	if _, err := p.LoadBalancers().Update(ctx, b.ID, lb); err != nil {
		return err
	}
	v, err := p.Volumes().Create(ctx, providers.VolumeSpec{Owner: "demo", Name: "data", SizeGiB: 10, Zone: m.Zone})
	if err != nil {
		return err
	}
	if _, err := p.Volumes().Attach(ctx, v.ID, m.ID); err != nil {
		return err
	}
	if _, err := p.Volumes().Resize(ctx, v.ID, 20); err != nil {
		return err
	}
	s, err := p.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: "demo", Name: "copy", Volume: v.ID})
	if err != nil {
		return err
	}
	r, err := p.Volumes().Create(ctx, providers.VolumeSpec{Owner: "demo", Name: "restored", SizeGiB: 20, Zone: m.Zone, Snapshot: s.ID})
	if err != nil {
		return err
	}
	for _, list := range []func() error{
		func() error { _, err := p.Machines().List(ctx, "demo"); return err },
		func() error { _, err := p.Machines().Types(ctx); return err },
		func() error { _, err := p.Networks().List(ctx, "demo"); return err },
		func() error { _, err := p.LoadBalancers().List(ctx, "demo"); return err },
		func() error { _, err := p.Volumes().List(ctx, "demo"); return err },
		func() error { return p.Volumes().Detach(ctx, v.ID, m.ID) },
		func() error { return p.Volumes().Snapshots().Delete(ctx, s.ID) },
		func() error { return p.Volumes().Delete(ctx, v.ID) },
		func() error { return p.Volumes().Delete(ctx, r.ID) },
		func() error { return p.Machines().Delete(ctx, m.ID) },
		func() error { return p.LoadBalancers().Delete(ctx, b.ID) },
	} {
		if err := list(); err != nil {
			return err
		}
	}
	return nil
}

// TestInside opens the provider as a machine would that knows nothing of the person's environment.
func TestInside(t *testing.T) {
	t.Setenv("GOOGLE_CLOUD_PROJECT", "demo-project")
	t.Setenv("GOOGLE_CLOUD_REGION", gcptest.Region)
	there := Inside(map[string]any{"nat": "one", "endpoint": "http://127.0.0.1:1"})
	for _, v := range []string{"GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_REGION", "CLOUDSDK_CORE_PROJECT", "CLOUDSDK_COMPUTE_REGION"} {
		t.Setenv(v, "")
	}
	p, err := Open(there)
	if err != nil || p.o.Project != "demo-project" || p.o.Region != gcptest.Region || p.o.NAT != NATOne {
		t.Errorf("%v opens %+v, %v", there, p, err)
	}
}
