package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/aws/awstest"
)

// wanted is one of each kind.
func wanted() providers.Need {
	return providers.Need{Owner: "demo",
		Networks:      []providers.NetworkSpec{{Owner: "demo", Name: "main"}},
		Machines:      []providers.MachineSpec{{Owner: "demo", Name: "demo-a-0", Pool: "a", Type: "t3.small"}, {Owner: "demo", Name: "demo-a-1", Pool: "a", Type: "c5.xlarge", Spot: true}},
		LoadBalancers: []providers.LoadBalancerSpec{{Owner: "demo", Name: "api"}},
		Volumes:       []providers.VolumeSpec{{Owner: "demo", Name: "data", SizeGiB: 1}},
	}
}

// tended is a machine with a cloud agent.
func tended() providers.Need {
	return providers.Need{Owner: "demo", Machines: []providers.MachineSpec{{Owner: "demo", Name: "demo-cp-0", Pool: controlPool, Type: "t3.small", CloudAgent: true}}}
}

func checked(t *testing.T, p *Provider, n providers.Need) providers.Report {
	t.Helper()
	r, err := p.Account().Check(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCheckCountsQuotas(t *testing.T) {
	o := Options{Zones: []string{"eu-west-1a", "eu-west-1b"}, NAT: NATZone}
	p := open(t, awstest.Options{Page: 3}, o)
	n := standing(t, p)
	if _, err := p.Machines().Create(t.Context(), node(n, "demo-a-7", "a")); err != nil {
		t.Fatal(err)
	}
	cloud.SetQuota("L-1216C47A", 3)
	cloud.SetQuota("L-F678F1CE", 2)
	need := wanted()
	need.Networks[0].Name = "second"
	r := checked(t, again(t, o), need)
	want := []providers.Limit{
		{Name: "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", Unit: "vCPU", Max: 1000, Need: 4, Noun: providers.MachineNoun},
		{Name: "EC2-VPC Elastic IPs", Max: 1000, Used: 2, Need: 2, Noun: providers.NetworkNoun},
		{Name: "NAT gateways per Availability Zone, eu-west-1a", Max: 1000, Used: 1, Need: 1, Noun: providers.NetworkNoun},
		{Name: "NAT gateways per Availability Zone, eu-west-1b", Max: 1000, Used: 1, Need: 1, Noun: providers.NetworkNoun},
		{Name: "Network Load Balancers per Region", Max: 1000, Need: 1, Noun: providers.BalancerNoun},
		{Name: "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", Unit: "vCPU", Max: 3, Used: 2, Need: 2, Noun: providers.MachineNoun},
		{Name: "VPCs per Region", Max: 2, Used: 2, Need: 1, Noun: providers.NetworkNoun}, // one is the account's default
	}
	if !slices.Equal(r.Limits, want) {
		t.Errorf("limits\n%+v, want\n%+v", r.Limits, want)
	}
	if r.Identity == "" || !strings.HasSuffix(r.Place, ", eu-west-1") || len(r.Missing)+len(r.Problems)+len(r.Unseen) > 0 {
		t.Errorf("report %+v", r)
	}
	cloud.SetQuota("L-1216C47A", -1)
	if r := checked(t, p, need); len(r.Unseen) != 1 || !strings.Contains(r.Unseen[0], "L-1216C47A") {
		t.Errorf("without a quota: unseen %q", r.Unseen)
	}
}

func TestCheckFindsProblems(t *testing.T) {
	host := open(t, awstest.Options{}, oneZone)
	theirs := standing(t, host)
	private := again(t, Options{Network: string(theirs.ID), Zones: []string{"eu-west-1a", "eu-west-1b"}})
	e := behind(t, cloud)
	if _, err := e.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String(groupName(providers.Key{Owner: "demo", Name: "taken"}, nodesPart)),
		Description: aws.String("x"), VpcId: aws.String(string(theirs.ID))}); err != nil {
		t.Fatal(err)
	}
	bare, err := e.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.77.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: bare.Vpc.VpcId, CidrBlock: aws.String("10.77.1.0/24"), AvailabilityZone: aws.String("eu-west-1a")}); err != nil {
		t.Fatal(err)
	}
	machine := func(change func(*providers.MachineSpec)) providers.Need {
		s := providers.MachineSpec{Owner: "demo", Name: "m-0", Type: "t3.small"}
		change(&s)
		return providers.Need{Owner: "demo", Machines: []providers.MachineSpec{s}}
	}
	network := func(name string, cidr string, zones ...string) providers.Need {
		s := providers.NetworkSpec{Owner: "demo", Name: name, Zones: zones}
		if cidr != "" {
			s.CIDR = netip.MustParsePrefix(cidr)
		}
		return providers.Need{Owner: "demo", Networks: []providers.NetworkSpec{s}}
	}
	everywhere := network("main", "")
	for i := range 4 {
		everywhere.Machines = append(everywhere.Machines, providers.MachineSpec{Owner: "demo", Name: fmt.Sprintf("m-%d", i), Type: "t3.small"})
	}
	for _, c := range []struct {
		what  string
		p     *Provider
		need  providers.Need
		kind  providers.Kind
		field string
		words string
	}{
		{"a type that there is not", host, machine(func(s *providers.MachineSpec) { s.Type = "t99.huge" }), providers.Invalid, "type", "t99.huge"},
		{"a type that the zone does not have", host, machine(func(s *providers.MachineSpec) { s.Zone = "eu-west-1z" }), providers.Invalid, "type", "eu-west-1a"},
		{"an image that is gone", host, machine(func(s *providers.MachineSpec) { s.Image = "ami-0123456789abcdef0" }), providers.Invalid, "image", "ami-0123456789abcdef0"},
		{"an image for another processor", host, machine(func(s *providers.MachineSpec) { s.Image, s.Type = "ami-00000000000deb001", "t4g.small" }), providers.Invalid, "image", "x86_64"},
		{"a zone without a subnet", private, network("main", "", "eu-west-1b"), providers.Invalid, "network", "no public subnet in zone eu-west-1b"},
		{"a zone that the region does not have", again(t, Options{Zones: []string{"eu-west-1a", "eu-west-1q"}}), everywhere, providers.Invalid, "zones", "region eu-west-1 has no zone eu-west-1q for this account: it has eu-west-1a"},
		{"an instance profile that is not there", again(t, Options{Zones: oneZone.Zones, InstanceProfile: "nobody"}), machine(func(*providers.MachineSpec) {}), providers.NotFound, "instance_profile", "there is no instance profile nobody"},
		{"a cloud agent's profile that is not there", again(t, Options{Zones: oneZone.Zones, CloudAgentProfile: "nobody"}), machine(func(s *providers.MachineSpec) { s.CloudAgent = true }), providers.NotFound, "cloud_agent_profile", "nobody"},
		{"another range than the VPC's", private, network("main", "10.99.0.0/16", "eu-west-1a"), providers.Invalid, "network", "not 10.99.0.0/16"},
		{"a name that is taken", private, network("taken", "", "eu-west-1a"), providers.Exists, "name", "is not of cluster demo"},
		{"a VPC that there is not", again(t, Options{Network: "vpc-0123456789abcdef0", Zones: oneZone.Zones}), network("main", ""), providers.NotFound, "network", "(request "},
		{"a VPC without a route to the internet", again(t, Options{Network: *bare.Vpc.VpcId, Zones: oneZone.Zones}), network("main", ""), providers.Invalid, "network", "0.0.0.0/0"},
	} {
		if c.field == "zones" { // a plan has asked for them
			if _, err := c.p.Machines().Types(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		r := checked(t, c.p, c.need)
		if len(r.Problems) != 1 || r.Problems[0].Kind != c.kind || r.Problems[0].Field != c.field || !strings.Contains(r.Problems[0].Text, c.words) {
			t.Errorf("%s: problems %+v, want %s of %s with %q", c.what, r.Problems, c.kind, c.field, c.words)
		}
	}
	if r := checked(t, private, network("main", "", "eu-west-1a")); len(r.Problems) > 0 {
		t.Errorf("in a VPC that can take it: %+v", r.Problems)
	}
}

// A document is an IAM policy.
type document struct {
	Version   string
	Statement []struct {
		Sid, Effect string
		Resource    any
		Action      []string
		Condition   map[string]map[string]any `json:",omitempty"`
	}
}

func policy(t *testing.T, text string) (d document) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// without is the policy without an action.
func (d document) without(action string) string {
	c := document{Version: d.Version}
	for _, s := range d.Statement {
		if s.Action = slices.DeleteFunc(slices.Clone(s.Action), func(a string) bool { return a == action }); len(s.Action) > 0 {
			c.Statement = append(c.Statement, s)
		}
	}
	text, _ := json.Marshal(c)
	return string(text)
}

func (d document) actions() (all []string) {
	for _, s := range d.Statement {
		all = append(all, s.Action...)
	}
	return all
}

// needs are what needs each action: of all that is wanted, the kind that the action's statement is about.
func (d document) needs() iter.Seq2[string, providers.Need] {
	all := wanted()
	by := map[string]providers.Need{"Look": all, "Networks": {Networks: all.Networks}, "Machines": {Machines: all.Machines}, "CloudAgent": tended(), "GiveToEC2": tended(),
		"Balancers": {LoadBalancers: all.LoadBalancers}, "Volumes": {Volumes: all.Volumes}}
	return func(yield func(string, providers.Need) bool) {
		for _, s := range d.Statement {
			for _, a := range s.Action {
				n := by[s.Sid]
				n.Owner = all.Owner
				if !yield(a, n) {
					return
				}
			}
		}
	}
}

// TestOperatorPolicy does everything there is with a user who may do what the policy says and no more, with moto enforcing it;
// then it takes each action away and looks whether Check names it.
func TestOperatorPolicy(t *testing.T) {
	t.Parallel()
	c := own(t, awstest.Options{Slow: 1})
	o := Options{Zones: []string{"eu-west-1a"}, NAT: NATOne}
	key, err := c.Enforce(t.Context(), OperatorPolicy)
	if err != nil {
		t.Fatal(err)
	}
	enter := func() *Provider {
		p := at(t, c, o)
		p.use(key)
		return p
	}
	if err := life(t.Context(), enter()); err != nil {
		t.Fatal(err)
	}
	d := policy(t, OperatorPolicy)
	report(t, c)
	used := map[string]bool{}
	for _, r := range c.Requests() {
		used[r.Service+":"+r.Action] = true
	}
	for _, a := range d.actions() {
		// What is for the preflight, and what only mends what strangers did or another call left half done.
		rare := []string{"servicequotas:GetServiceQuota", "ec2:DescribeInstanceTypeOfferings", "ec2:ReplaceRoute", "ec2:StartInstances",
			"iam:TagRole", "iam:TagInstanceProfile", "iam:PassRole"} // which AWS asks about with other calls
		if !used[a] && !slices.Contains(rare, a) {
			t.Errorf("nothing needs %s", a)
		}
	}
	for _, need := range []providers.Need{wanted(), tended()} {
		if r := checked(t, enter(), need); len(r.Missing)+len(r.Unseen)+len(r.Problems) > 0 {
			t.Errorf("with the whole policy: %+v", r)
		}
	}
	for a, need := range d.needs() {
		if err := c.Allow(t.Context(), d.without(a)); err != nil {
			t.Fatal(err)
		}
		r := checked(t, enter(), need)
		switch {
		case a == "servicequotas:GetServiceQuota": // nothing that is made needs it
			if len(r.Missing)+len(r.Limits) > 0 || len(r.Unseen) == 0 || !strings.Contains(strings.Join(r.Unseen, "\n"), a) {
				t.Errorf("without %s: %+v", a, r)
			}
		case !slices.Equal(r.Missing, []string{a}):
			t.Errorf("without %s: %q are missing", a, r.Missing)
		}
	}
	if err := c.Allow(t.Context(), strings.Replace(d.without("servicequotas:GetServiceQuota"), `"ec2:DescribeVpcs"`, `"ec2:DescribeVpcs","ec2:DescribeAccountAttributes"`, 1)); err != nil {
		t.Fatal(err)
	}
	if r := checked(t, enter(), wanted()); len(r.Limits) != 1 || r.Limits[0].Name != "EC2-VPC Elastic IPs" || r.Limits[0].Max != 5 {
		t.Errorf("with EC2's own quotas alone: %+v", r.Limits)
	}
	t.Logf("%d actions, %d requests", len(d.actions()), len(c.Requests()))
}

// life makes one of each kind, changes it and takes it away.
func life(ctx context.Context, p *Provider) error {
	n, err := p.Networks().Create(ctx, providers.NetworkSpec{Owner: "demo", Name: "main", Allow: rules("a", "192.0.2.0/24")})
	if err != nil {
		return err
	}
	for _, allow := range [][]providers.Rule{rules("b", "192.0.2.0/24"), rules("b", "198.51.100.0/24")} { // another name, another source
		if _, err := p.Networks().Update(ctx, n.ID, providers.NetworkSpec{Owner: "demo", Name: "main", Allow: allow, Tags: map[string]string{"x": allow[0].Name}}); err != nil {
			return err
		}
	}
	spec := providers.MachineSpec{Owner: "demo", Name: "demo-a-0", Pool: "a", Network: n.ID, Type: "t3.small", CloudAgent: true, Tags: map[string]string{"x": "y"}}
	m, err := p.Machines().Create(ctx, spec)
	if err != nil {
		return err
	}
	spec.Pool, spec.Tags = controlPool, nil
	if m, err = p.Machines().Update(ctx, m.ID, spec); err != nil {
		return err
	}
	if _, err := p.Machines().Types(ctx); err != nil {
		return err
	}
	ports := []providers.BalancerPort{{Name: "a", Protocol: "tcp", Port: 1, TargetPort: 1, IdleSeconds: 60}, {Name: "b", Protocol: "tcp", Port: 2, TargetPort: 2, ProxyProtocol: true}}
	lb := providers.LoadBalancerSpec{Owner: "demo", Name: "api", Network: n.ID, Ports: ports, Targets: []providers.ID{m.ID}}
	b, err := p.LoadBalancers().Create(ctx, lb)
	if err != nil {
		return err
	}
	lb.Ports, lb.Targets = []providers.BalancerPort{{Name: "a", Protocol: "tcp", Port: 1, TargetPort: 3, IdleSeconds: 90}}, nil
	if _, err := p.LoadBalancers().Update(ctx, b.ID, lb); err != nil {
		return err
	}
	lb.Targets = []providers.ID{m.ID}
	if _, err := p.LoadBalancers().Update(ctx, b.ID, lb); err != nil {
		return err
	}
	if err := stored(ctx, p, m); err != nil {
		return err
	}
	if err := p.Machines().Delete(ctx, m.ID); err != nil { // which is taken out of the balancer
		return err
	}
	if err := p.LoadBalancers().Delete(ctx, b.ID); err != nil {
		return err
	}
	return p.Networks().Delete(ctx, n.ID)
}

// stored is the life of a volume and its copy.
func stored(ctx context.Context, p *Provider, m providers.Machine) error {
	v, err := p.Volumes().Create(ctx, providers.VolumeSpec{Owner: "demo", Name: "data", SizeGiB: 1, Zone: m.Zone})
	if err != nil {
		return err
	}
	if _, err := p.Volumes().Attach(ctx, v.ID, m.ID); err != nil {
		return err
	}
	if _, err := p.Volumes().Resize(ctx, v.ID, 2); err != nil {
		return err
	}
	s, err := p.Volumes().Snapshots().Create(ctx, providers.SnapshotSpec{Owner: "demo", Name: "copy", Volume: v.ID})
	if err != nil {
		return err
	}
	if err := p.Volumes().Detach(ctx, v.ID, m.ID); err != nil {
		return err
	}
	if err := p.Volumes().Delete(ctx, v.ID); err != nil {
		return err
	}
	return p.Volumes().Snapshots().Delete(ctx, s.ID)
}

func rules(name, from string) []providers.Rule {
	return []providers.Rule{{Name: name, Protocol: "tcp", Port: 22, Sources: []netip.Prefix{netip.MustParsePrefix(from)}}}
}

func TestWrongCredentials(t *testing.T) {
	p := open(t, awstest.Options{}, oneZone)
	if _, err := cloud.Enforce(t.Context(), OperatorPolicy); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Account().Check(t.Context(), wanted()); providers.KindOf(err) != providers.Denied {
		t.Errorf("with a key that there is not: %v", err)
	}
}

// TestPoliciesAreInTheDocument compares docs/security.md with the policies.
func TestPoliciesAreInTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]string{"operator": OperatorPolicy, "cloud agent": CloudAgentPolicy} {
		policy(t, p)
		if !strings.Contains(string(text), "```json\n"+p+"```\n") {
			t.Errorf("docs/security.md does not have the policy of the %s as it is", name)
		}
	}
}

// TestCheckOfARange: a network that Create would not accept is told in the plan.
func TestCheckOfARange(t *testing.T) {
	p := open(t, awstest.Options{}, oneZone)
	for cidr, want := range map[string]int{"10.20.0.0/25": 1, "10.0.0.0/15": 1, "10.20.0.0/16": 0} {
		r, err := p.Account().Check(t.Context(), providers.Need{Networks: []providers.NetworkSpec{{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix(cidr)}}})
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, x := range r.Problems {
			if x.Noun == providers.NetworkNoun && x.Field == "cidr" && strings.Contains(x.Text, "from /16 to /24") {
				found++
			}
		}
		if found != want {
			t.Errorf("%s: %d problems, want %d: %+v", cidr, found, want, r.Problems)
		}
	}
}
