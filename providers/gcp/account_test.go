package gcp

import (
	"errors"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/gcp/gcptest"
)

// needed is a cluster's need: three control-plane machines, two workers of which one is spot, an API balancer.
func needed() providers.Need {
	n := providers.Need{Owner: "demo", Networks: []providers.NetworkSpec{{Owner: "demo", Name: "main", Allow: []providers.Rule{{Name: "ssh", Protocol: "tcp", Port: 22}}}}}
	for _, name := range []string{"demo-cp-0", "demo-cp-1", "demo-cp-2", "demo-w-0", "demo-w-1"} {
		n.Machines = append(n.Machines, providers.MachineSpec{Owner: "demo", Name: name, Type: "e2-standard-2", AuthorizedKeys: []string{gcptest.HostKey("user")}})
	}
	n.Machines[3].Type, n.Machines[4].Spot = "n2-standard-2", true
	n.LoadBalancers = []providers.LoadBalancerSpec{{Owner: "demo", Name: "api", Ports: []providers.BalancerPort{{Protocol: "tcp", Port: 6443, TargetPort: 6443}}}}
	n.Volumes = []providers.VolumeSpec{{Owner: "demo", Name: "data", SizeGiB: 30}}
	return n
}

// checked is what Check finds of the need.
func checked(t *testing.T, p *Provider, n providers.Need) providers.Report {
	t.Helper()
	r, err := p.Account().Check(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func limits(r providers.Report) map[string]providers.Limit {
	m := map[string]providers.Limit{}
	for _, l := range r.Limits {
		m[l.Name] = l
	}
	return m
}

func TestAccountWithNothingInTheWay(t *testing.T) {
	p := open(t, gcptest.Options{Page: 2}, Options{NAT: NATOne})
	r := checked(t, p, needed())
	if r.Identity != gcptest.Identity || r.Place != "project demo-project, europe-west1" || len(r.Missing)+len(r.Problems)+len(r.Unseen) > 0 {
		t.Errorf("the report is %+v", r)
	}
	for name, want := range map[string]float64{"CPUS in europe-west1": 8, "N2_CPUS in europe-west1": 2, "CPUS_ALL_REGIONS": 10, "INSTANCES in europe-west1": 5, "IN_USE_ADDRESSES in europe-west1": 6,
		"STATIC_ADDRESSES in europe-west1": 1, "NETWORKS": 1, "ROUTERS": 1, "FIREWALLS": 5, "SSD_TOTAL_GB in europe-west1": 130, "FORWARDING_RULES": 1} {
		if l := limits(r)[name]; l.Need != want || l.Exceeded() {
			t.Errorf("of %s the need takes %+v, want %g", name, l, want)
		}
	}
	standing(t, p, "other")
	cloud.Quota("NETWORKS", 1)
	cloud.Quota("PREEMPTIBLE_CPUS", 1)
	r = checked(t, p, needed())
	if l := limits(r)["NETWORKS"]; l.Used != 1 || !l.Exceeded() {
		t.Errorf("of one network there is one: %+v", l)
	}
	if l := limits(r)["PREEMPTIBLE_CPUS in europe-west1"]; l.Need != 2 || !l.Exceeded() {
		t.Errorf("a spot machine of 2 processors, where 1 is allowed: %+v", l)
	}
	if n := cloud.Writes(); n == 0 {
		t.Error("a network was made with no request that changes something")
	}
}

func TestAccountFindsProblems(t *testing.T) {
	for _, s := range []struct {
		what  string
		o     Options
		spoil func(t *testing.T, p *Provider, n *providers.Need)
		want  providers.Problem
	}{
		{"a type that there is not", Options{}, func(_ *testing.T, _ *Provider, n *providers.Need) { n.Machines[3].Type = "e9-huge" },
			providers.Problem{Kind: providers.Invalid, Noun: providers.MachineNoun, Name: "demo-w-0", Field: "type", Text: `type "e9-huge": zone europe-west1-b has none`}},
		{"a type that the zone does not have", Options{}, func(_ *testing.T, _ *Provider, n *providers.Need) {
			n.Machines[3].Type, n.Machines[3].Zone = "c4a-standard-1", gcptest.Region+"-d"
		}, providers.Problem{Kind: providers.Invalid, Noun: providers.MachineNoun, Name: "demo-w-0", Field: "type", Text: "europe-west1-d has none"}},
		{"a zone of another region", Options{}, func(_ *testing.T, _ *Provider, n *providers.Need) { n.Machines[0].Zone = "us-central1-a" },
			providers.Problem{Kind: providers.Invalid, Noun: providers.MachineNoun, Name: "demo-cp-0", Field: "zone", Text: "us-central1-a"}},
		{"an image that is gone", Options{}, func(_ *testing.T, _ *Provider, n *providers.Need) {
			n.Machines[1].Image = "projects/debian-cloud/global/images/family/debian-9"
		}, providers.Problem{Kind: providers.Invalid, Noun: providers.MachineNoun, Name: "demo-cp-1", Field: "image", Text: "debian-9"}},
		{"a zone that the region does not have", Options{Zones: []string{gcptest.Zones()[0], gcptest.Region + "-q"}}, func(_ *testing.T, _ *Provider, n *providers.Need) { n.Networks[0].Zones, n.Machines = nil, nil },
			providers.Problem{Kind: providers.Invalid, Noun: providers.NetworkNoun, Name: "main", Field: "zones", Text: "region europe-west1 has no zone europe-west1-q: it has europe-west1-b"}},
		{"a network that is not there", Options{Network: "gone"}, func(*testing.T, *Provider, *providers.Need) {},
			providers.Problem{Kind: providers.NotFound, Noun: providers.NetworkNoun, Name: "main", Field: "network", Text: "gone"}},
		{"another range than the network's", Options{Network: "theirs"}, func(t *testing.T, _ *Provider, n *providers.Need) {
			theirs(t)
			n.Networks[0].CIDR = netip.MustParsePrefix("10.9.0.0/24")
		}, providers.Problem{Kind: providers.Invalid, Noun: providers.NetworkNoun, Name: "main", Field: "cidr", Text: "10.7.0.0/24, not 10.9.0.0/24"}},
		{"a network without a way out", Options{Network: "theirs"}, func(t *testing.T, _ *Provider, _ *providers.Need) {
			theirs(t)
			behind(t, "DELETE", "global/routes/default-route-theirs", nil)
		}, providers.Problem{Kind: providers.Invalid, Noun: providers.NetworkNoun, Name: "main", Field: "network", Text: "no route to 0.0.0.0/0"}},
		{"a stranger's disk of a machine's name", Options{}, func(t *testing.T, _ *Provider, n *providers.Need) {
			behind(t, "POST", "zones/"+gcptest.Zones()[0]+"/disks", map[string]any{"name": vendorName(providers.MachineNoun, n.Machines[0].Key(), ""), "sizeGb": "10"})
		}, providers.Problem{Kind: providers.Conflict, Noun: providers.MachineNoun, Name: "demo-cp-0", Field: "name", Text: "boot disk"}},
		{"a stranger's disk of a volume's name", Options{}, func(t *testing.T, _ *Provider, n *providers.Need) {
			behind(t, "POST", "zones/"+gcptest.Zones()[0]+"/disks", map[string]any{"name": vendorName(providers.VolumeNoun, n.Volumes[0].Key(), ""), "sizeGb": "10"})
		}, providers.Problem{Kind: providers.Conflict, Noun: providers.VolumeNoun, Name: "data", Field: "name", Text: "its name at Google"}},
		{"a stranger's network of the name", Options{}, func(t *testing.T, _ *Provider, n *providers.Need) {
			behind(t, "POST", "global/networks", map[string]any{"name": vendorName(providers.NetworkNoun, n.Networks[0].Key(), "")})
		}, providers.Problem{Kind: providers.Conflict, Noun: providers.NetworkNoun, Name: "main", Field: "name", Text: "its name at Google"}},
		{"a stranger's address of a balancer's name", Options{}, func(t *testing.T, _ *Provider, n *providers.Need) {
			behind(t, "POST", "regions/"+gcptest.Region+"/addresses", map[string]any{"name": vendorName(providers.BalancerNoun, n.LoadBalancers[0].Key(), "")})
		}, providers.Problem{Kind: providers.Conflict, Noun: providers.BalancerNoun, Name: "api", Field: "name", Text: "its name at Google"}},
		{"a service account that is gone", Options{ServiceAccount: "nodes@other.iam.gserviceaccount.com"}, func(*testing.T, *Provider, *providers.Need) {},
			providers.Problem{Kind: providers.Invalid, Noun: providers.MachineNoun, Field: "service_account", Text: "nodes@other"}},
		{"a cloud agent's account that is gone", Options{CloudAgentAccount: "agent@other.iam.gserviceaccount.com"}, func(*testing.T, *Provider, *providers.Need) {},
			providers.Problem{Kind: providers.Invalid, Noun: providers.MachineNoun, Field: "cloud_agent_account", Text: "agent@other"}},
	} {
		t.Run(s.what, func(t *testing.T) {
			p, n := open(t, gcptest.Options{}, s.o), needed()
			s.spoil(t, p, &n)
			r := checked(t, p, n)
			if len(r.Problems) != 1 {
				t.Fatalf("problems are %+v, want one", r.Problems)
			}
			got := r.Problems[0]
			if text := got.Text; !strings.Contains(text, s.want.Text) {
				t.Errorf("it says %q, want %q", text, s.want.Text)
			}
			if got.Text = s.want.Text; got != s.want {
				t.Errorf("the problem is %+v, want %+v", got, s.want)
			}
		})
	}
}

// theirs makes a network that is somebody's, with one subnetwork.
func theirs(t *testing.T) {
	t.Helper()
	behind(t, "POST", "global/networks", map[string]any{"name": "theirs", "autoCreateSubnetworks": false})
	behind(t, "POST", "regions/"+gcptest.Region+"/subnetworks", map[string]any{"name": "theirs", "network": "global/networks/theirs", "ipCidrRange": "10.7.0.0/24"})
}

// TestTheDocumentedRole compares the role in docs/security.md with the list in code.
func TestTheDocumentedRole(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, role, _ := strings.Cut(string(text), "<!-- gcp-role -->")
	_, role, _ = strings.Cut(role, "includedPermissions:")
	role, _, _ = strings.Cut(role, "```")
	got := strings.Fields(strings.ReplaceAll(role, "- ", ""))
	if want := Permissions(); !slices.Equal(got, want) {
		t.Errorf("docs/security.md has %v\nthe code %v", got, want)
	}
	if !slices.IsSorted(got) {
		t.Error("they are not sorted")
	}
}

// TestEachPermissionIsMissed takes each permission of the documented role away: Check must name it, and no other.
func TestEachPermissionIsMissed(t *testing.T) {
	p := open(t, gcptest.Options{}, Options{ServiceAccount: "nodes@demo-project.iam.gserviceaccount.com"})
	all := append(Permissions(), actAs)
	for i, lost := range all {
		cloud.Grant(slices.Delete(slices.Clone(all), i, i+1))
		if r := checked(t, p, needed()); !slices.Equal(r.Missing, []string{lost}) {
			t.Errorf("without %s, %v are missing", lost, r.Missing)
		}
	}
}

// TestTheRoleIsEnough makes and removes one of each kind with the documented role alone.
func TestTheRoleIsEnough(t *testing.T) {
	p := open(t, gcptest.Options{}, Options{NAT: NATOne})
	cloud.Grant(Permissions())
	c := built(t, p)
	if r := checked(t, p, needed()); len(r.Missing) > 0 || len(r.Unseen) > 0 {
		t.Errorf("with the role: %+v", r)
	}
	c.remove(t, p)
	if left := cloud.Leftovers(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	for _, q := range cloud.Requests() {
		if q.Status == http.StatusForbidden {
			t.Errorf("%s was refused: %s", q.Method, q.Reason)
		}
	}
}

func TestAccountIsRefused(t *testing.T) {
	p := open(t, gcptest.Options{}, Options{})
	cloud.Fail("compute.projects.get", 1, http.StatusForbidden, "accessNotConfigured", "Compute Engine API has not been used in project demo-project before or it is disabled.", 0)
	if _, err := p.Account().Check(t.Context(), needed()); providers.KindOf(err) != providers.Denied || !strings.Contains(err.Error(), "gcloud services enable") {
		t.Errorf("without the API: %v", err)
	}
	cloud.Fail("oauth2.userinfo.get", 1, http.StatusUnauthorized, "authError", "Request had invalid authentication credentials.", 0)
	if _, err := p.Account().Check(t.Context(), needed()); providers.KindOf(err) != providers.Denied {
		t.Errorf("with credentials that expired: %v", err)
	}
	cloud.Fail("cloudresourcemanager.projects.testIamPermissions", 1, http.StatusForbidden, "SERVICE_DISABLED", "Cloud Resource Manager API has not been used.", 0)
	if r := checked(t, p, needed()); len(r.Unseen) != 1 || !strings.HasPrefix(r.Unseen[0], "permissions: ") {
		t.Errorf("without the service that knows permissions, unseen is %q", r.Unseen)
	}
	other := again(t, Options{})
	other.o.Region = "mars-north1"
	if _, err := other.Account().Check(t.Context(), needed()); providers.KindOf(err) != providers.Invalid || !strings.Contains(err.Error(), "mars-north1") || !errors.As(err, new(*providers.AttributeError)) {
		t.Errorf("a region that there is not: %v", err)
	}
	other.o.Region, other.o.Project = gcptest.Region, "elsewhere-1"
	if _, err := other.Account().Check(t.Context(), needed()); providers.KindOf(err) != providers.NotFound || !strings.Contains(err.Error(), "elsewhere-1") {
		t.Errorf("a project that there is not: %v", err)
	}
}
