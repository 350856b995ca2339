package aws

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/aws/awstest"
)

var oneZone = Options{Zones: []string{"eu-west-1a"}}

// standing makes a network.
func standing(t *testing.T, p *Provider) providers.Network {
	t.Helper()
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main",
		Allow: []providers.Rule{{Name: "ssh", Protocol: "tcp", Port: 22, Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func node(n providers.Network, name, pool string) providers.MachineSpec {
	return providers.MachineSpec{Owner: "demo", Name: name, Pool: pool, Network: n.ID, Type: "t3.small", AuthorizedKeys: []string{awstest.HostKey("user")}}
}

// leftovers names what is there beyond what an empty account has.
func leftovers(t *testing.T, e *ec2.Client) (all []string) {
	t.Helper()
	vpcs, err := e.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vpcs.Vpcs {
		if !aws.ToBool(v.IsDefault) {
			all = append(all, *v.VpcId)
		}
	}
	gateways, _ := e.DescribeInternetGateways(t.Context(), &ec2.DescribeInternetGatewaysInput{})
	for _, g := range gateways.InternetGateways {
		if len(g.Tags) > 0 {
			all = append(all, *g.InternetGatewayId)
		}
	}
	addresses, _ := e.DescribeAddresses(t.Context(), &ec2.DescribeAddressesInput{})
	for _, a := range addresses.Addresses {
		all = append(all, *a.AllocationId)
	}
	nats, _ := e.DescribeNatGateways(t.Context(), &ec2.DescribeNatGatewaysInput{})
	for _, g := range nats.NatGateways {
		if g.State != types.NatGatewayStateDeleted {
			all = append(all, *g.NatGatewayId)
		}
	}
	return all
}

func TestNATGateways(t *testing.T) {
	for nat, want := range map[string]int{NATNone: 0, NATOne: 1, NATZone: 2} {
		p := open(t, awstest.Options{Slow: 1}, Options{NAT: nat, Zones: []string{"eu-west-1a", "eu-west-1b"}})
		n := standing(t, p)
		e := behind(t, cloud)
		out, err := e.DescribeNatGateways(t.Context(), &ec2.DescribeNatGatewaysInput{})
		if err != nil || len(out.NatGateways) != want {
			t.Errorf("%s: %d NAT gateways, want %d (%v)", nat, len(out.NatGateways), want, err)
		}
		if err := p.Networks().Delete(t.Context(), n.ID); err != nil {
			t.Errorf("%s: %v", nat, err)
		}
		if left := leftovers(t, e); len(left) > 0 {
			t.Errorf("%s: Delete left %v", nat, left)
		}
	}
}

func TestMachinesAreSafe(t *testing.T) {
	p := open(t, awstest.Options{Slow: 1}, oneZone)
	n := standing(t, p)
	m, err := p.Machines().Create(t.Context(), node(n, "demo-cp-0", controlPool))
	if err != nil {
		t.Fatal(err)
	}
	if want := awstest.HostKey(string(m.ID)); !slices.Equal(m.HostKeys, []string{want}) {
		t.Errorf("host keys %v, want %s", m.HostKeys, want)
	}
	i, err := p.instance(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	if i.MetadataOptions == nil || i.MetadataOptions.HttpTokens != types.HttpTokensStateRequired {
		t.Errorf("metadata can be read without a session: %+v", i.MetadataOptions)
	}
	disks, err := behind(t, cloud).DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: filters("attachment.instance-id", string(m.ID))})
	if err != nil || len(disks.Volumes) != 1 {
		t.Fatalf("disks: %+v, %v", disks, err)
	}
	if d := disks.Volumes[0]; !aws.ToBool(d.Encrypted) || *d.Size != defaultDisk || d.VolumeType != types.VolumeTypeGp3 {
		t.Errorf("the root disk is of %d GiB, type %s, encrypted %v", *d.Size, d.VolumeType, *d.Encrypted)
	}
	if got := len(i.NetworkInterfaces[0].Groups); got != 2 {
		t.Errorf("a machine of the control plane is in %d groups, want 2", got)
	}
	w, err := p.Machines().Create(t.Context(), node(n, "demo-workers-0", "workers"))
	if err != nil {
		t.Fatal(err)
	}
	if i, err = p.instance(t.Context(), w.ID); err != nil || len(i.NetworkInterfaces[0].Groups) != 1 {
		t.Errorf("a worker is in groups %+v, want 1 (%v)", i.NetworkInterfaces[0].Groups, err)
	}
	spec := node(n, "demo-workers-0", controlPool)
	if _, err := p.Machines().Update(t.Context(), w.ID, spec); err != nil {
		t.Fatal(err)
	}
	last := cloud.Requests()
	if !slices.ContainsFunc(last, func(r awstest.Request) bool {
		return r.Action == "ModifyInstanceAttribute" && r.Form.Get("GroupId.2") != ""
	}) {
		t.Error("a machine that came to the control plane's pool did not come to its group")
	}
}

func TestNobodyConnectsBeforeTheHostKeyIsKnown(t *testing.T) {
	p := open(t, awstest.Options{}, oneZone)
	n := standing(t, p)
	cloud.SetConsole(func(string) string { return "[    0.0] Linux version 6.12" })
	p.o.Patience = 1
	_, err := p.Machines().Create(t.Context(), node(n, "demo-a-0", "a"))
	if providers.KindOf(err) != providers.Unavailable || !strings.Contains(err.Error(), "host key") {
		t.Errorf("without a host key: %v", err)
	}
	all, err := p.Machines().List(t.Context(), "demo")
	if err != nil || len(all) != 1 || !all[0].Partial || all[0].SSH.IsValid() {
		t.Errorf("without a host key there is %+v (%v), want one that is Partial and has no SSH", all, err)
	}
	cloud.SetConsole(awstest.Console)
	p = again(t, oneZone)
	m, err := p.Machines().Create(t.Context(), node(n, "demo-a-0", "a"))
	if err != nil || m.ID != all[0].ID || len(m.HostKeys) != 1 {
		t.Errorf("afterwards: %+v, %v", m, err)
	}
}

func TestCapacityAndRates(t *testing.T) {
	p := open(t, awstest.Options{}, oneZone)
	n := standing(t, p)
	cloud.NoCapacity(1)
	if _, err := p.Machines().Create(t.Context(), node(n, "demo-a-0", "a")); providers.KindOf(err) != providers.Capacity || !strings.Contains(err.Error(), "(request ") {
		t.Errorf("without capacity: %v", err)
	}
	cloud.Fail("RunInstances", 2, 503, "RequestLimitExceeded", "Request limit exceeded.")
	var wg sync.WaitGroup
	var errs [4]error
	for i, name := range []string{"demo-a-0", "demo-a-1", "demo-a-2", "demo-a-3"} {
		wg.Go(func() { _, errs[i] = p.Machines().Create(t.Context(), node(n, name, "a")) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Errorf("with AWS refusing twice: %v", err)
		}
	}
}

// TestExistingNetwork makes a cluster's network in somebody's VPC, which must stay as it is.
func TestExistingNetwork(t *testing.T) {
	host := open(t, awstest.Options{}, oneZone)
	theirs := standing(t, host)
	e := behind(t, cloud)
	picture := func() string {
		var b strings.Builder
		s, _ := e.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: filters("vpc-id", string(theirs.ID))})
		v, _ := e.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{VpcIds: []string{string(theirs.ID)}})
		r, _ := e.DescribeRouteTables(t.Context(), &ec2.DescribeRouteTablesInput{Filters: filters("vpc-id", string(theirs.ID))})
		for _, x := range v.Vpcs {
			b.WriteString(aws.ToString(x.CidrBlock) + " " + strings.Join(words(x.Tags), ","))
		}
		for _, x := range s.Subnets {
			b.WriteString("\n" + aws.ToString(x.SubnetId) + " " + strings.Join(words(x.Tags), ","))
		}
		for _, x := range r.RouteTables {
			b.WriteString("\n" + aws.ToString(x.RouteTableId) + " " + strings.Join(words(x.Tags), ",") + string(rune('0'+len(x.Routes))))
		}
		return b.String()
	}
	before := picture()
	p := again(t, Options{Network: string(theirs.ID), Zones: oneZone.Zones})
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "guest", Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	spec := node(n, "guest-a-0", "a")
	spec.Owner = "guest"
	m, err := p.Machines().Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if n.CIDR != theirs.CIDR || m.Network != n.ID || !n.CIDR.Contains(m.Private) {
		t.Errorf("network %+v with machine %+v in %s", n, m, theirs.CIDR)
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
	if after := picture(); after != before {
		t.Errorf("the VPC was\n%s\nand is\n%s", before, after)
	}
	if all, err := p.Networks().List(t.Context(), "guest"); err != nil || len(all) != 0 {
		t.Errorf("left: %+v, %v", all, err)
	}
	p = again(t, Options{Network: "vpc-0123456789abcdef0", Zones: oneZone.Zones})
	if _, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "guest", Name: "main"}); providers.KindOf(err) != providers.NotFound {
		t.Errorf("a VPC that there is not: %v", err)
	}
}

func words(tags []types.Tag) (all []string) {
	for k, v := range read(tags) {
		all = append(all, k+"="+v)
	}
	slices.Sort(all)
	return all
}

// TestStrangersBlockADelete leaves a group of somebody else in the VPC.
func TestStrangersBlockADelete(t *testing.T) {
	o := oneZone
	p := open(t, awstest.Options{}, o)
	n := standing(t, p)
	g, err := behind(t, cloud).CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("theirs"), Description: aws.String("x"), VpcId: aws.String(string(n.ID))})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Networks().Delete(t.Context(), n.ID); providers.KindOf(err) != providers.Conflict || !strings.Contains(err.Error(), "DependencyViolation") {
		t.Errorf("Delete with a stranger's group: %v", err)
	}
	if all, err := p.Networks().List(t.Context(), "demo"); err != nil || len(all) != 1 || !all[0].Partial {
		t.Errorf("then there is %+v (%v), want one that is Partial", all, err)
	}
	if _, err := behind(t, cloud).DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: g.GroupId}); err != nil {
		t.Fatal(err)
	}
	if err := p.Networks().Delete(t.Context(), n.ID); err != nil {
		t.Error(err)
	}
}

func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		attributes map[string]any
		want       string // in the error; empty: none
	}{
		{map[string]any{}, ""},
		{map[string]any{"region": "eu-central-1", "zones": []any{"eu-central-1b"}, "nat": "one", "addresses": "private"}, ""},
		{map[string]any{"regoin": "x"}, "no attribute"},
		{map[string]any{"region": 1}, "must be a string"},
		{map[string]any{"nat": "some"}, "none, one or zone"},
		{map[string]any{"addresses": "none"}, "public or private"},
		{map[string]any{"network": "main"}, "not the ID of a VPC"},
		{map[string]any{"network": "vpc-0123456789abcdef0", "nat": "one"}, "stays as it is"},
		{map[string]any{"zones": "a"}, "list of strings"},
		{map[string]any{"profile": "none-such"}, "none-such"},
	} {
		_, err := Open(c.attributes)
		if c.want == "" && err != nil || c.want != "" && (providers.KindOf(err) != providers.Invalid || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: %v, want %q", c.attributes, err, c.want)
		}
	}
}

func TestUserData(t *testing.T) {
	for _, c := range []struct {
		spec providers.MachineSpec
		want string
	}{
		{providers.MachineSpec{Name: "a"}, ""},
		{providers.MachineSpec{Name: "a", UserData: make([]byte, 13<<10)}, "16384"},
		{providers.MachineSpec{Name: "a", User: "x; rm"}, "user"},
		{providers.MachineSpec{Name: "a", AuthorizedKeys: []string{"ssh-ed25519 AAAA\nruncmd: [x]"}}, "authorized_keys"},
	} {
		got, err := userData(c.spec)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.spec.User, err, c.want)
		}
		twice, _ := userData(c.spec)
		if got != twice {
			t.Error("the same spec gives other user data: RunInstances would refuse its own token")
		}
	}
}

func TestHostKeysOnConsoles(t *testing.T) {
	key, other := awstest.HostKey("a"), awstest.HostKey("b")
	for _, c := range []struct{ said, want string }{
		{"", ""},
		{"[ 1.0] booting\r\n", ""},
		{key + "\r\n", ""}, // a key that somebody wrote: of who may log in, perhaps
		{"provision-host-key: " + key + "\r\n", key},
		{"[ 9.1] sh[7]: provision-host-key: " + key + "\r\nprovision-host-key: " + other + "\r\n", key},
		{"provision-host-key: " + key[:40], ""}, // not all of it is there yet
		{awstest.Console("a"), key},
		{"-----BEGIN SSH HOST KEY KEYS-----\r\n" + key + " root@a\r\n", ""},
	} {
		if got := hostKeyIn(base64.StdEncoding.EncodeToString([]byte(c.said))); got != c.want {
			t.Errorf("on %q: %q, want %q", c.said, got, c.want)
		}
	}
	if got := hostKeyIn("not base64!"); got != "" {
		t.Errorf("a host key %q in nothing", got)
	}
}

// TestLostAnswersAndLateReaders cuts the connection after a VPC was made, at an AWS that does not list it yet.
func TestLostAnswersAndLateReaders(t *testing.T) {
	p := open(t, awstest.Options{Late: 3}, oneZone)
	spec := providers.NetworkSpec{Owner: "demo", Name: "main"}
	heal := cloud.Cut(1, false)
	if _, err := p.Networks().Create(t.Context(), spec); providers.KindOf(err) != providers.Unavailable {
		t.Errorf("cut off: %v", err)
	}
	if !heal() {
		t.Fatal("the cut did not strike")
	}
	n, err := p.Networks().Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, behind(t, cloud)); len(left) != 2 || left[0] != string(n.ID) { // the VPC and its gateway
		t.Errorf("there is %v, want %s and its gateway alone", left, n.ID)
	}
}

// TestAnswersAreReadToTheirEnd asks often for long answers that come at once.
func TestAnswersAreReadToTheirEnd(t *testing.T) {
	p := open(t, awstest.Options{Page: 3}, oneZone)
	for range 4 {
		p.typesAt = time.Time{}
		all, err := p.Machines().Types(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(all, func(m providers.MachineType) bool { return m.Name == "t3.small" }); i < 0 || all[i].PriceUSD != 0.0228 || all[i].Volumes != 26 {
			t.Errorf("t3.small is not among the %d types at its price and with its 26 volumes", len(all))
		}
	}
}

// TestInstanceEndsWhileItStarts has AWS end an instance that is on its way to run: that is told with AWS's reason, and the same call made
// again brings another one.
func TestInstanceEndsWhileItStarts(t *testing.T) {
	p := open(t, awstest.Options{Slow: 20}, oneZone)
	n := standing(t, p)
	e := behind(t, cloud)
	ended := make(chan string, 1)
	go func() {
		for t.Context().Err() == nil {
			out, err := e.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{})
			if err == nil && len(out.Reservations) == 1 {
				id := aws.ToString(out.Reservations[0].Instances[0].InstanceId)
				if _, err := e.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err == nil {
					ended <- id
					return
				}
			}
		}
	}()
	_, err := p.Machines().Create(t.Context(), node(n, "demo-a-0", "a"))
	id := <-ended
	if providers.KindOf(err) != providers.Unavailable || !strings.Contains(err.Error(), "instance "+id+" ended while it started") {
		t.Fatalf("of an instance that AWS ended: %v", err)
	}
	m, err := p.Machines().Create(t.Context(), node(n, "demo-a-0", "a"))
	if err != nil || string(m.ID) == id || m.State != providers.Running {
		t.Errorf("made again: %+v, %v", m, err)
	}
}

// TestSubnetOfACallThatWasCutOff: a subnet that AWS did not show yet when it was looked for is taken, and one that is not ours is not.
func TestSubnetOfACallThatWasCutOff(t *testing.T) {
	p := open(t, awstest.Options{}, oneZone)
	o := standing(t, p)
	all, err := p.find(t.Context(), filters("vpc-id", string(o.ID)))
	if err != nil || len(all) != 1 {
		t.Fatalf("%d networks, %v", len(all), err)
	}
	n := all[0]
	if err := p.look(t.Context(), n); err != nil || len(n.subnets) == 0 {
		t.Fatalf("%d subnets, %v", len(n.subnets), err)
	}
	had := n.subnets[0]
	part, zone, cidr := read(had.Tags)[partTag], *had.AvailabilityZone, *had.CidrBlock
	if s, err := (networks{p}).subnetOf(t.Context(), n, part, zone, cidr); err != nil || *s.SubnetId != *had.SubnetId {
		t.Errorf("got %+v, %v; want %s, which is there", s, err, *had.SubnetId)
	}
	if _, err := (networks{p}).subnetOf(t.Context(), n, "of somebody else", zone, cidr); providers.KindOf(err) != providers.Unavailable {
		t.Errorf("the subnet of another part: got %v, want %s", err, providers.Unavailable)
	}
}
