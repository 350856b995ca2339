package azure

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/azure/azuretest"
)

const testIdentity = "/subscriptions/" + azuretest.Subscription + "/resourceGroups/shared/providers/Microsoft.ManagedIdentity/userAssignedIdentities/nodes"

// wish is a cluster with one of everything.
func wish() providers.Need {
	n := providers.Need{Owner: "demo",
		Networks:      []providers.NetworkSpec{{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix("10.7.0.0/16")}},
		LoadBalancers: []providers.LoadBalancerSpec{{Owner: "demo", Name: "api", Ports: []providers.BalancerPort{{Protocol: "tcp", Port: 443, TargetPort: 6443}}}},
		Volumes:       []providers.VolumeSpec{{Owner: "demo", Name: "data", SizeGiB: 10, Zone: "westeurope-1"}}}
	for _, name := range []string{"demo-cp-0", "demo-cp-1", "demo-cp-2"} {
		n.Machines = append(n.Machines, providers.MachineSpec{Owner: "demo", Name: name, Type: "Standard_D2s_v5"})
	}
	return n
}

func inspect(t *testing.T, p *Provider, n providers.Need) providers.Report {
	t.Helper()
	r, err := p.Account().Check(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAccount asks an account in which nothing stands in the way.
func TestAccount(t *testing.T) {
	c := azuretest.New(azuretest.Options{Page: 2})
	r := inspect(t, open(t, c, Options{NAT: NATOne}), wish())
	if want := "ops@example.com (object " + azuretest.Object + ", tenant " + azuretest.Tenant + ")"; r.Identity != want {
		t.Errorf("got %s, want %s", r.Identity, want)
	}
	if want := "subscription " + azuretest.Subscription + ", westeurope"; r.Place != want {
		t.Errorf("got %s, want %s", r.Place, want)
	}
	if len(r.Missing)+len(r.Problems)+len(r.Unseen) > 0 {
		t.Errorf("stands in the way: %v %+v %v", r.Missing, r.Problems, r.Unseen)
	}
	got := map[string]float64{}
	for _, l := range r.Limits {
		got[l.Name] = l.Need
	}
	for name, need := range map[string]float64{"Total Regional vCPUs": 6, "standardDSv5Family vCPUs": 6, "Virtual Machines": 3, "Virtual Networks": 1, "Nat Gateways": 1,
		"Network Interfaces": 3, "Public IP Addresses": 5, "Public IPv4 Addresses - Standard": 5, "Load Balancers": 1, "Network Security Groups": 1, "Application Security Groups": 2} {
		if got[name] != need {
			t.Errorf("%s: %g needed, want %g", name, got[name], need)
		}
		delete(got, name)
	}
	if len(got) > 0 || !slices.IsSortedFunc(r.Limits, byTitle) {
		t.Errorf("beside, or not sorted: %v", got)
	}
	if n := c.Writes(); n != 0 {
		t.Errorf("%d requests changed something", n)
	}
	report(t, c)
}

// role is the custom role of docs/security.md.
func role(t *testing.T) (actions []string) { t.Helper(); return roleAt(t, "azure-role") }

// roleAt is the role after a mark in the document.
func roleAt(t *testing.T, mark string) (actions []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "<!-- "+mark+" -->\n```json\n")
	block, _, _ := strings.Cut(after, "\n```")
	var r struct{ Actions, NotActions []string }
	if err := json.Unmarshal([]byte(block), &r); !ok || err != nil || len(r.NotActions) > 0 {
		t.Fatalf("the role of docs/security.md: %v, %v, %+v", ok, err, r)
	}
	return r.Actions
}

// TestRole compares the role of the document with the code.
func TestRole(t *testing.T) {
	var want []string
	for _, a := range Actions() {
		want = append(want, a.Name)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	if got := role(t); !slices.Equal(got, want) {
		t.Errorf("docs/security.md has\n%s\nand the code\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestMissingPermissions takes each action of the document's role away, and has it named.
func TestMissingPermissions(t *testing.T) {
	all := role(t)
	subnet := "/subscriptions/" + azuretest.Subscription + "/resourceGroups/shared/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
	for i, gone := range all {
		c := azuretest.New(azuretest.Options{Page: 1})
		p := open(t, c, Options{NAT: NATOne, Identity: testIdentity})
		if gone == "Microsoft.Network/virtualNetworks/subnets/read" {
			p = open(t, c, Options{Network: subnet, Identity: testIdentity})
		}
		c.Assign(azuretest.Role{Actions: slices.Delete(slices.Clone(all), i, i+1)}, azuretest.Role{Actions: []string{"Microsoft.Web/*"}})
		r := inspect(t, p, wish())
		if gone == "Microsoft.Authorization/permissions/read" {
			if len(r.Unseen) != 1 || !strings.Contains(r.Unseen[0], gone) || !strings.Contains(r.Unseen[0], "request-") && !strings.Contains(r.Unseen[0], "refused-") {
				t.Errorf("without %s: %v", gone, r.Unseen)
			}
			continue
		}
		if !slices.Equal(r.Missing, []string{gone}) {
			t.Errorf("without %s there is missing %v", gone, r.Missing)
		}
	}
	t.Logf("%d actions taken away, one at a time", len(all))
}

// TestRoles reads roles as Azure does: patterns, exceptions, and roles on a group that is there already.
func TestRoles(t *testing.T) {
	c := azuretest.New(azuretest.Options{})
	p := open(t, c, Options{})
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	one := providers.Need{Owner: "demo", Machines: []providers.MachineSpec{{Owner: "demo", Name: "demo-a-0", Type: "Standard_B2s", Network: n.ID}}}
	for name, x := range map[string]struct {
		roles   []azuretest.Role
		missing []string
	}{
		"owner":  {[]azuretest.Role{{Actions: []string{"*"}}}, nil},
		"except": {[]azuretest.Role{{Actions: []string{"*"}, NotActions: []string{"Microsoft.Compute/virtualMachines/delete"}}}, []string{"Microsoft.Compute/virtualMachines/delete"}},
		"given by another": {[]azuretest.Role{{Actions: []string{"*"}, NotActions: []string{"Microsoft.Compute/*/delete"}},
			{Actions: []string{"microsoft.compute/virtualmachines/*"}}}, nil},
		"on the group": {[]azuretest.Role{{Actions: []string{"*/read", "Microsoft.Resources/*"}}, {Scope: p.scope(networkGroup(providers.Key{Owner: "demo", Name: "main"})), Actions: []string{"*"}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.Assign(x.roles...)
			if r := inspect(t, p, one); !slices.Equal(r.Missing, x.missing) {
				t.Errorf("missing: %v, want %v", r.Missing, x.missing)
			}
		})
	}
}

// TestProblems has each thing found that Azure would refuse.
func TestProblems(t *testing.T) {
	c := azuretest.New(azuretest.Options{})
	strange := open(t, c, Options{})
	for _, n := range []string{networkGroup(providers.Key{Owner: "demo", Name: "main"}), storageGroup("demo")} {
		if err := strange.makeGroup(t.Context(), n, map[string]string{"team": "finance"}); err != nil {
			t.Fatal(err)
		}
	}
	subnet := "/subscriptions/" + azuretest.Subscription + "/resourceGroups/x/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
	machine := func(m providers.MachineSpec) func(*providers.Need) {
		return func(n *providers.Need) {
			m.Owner, m.Name = "demo", "demo-cp-0"
			if m.Type == "" {
				m.Type = "Standard_D2s_v5"
			}
			n.Machines = []providers.MachineSpec{m}
		}
	}
	for name, x := range map[string]struct {
		o           Options
		change      func(*providers.Need)
		kind        providers.Kind
		noun        providers.Noun
		field, text string
	}{
		"unknown type":    {Options{}, machine(providers.MachineSpec{Type: "Standard_D2s_v99"}), providers.Invalid, providers.MachineNoun, "type", "Standard_D2s_v99"},
		"restricted type": {Options{}, machine(providers.MachineSpec{Type: "Standard_M416ms_v2"}), providers.Invalid, providers.MachineNoun, "type", "NotAvailableForSubscription"},
		"type and zone":   {Options{}, machine(providers.MachineSpec{Type: "Standard_D2ps_v5", Zone: "westeurope-3"}), providers.Invalid, providers.MachineNoun, "zone", "only in westeurope-1, westeurope-2"},
		"no such zone":    {Options{}, machine(providers.MachineSpec{Zone: "westeurope-9"}), providers.Invalid, providers.MachineNoun, "zone", "westeurope-9"},
		"image":           {Options{}, machine(providers.MachineSpec{Image: "Debian:debian-9:9:latest"}), providers.Invalid, providers.MachineNoun, "image", "Debian:debian-9"},
		"image's version": {Options{}, machine(providers.MachineSpec{Image: "Debian:debian-13:13-gen2:0.1.2"}), providers.Invalid, providers.MachineNoun, "image", "no such version"},
		"disk":            {Options{}, machine(providers.MachineSpec{DiskGiB: 2}), providers.Invalid, providers.MachineNoun, "", "disk of 2 GiB"},
		"network's group": {Options{}, func(n *providers.Need) { n.Networks = []providers.NetworkSpec{{Owner: "demo", Name: "main"}} }, providers.Conflict, providers.NetworkNoun, "name", "provision_demo_main"},
		"volumes' group": {Options{}, func(n *providers.Need) {
			n.Volumes = []providers.VolumeSpec{{Owner: "demo", Name: "data", SizeGiB: 1, Zone: "westeurope-1"}}
		}, providers.Conflict, providers.VolumeNoun, "name", "provision_demo.storage"},
		"subnet": {Options{Network: subnet}, func(n *providers.Need) { n.Networks = []providers.NetworkSpec{{Owner: "demo", Name: "other"}} }, providers.NotFound, providers.NetworkNoun, "network", subnet},
		"balancer": {Options{}, func(n *providers.Need) {
			n.LoadBalancers = []providers.LoadBalancerSpec{{Owner: "demo", Name: "api", Ports: []providers.BalancerPort{{Protocol: "tcp", Port: 1, TargetPort: 1, ProxyProtocol: true}}}}
		}, providers.Unsupported, providers.BalancerNoun, "", "proxy protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			need := providers.Need{Owner: "demo"}
			x.change(&need)
			r := inspect(t, open(t, c, x.o), need)
			if len(r.Problems) != 1 {
				t.Fatalf("%d problems: %+v", len(r.Problems), r.Problems)
			}
			if p := r.Problems[0]; p.Kind != x.kind || p.Noun != x.noun || p.Field != x.field || !strings.Contains(p.Text, x.text) || strings.HasPrefix(p.Text, string(x.kind)) {
				t.Errorf("got %+v, want %s of %s, field %q, %q", p, x.kind, x.noun, x.field, x.text)
			}
		})
	}
}

// TestQuotas has quotas found that are too small, and sees that Azure refuses then.
func TestQuotas(t *testing.T) {
	for limit, title := range map[string]string{"cores": "Total Regional vCPUs", "standardDSv5Family": "standardDSv5Family vCPUs", "PublicIPAddresses": "Public IP Addresses", "VirtualNetworks": "Virtual Networks"} {
		t.Run(limit, func(t *testing.T) {
			c := azuretest.New(azuretest.Options{})
			c.Limit(limit, 0)
			p := open(t, c, Options{})
			r := inspect(t, p, wish())
			var over []string
			for _, l := range r.Limits {
				if l.Exceeded() {
					over = append(over, l.Name)
				}
			}
			if !slices.Equal(over, []string{title}) {
				t.Errorf("exceeded: %v", over)
			}
			n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
			if err == nil {
				_, err = p.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: "demo-a-0", Network: n.ID, Type: "Standard_D2s_v5"})
			}
			if providers.KindOf(err) != providers.Quota {
				t.Errorf("made, or refused for something else: %v", err)
			}
		})
	}
	t.Run("spot", func(t *testing.T) {
		c := azuretest.New(azuretest.Options{})
		c.Limit("cores", 0)
		c.Limit("lowPriorityCores", 1)
		need := providers.Need{Owner: "demo", Machines: []providers.MachineSpec{{Owner: "demo", Name: "demo-a-0", Type: "Standard_D2s_v5", Spot: true}}}
		for _, l := range inspect(t, open(t, c, Options{}), need).Limits {
			if l.Exceeded() != (l.Name == "Total Regional Low-priority vCPUs") {
				t.Errorf("%+v", l)
			}
		}
	})
}

// TestRangeThatOverlaps is said and does not stand in the way: Azure makes such a network.
func TestRangeThatOverlaps(t *testing.T) {
	c := azuretest.New(azuretest.Options{})
	p := open(t, c, Options{})
	if _, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "other", Name: "main", CIDR: netip.MustParsePrefix("10.7.128.0/20")}); err != nil {
		t.Fatal(err)
	}
	r := inspect(t, p, wish())
	if len(r.Problems) > 0 || len(r.Unseen) != 1 || !strings.Contains(r.Unseen[0], "10.7.128.0/20") || !strings.Contains(r.Unseen[0], "provision_other_main") {
		t.Errorf("got %+v, %v", r.Problems, r.Unseen)
	}
}

// locked is a credential that cannot be used.
type locked struct{}

func (locked) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, errors.New(`DefaultAzureCredential: failed to acquire a token.
Attempted credentials:
	EnvironmentCredential: missing environment variable AZURE_TENANT_ID
	ManagedIdentityCredential authentication failed.
		GET http://169.254.169.254/metadata/identity/oauth2/token
		--------------------------------------------------------------------------------
		RESPONSE 403: 403 Forbidden
`)
}

// TestCredentials has no, expired and foreign credentials refused, and Azure not answering told apart.
func TestCredentials(t *testing.T) {
	c := azuretest.New(azuretest.Options{})
	p := open(t, c, Options{})
	p.who = locked{}
	_, err := p.Account().Check(t.Context(), wish())
	want := "denied: no credentials that hold: run az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET: " +
		"EnvironmentCredential: missing environment variable AZURE_TENANT_ID; ManagedIdentityCredential authentication failed"
	if providers.KindOf(err) != providers.Denied || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("without credentials: %v", err)
	}
	for code, want := range map[string]providers.Kind{"SubscriptionNotFound": providers.Denied, "ExpiredAuthenticationToken": providers.Denied, "ServiceUnavailable": providers.Unavailable} {
		c := azuretest.New(azuretest.Options{})
		c.Fail("permissions", 100, map[providers.Kind]int{providers.Denied: 401, providers.Unavailable: 503}[want], code, "no")
		if _, err := open(t, c, Options{}).Account().Check(t.Context(), wish()); providers.KindOf(err) != want {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// TestRoleIsEnough makes, changes and removes one of everything with the document's role, and finds every action of it used.
func TestRoleIsEnough(t *testing.T) {
	all := role(t)
	used := map[string]bool{}
	for _, o := range []Options{{NAT: NATOne, Identity: testIdentity}, {Network: "existing"}} {
		c := azuretest.New(azuretest.Options{Slow: 1})
		if o.Network != "" {
			o.Network = existing(t, c, "shared", "10.99.0.0/24")
		}
		c.Assign(azuretest.Role{Actions: all})
		p := open(t, c, o)
		if r := inspect(t, p, wish()); len(r.Missing)+len(r.Unseen) > 0 {
			t.Errorf("missing %v, unseen %v", r.Missing, r.Unseen)
		}
		life(t, p, c)
		for _, a := range c.Demanded() {
			used[a] = true
		}
	}
	for _, a := range all {
		if !used[a] {
			t.Errorf("%s is in the role, and no request needs it", a)
		}
	}
}

// TestUnregistered: a subscription that has never used a service is told how to, and nothing else is looked at.
func TestUnregistered(t *testing.T) {
	for call, want := range map[string]string{
		"ResourceSKUsClient.NewListPager":       "az provider register --namespace Microsoft.Compute --wait",
		"VirtualNetworksClient.NewListAllPager": "az provider register --namespace Microsoft.Network --wait",
	} {
		c := azuretest.New(azuretest.Options{})
		c.Fail(call, 100, 409, "MissingSubscriptionRegistration", "The subscription is not registered to use namespace.")
		_, err := open(t, c, Options{}).Account().Check(t.Context(), wish())
		var u Unregistered
		if providers.KindOf(err) != providers.Denied || !errors.As(err, &u) {
			t.Errorf("%s: %v", call, err)
			continue
		}
		if _, commands := u.Advice(); len(commands) != 1 || commands[0] != want {
			t.Errorf("%s: advised is %q, want %q", call, commands, want)
		}
	}
}
