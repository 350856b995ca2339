package gcp

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/gcp/gcptest"
)

// standing makes a network.
func standing(t *testing.T, p *Provider, owner providers.Owner) providers.Network {
	t.Helper()
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: owner, Name: "main", Allow: []providers.Rule{
		{Name: "ssh", Protocol: "tcp", Port: 22, Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}},
		{Name: "api", Protocol: "tcp", Port: 6443, Sources: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
		{Name: "none", Protocol: "tcp", Port: 80}}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func node(n providers.Network, name, pool string) providers.MachineSpec {
	return providers.MachineSpec{Owner: n.Owner, Name: name, Pool: pool, Network: n.ID, Type: "e2-small", AuthorizedKeys: []string{gcptest.HostKey("user")}}
}

func TestLeastIsOpen(t *testing.T) {
	p := open(t, gcptest.Options{}, Options{})
	n := standing(t, p, "demo")
	if len(n.Allow) != 3 || len(n.Allow[0].Sources) != 2 || len(n.Allow[2].Sources) != 0 {
		t.Errorf("the rules are %+v", n.Allow)
	}
	all, err := p.allFirewalls(t.Context())
	if err != nil || len(all) != 5 {
		t.Fatalf("%d firewall rules, want 5 (%v)", len(all), err)
	}
	for _, f := range all {
		anyone := slices.Contains(f.GetSourceRanges(), "0.0.0.0/0") || len(f.GetSourceRanges()) == 0 && len(f.GetSourceTags()) == 0
		if anyone || len(f.GetTargetTags()) == 0 {
			t.Errorf("rule %s lets everybody in, or at every machine: %v", f.GetName(), f)
		}
		if strings.Contains(f.GetName(), "allow-none") && !f.GetDisabled() {
			t.Errorf("rule %s without sources is not switched off", f.GetName())
		}
	}
}

func TestMachinesAreShielded(t *testing.T) {
	p := open(t, gcptest.Options{}, Options{ServiceAccount: "nodes@demo-project.iam.gserviceaccount.com"})
	n := standing(t, p, "demo")
	spec := node(n, "demo-cp-0", controlPool)
	spec.Spot, spec.Image = true, "ubuntu-24.04"
	m, err := p.Machines().Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	i, err := p.instance(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	if s := i.GetShieldedInstanceConfig(); !s.GetEnableSecureBoot() || !s.GetEnableVtpm() {
		t.Errorf("it is not shielded: %v", s)
	}
	if i.GetScheduling().GetProvisioningModel() != "SPOT" || len(i.GetServiceAccounts()) != 1 || len(i.GetTags().GetItems()) != 2 {
		t.Errorf("spot, service account or network tags: %v %v %v", i.GetScheduling(), i.GetServiceAccounts(), i.GetTags())
	}
	if want := gcptest.HostKey(i.GetName()); !slices.Equal(m.HostKeys, []string{want}) {
		t.Errorf("host keys %v, want %s", m.HostKeys, want)
	}
	arm := node(n, "demo-a-0", "a")
	arm.Type = "c4a-standard-1"
	if _, err := p.Machines().Create(t.Context(), arm); err != nil {
		t.Error(err)
	}
	arm.Name, arm.Zone = "demo-a-1", gcptest.Region+"-d" // which does not have the type
	if _, err := p.Machines().Create(t.Context(), arm); providers.KindOf(err) != providers.Invalid {
		t.Errorf("a type that the zone does not have: %v", err)
	}
}

func TestNobodyConnectsBeforeTheHostKeyIsKnown(t *testing.T) {
	p := open(t, gcptest.Options{}, Options{})
	n := standing(t, p, "demo")
	cloud.SetConsole(func(string) string { return "[    0.0] Linux version 6.12" })
	p.o.Patience = 1
	if _, err := p.Machines().Create(t.Context(), node(n, "demo-a-0", "a")); providers.KindOf(err) != providers.Unavailable || !strings.Contains(err.Error(), "host key") {
		t.Errorf("without a host key: %v", err)
	}
	all, err := p.Machines().List(t.Context(), "demo")
	if err != nil || len(all) != 1 || !all[0].Partial || all[0].SSH.IsValid() {
		t.Fatalf("without a host key there is %+v (%v), want one that is Partial and has no SSH", all, err)
	}
	cloud.SetConsole(gcptest.Console)
	m, err := again(t, Options{}).Machines().Create(t.Context(), node(n, "demo-a-0", "a"))
	if err != nil || m.ID != all[0].ID || len(m.HostKeys) != 1 {
		t.Errorf("afterwards: %+v, %v", m, err)
	}
}

func TestRefusals(t *testing.T) {
	p := open(t, gcptest.Options{}, Options{})
	n := standing(t, p, "demo")
	cloud.NoCapacity(1)
	if _, err := p.Machines().Create(t.Context(), node(n, "demo-a-0", "a")); providers.KindOf(err) != providers.Capacity || !strings.Contains(err.Error(), "(operation ") {
		t.Errorf("without capacity: %v", err)
	}
	if all, err := p.Machines().List(t.Context(), "demo"); err != nil || len(all) != 0 {
		t.Errorf("without capacity there is %+v (%v)", all, err)
	}
	cloud.Limit("instances", 0)
	if _, err := p.Machines().Create(t.Context(), node(n, "demo-a-0", "a")); providers.KindOf(err) != providers.Quota {
		t.Errorf("without quota: %v", err)
	}
	cloud.Limit("instances", 10)
	cloud.Fail("compute.instances.insert", 3, http.StatusForbidden, "rateLimitExceeded", "Rate Limit Exceeded", 0)
	if _, err := p.Machines().Create(t.Context(), node(n, "demo-a-0", "a")); err != nil {
		t.Errorf("refused three times as too much: %v", err)
	}
	cloud.Fail("compute.networks.list", 1, http.StatusForbidden, "forbidden", "Required 'compute.networks.list' permission for 'projects/demo-project'", 0)
	if _, err := p.Networks().List(t.Context(), "demo"); providers.KindOf(err) != providers.Denied || !strings.Contains(err.Error(), "compute.networks.list") {
		t.Errorf("without permission: %v", err)
	}
}

// TestExistingNetwork makes a cluster's network in somebody's, which must stay as it is.
func TestExistingNetwork(t *testing.T) {
	host := open(t, gcptest.Options{}, Options{})
	theirs := standing(t, host, "host")
	r, _ := refOf(providers.NetworkNoun, theirs.ID)
	before := cloud.Leftovers()
	p := again(t, Options{Network: r.name})
	n := standing(t, p, "guest")
	if n.CIDR != theirs.CIDR {
		t.Errorf("the range is %s, want %s", n.CIDR, theirs.CIDR)
	}
	m, err := p.Machines().Create(t.Context(), node(n, "guest-a-0", "a"))
	if err != nil {
		t.Fatal(err)
	}
	if all, err := p.Networks().List(t.Context(), "guest"); err != nil || len(all) != 1 || all[0].Partial {
		t.Errorf("List: %+v, %v", all, err)
	}
	if err := p.Networks().Delete(t.Context(), n.ID); providers.KindOf(err) != providers.Conflict {
		t.Errorf("Delete with a machine in it: %v", err)
	}
	if err := p.Machines().Delete(t.Context(), m.ID); err != nil {
		t.Fatal(err)
	}
	if err := p.Networks().Delete(t.Context(), n.ID); err != nil {
		t.Fatal(err)
	}
	if after := cloud.Leftovers(); !slices.Equal(before, after) {
		t.Errorf("there was\n%v\nand is\n%v", before, after)
	}
}

// withoutGcloud is the variable that leaves out the test that needs gcloud, which cannot be installed everywhere. Without it, and
// without gcloud, that test fails.
const withoutGcloud = "PROVISION_TEST_WITHOUT_GCLOUD"

// TestGcloud reads what we made with Google's own tool, and has us list a network's neighbours that it made.
func TestGcloud(t *testing.T) {
	tool, err := exec.LookPath("gcloud")
	if err != nil && os.Getenv(withoutGcloud) != "" {
		t.Skipf("left out, as %s says: Google's own tool has not read what we made", withoutGcloud)
	}
	if err != nil {
		t.Fatalf("this test needs gcloud (apt-get install google-cloud-cli); to run the others alone, set %s: %v", withoutGcloud, err)
	}
	p := open(t, gcptest.Options{Slow: time.Millisecond}, Options{})
	n := standing(t, p, "demo")
	m, err := p.Machines().Create(t.Context(), node(n, "demo-a-0", "a"))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	run := func(args ...string) []byte {
		c := exec.CommandContext(t.Context(), tool, append(append([]string{"compute"}, args...), "--format=json", "--quiet")...)
		c.Env = append(os.Environ(), "CLOUDSDK_CONFIG="+folder, "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE="+cloud.URL+"/compute/v1/", "CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true",
			"CLOUDSDK_CORE_PROJECT="+gcptest.Project, "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=true", "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK=true")
		var said strings.Builder
		c.Stderr = &said
		out, err := c.Output()
		if err != nil {
			t.Fatalf("gcloud %s: %v\n%s", strings.Join(args, " "), err, said.String())
		}
		return out
	}
	var seen []struct {
		Name   string
		Labels map[string]string
	}
	if err := json.Unmarshal(run("instances", "list", "--filter=labels.provision-owner=demo"), &seen); err != nil || len(seen) != 1 || seen[0].Labels["provision-name"] != m.Name {
		t.Errorf("gcloud lists %+v (%v), want %s; it asked for %+v", seen, err, m.Name, cloud.Requests()[len(cloud.Requests())-1])
	}
	b, err := p.LoadBalancers().Create(t.Context(), providers.LoadBalancerSpec{Owner: "demo", Name: "api", Network: n.ID, Targets: []providers.ID{m.ID},
		Ports: []providers.BalancerPort{{Name: "api", Protocol: "tcp", Port: 6443, TargetPort: 6443}}})
	if err != nil {
		t.Fatal(err)
	}
	var rules []struct{ IPAddress, IPProtocol, LoadBalancingScheme string }
	if err := json.Unmarshal(run("forwarding-rules", "list"), &rules); err != nil || len(rules) != 1 || rules[0].IPAddress != b.Address.String() {
		t.Errorf("gcloud lists forwarding rules %+v (%v), want one at %s", rules, err, b.Address)
	}
	r, _ := refOf(providers.MachineNoun, m.ID)
	run("instances", "delete", r.name, "--zone="+r.place)
	if all, err := p.Machines().List(t.Context(), "demo"); err != nil || len(all) != 0 {
		t.Errorf("after gcloud deleted the machine we list %+v (%v)", all, err)
	}
	run("disks", "create", "theirs", "--zone="+gcptest.Zones()[0], "--size=10GB", "--type=pd-balanced",
		"--labels=provision-owner=demo,provision-kind=volume,provision-name=theirs")
	all, err := p.Volumes().List(t.Context(), "demo")
	if err != nil || len(all) != 1 || all[0].Name != "theirs" || all[0].SizeGiB != 10 {
		t.Errorf("of gcloud's disk we list %+v (%v)", all, err)
	}
}

// TestEndpointOfGcloud points us where gcloud is pointed.
func TestEndpointOfGcloud(t *testing.T) {
	cloud.Reset(gcptest.Options{})
	t.Setenv(endpointVariable, cloud.URL+"/compute/v1/")
	p, err := Open(map[string]any{"project": gcptest.Project, "region": gcptest.Region})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := p.Networks().List(t.Context(), "demo"); err != nil || len(all) != 0 || len(cloud.Requests()) == 0 {
		t.Errorf("List: %v, %v after %d requests", all, err, len(cloud.Requests()))
	}
	for _, v := range []string{"https://compute.example.com/compute/v1/", "http://192.0.2.1/compute/v1/", "http://127.0.0.1.example.com/", "::"} {
		t.Setenv(endpointVariable, v)
		if _, err := Open(map[string]any{"project": gcptest.Project, "region": gcptest.Region}); providers.KindOf(err) != providers.Invalid {
			t.Errorf("with the variable %s: %v", v, err)
		}
	}
}

func TestCodesAreOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Codes() {
		if seen[c.Code] || !slices.Contains(providers.Kinds(), c.Kind) || c.Source == "" {
			t.Errorf("code %s is there twice, or has no kind or source", c.Code)
		}
		seen[c.Code] = true
	}
}

func TestLabelsAreReversible(t *testing.T) {
	want := map[string]string{providers.OwnerTag: "demo", providers.PoolTag: "Big Pool", "team": "core", "Cost Center": "R&D ü", "long": strings.Repeat("x", 200), "empty": ""}
	got := labels(want)
	for k, v := range got {
		if !labelKey.MatchString(k) || !labelValue.MatchString(v) {
			t.Errorf("label %q = %q", k, v)
		}
	}
	for k, v := range want {
		if back := unlabel(got); back[k] != v || len(back) != len(want) {
			t.Errorf("tag %q = %q comes back as %q", k, v, back[k])
		}
	}
}
