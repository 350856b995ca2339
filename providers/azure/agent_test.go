package azure

import (
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/azure/azuretest"
)

const agentIdentity = "/subscriptions/" + azuretest.Subscription + "/resourceGroups/shared/providers/Microsoft.ManagedIdentity/userAssignedIdentities/agent"

// TestCloudAgentIdentity looks which identity machines get.
func TestCloudAgentIdentity(t *testing.T) {
	for _, c := range []struct {
		o            Options
		agent, other string
	}{
		{Options{}, "", ""},
		{Options{CloudAgentIdentity: agentIdentity}, agentIdentity, ""},
		{Options{Identity: testIdentity}, testIdentity, testIdentity},
		{Options{Identity: testIdentity, CloudAgentIdentity: agentIdentity}, agentIdentity, testIdentity},
	} {
		p := open(t, azuretest.New(azuretest.Options{}), c.o)
		n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"demo-cp-0": c.agent, "demo-workers-0": c.other} {
			m, err := p.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: name, Network: n.ID, Type: "Standard_D2s_v5", CloudAgent: name == "demo-cp-0"})
			if err != nil {
				t.Fatal(err)
			}
			v, err := p.vms.Get(t.Context(), networkName(m.Network), name, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			if v.Identity != nil {
				for id := range v.Identity.UserAssignedIdentities {
					got = append(got, id)
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%+v: machine %s has %q, want %q", c.o, name, got, want)
			}
		}
	}
}

// TestTheAgentsRoleIsEnough does with the role that the document has for agents what an agent does in a network that is there, and what
// it may not.
func TestTheAgentsRoleIsEnough(t *testing.T) {
	all := roleAt(t, "azure-agent-role")
	if !slices.Equal(all, AgentActions()) {
		t.Errorf("docs/security.md has\n%s\nand the code\n%s", strings.Join(all, "\n"), strings.Join(AgentActions(), "\n"))
	}
	c := azuretest.New(azuretest.Options{Slow: 1})
	n, err := open(t, c, Options{}).Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	c.Assign(azuretest.Role{Actions: all})
	p := open(t, c, Options{})
	if err := served(t, p, n); err != nil {
		t.Error(err)
	}
	_, err = p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "second"})
	if providers.KindOf(err) != providers.Denied {
		t.Errorf("an agent makes a network: %v", err)
	}
}

// served is the work of an agent: machines, balancers, volumes and their copies.
func served(t *testing.T, p *Provider, n providers.Network) error {
	ctx := t.Context()
	m, err := p.Machines().Create(ctx, providers.MachineSpec{Owner: "demo", Name: "demo-a-0", Pool: "a", Network: n.ID, Type: "Standard_D2s_v5"})
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
	t.Setenv("AZURE_SUBSCRIPTION_ID", azuretest.Subscription)
	there := Inside(map[string]any{"location": azuretest.Location, "tenant": azuretest.Tenant, "nat": "one"})
	t.Setenv("AZURE_SUBSCRIPTION_ID", "")
	p, err := Open(there)
	if err != nil || p.o.Subscription != azuretest.Subscription || p.o.Tenant != "" || p.o.NAT != NATOne {
		t.Errorf("%v opens %+v, %v", there, p, err)
	}
}
