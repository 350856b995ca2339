package awstest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/smithy-go"
)

var cloud *Cloud // of all tests: moto takes seconds to start

func TestMain(m *testing.M) {
	var err error
	if cloud, err = New(context.Background(), Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := cloud.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// clients returns clients that try once, of a cloud that is empty.
func clients(t *testing.T, o Options) (*ec2.Client, *elb.Client) {
	t.Helper()
	if err := cloud.Reset(o); err != nil {
		t.Fatal(err)
	}
	cfg := aws.Config{Region: "eu-west-1", BaseEndpoint: &cloud.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", "secret", ""),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} }}
	return ec2.NewFromConfig(cfg), elb.NewFromConfig(cfg)
}

func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return fmt.Sprint(err)
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// network makes a VPC and a subnet.
func network(t *testing.T, e *ec2.Client) (vpc, subnet string) {
	t.Helper()
	v := must(e.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}))(t)
	s := must(e.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: v.Vpc.VpcId, CidrBlock: aws.String("10.0.1.0/24")}))(t)
	return *v.Vpc.VpcId, *s.Subnet.SubnetId
}

func run(subnet, token, size string) *ec2.RunInstancesInput {
	return &ec2.RunInstancesInput{ImageId: aws.String("ami-00000000000deb001"), InstanceType: types.InstanceType(size), SubnetId: &subnet,
		MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: &token}
}

func TestTokensAreReplayed(t *testing.T) {
	e, _ := clients(t, Options{})
	_, subnet := network(t, e)
	a := must(e.RunInstances(t.Context(), run(subnet, "one", "t3.small")))(t)
	b := must(e.RunInstances(t.Context(), run(subnet, "one", "t3.small")))(t)
	if *a.Instances[0].InstanceId != *b.Instances[0].InstanceId {
		t.Error("the same token made two instances")
	}
	if _, err := e.RunInstances(t.Context(), run(subnet, "one", "t3.large")); code(err) != "IdempotentParameterMismatch" {
		t.Errorf("other input with the same token: %v", err)
	}
	c := must(e.RunInstances(t.Context(), run(subnet, "two", "t3.large")))(t)
	if *a.Instances[0].InstanceId == *c.Instances[0].InstanceId {
		t.Error("another token made no instance")
	}
}

func TestListsHavePages(t *testing.T) {
	e, _ := clients(t, Options{Page: 2})
	network(t, e)
	network(t, e)
	seen := map[string]bool{}
	pages := 0
	for p := ec2.NewDescribeVpcsPaginator(e, &ec2.DescribeVpcsInput{}); p.HasMorePages(); pages++ {
		for _, v := range must(p.NextPage(t.Context()))(t).Vpcs {
			seen[*v.VpcId] = true
		}
	}
	if len(seen) != 3 || pages != 2 {
		t.Errorf("%d VPCs on %d pages, want 3 (one is the default) on 2", len(seen), pages)
	}
}

func TestNewThingsAreLate(t *testing.T) {
	e, _ := clients(t, Options{Late: 2})
	v := must(e.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}))(t)
	in := &ec2.DescribeVpcsInput{VpcIds: []string{*v.Vpc.VpcId}}
	if _, err := e.DescribeVpcs(t.Context(), in); code(err) != "InvalidVpcID.NotFound" {
		t.Errorf("a VPC of a moment ago: %v", err)
	}
	if all := must(e.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}))(t).Vpcs; slices.ContainsFunc(all, func(o types.Vpc) bool { return *o.VpcId == *v.Vpc.VpcId }) {
		t.Error("a VPC of a moment ago is listed at once")
	}
	must(e.DescribeVpcs(t.Context(), in))(t)
}

func TestThingsTakeTheirTime(t *testing.T) {
	e, l := clients(t, Options{Slow: 1})
	vpc, subnet := network(t, e)
	id := *must(e.RunInstances(t.Context(), run(subnet, "one", "t3.small")))(t).Instances[0].InstanceId
	states := func() (s []string) {
		for range 2 {
			out := must(e.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}}))(t)
			s = append(s, string(out.Reservations[0].Instances[0].State.Name))
		}
		return s
	}
	if got := states(); !slices.Equal(got, []string{"pending", "running"}) {
		t.Errorf("a new instance is %v", got)
	}
	must(e.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}))(t)
	if got := states(); !slices.Equal(got, []string{"shutting-down", "terminated"}) {
		t.Errorf("an instance on its way out is %v", got)
	}
	must(l.CreateLoadBalancer(t.Context(), &elb.CreateLoadBalancerInput{Name: aws.String("b"), Type: elbtypes.LoadBalancerTypeEnumNetwork, Subnets: []string{subnet}}))(t)
	for _, want := range []elbtypes.LoadBalancerStateEnum{"provisioning", "active"} {
		out := must(l.DescribeLoadBalancers(t.Context(), &elb.DescribeLoadBalancersInput{}))(t)
		if got := out.LoadBalancers[0].State.Code; got != want {
			t.Errorf("the balancer is %s, want %s", got, want)
		}
	}
	_ = vpc
}

func TestRefusals(t *testing.T) {
	e, l := clients(t, Options{})
	vpc, subnet := network(t, e)
	cloud.NoCapacity(1)
	if _, err := e.RunInstances(t.Context(), run(subnet, "one", "t3.small")); code(err) != "InsufficientInstanceCapacity" {
		t.Errorf("without capacity: %v", err)
	}
	i := *must(e.RunInstances(t.Context(), run(subnet, "one", "t3.small")))(t).Instances[0].InstanceId
	lb := &elb.CreateLoadBalancerInput{Name: aws.String("b"), Type: elbtypes.LoadBalancerTypeEnumNetwork, Subnets: []string{subnet}}
	one, two := must(l.CreateLoadBalancer(t.Context(), lb))(t), must(l.CreateLoadBalancer(t.Context(), lb))(t)
	if *one.LoadBalancers[0].LoadBalancerArn != *two.LoadBalancers[0].LoadBalancerArn {
		t.Error("two balancers of one name")
	}
	lb.Scheme = elbtypes.LoadBalancerSchemeEnumInternal
	if _, err := l.CreateLoadBalancer(t.Context(), lb); code(err) != "DuplicateLoadBalancerName" {
		t.Errorf("another balancer of one name: %v", err)
	}
	vol := *must(e.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-west-1a"), Size: aws.Int32(1)}))(t).VolumeId
	if _, err := e.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: &vol}); code(err) != "IncorrectState" {
		t.Errorf("detaching what is not attached: %v", err)
	}
	must(e.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &vol, InstanceId: &i, Device: aws.String("/dev/sdf")}))(t)
	group := *must(e.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("g"), VpcId: &vpc}))(t).GroupId
	must(e.ModifyInstanceAttribute(t.Context(), &ec2.ModifyInstanceAttributeInput{InstanceId: &i, Groups: []string{group}}))(t)
	for _, c := range []struct {
		what, want string
		do         func(context.Context) error
	}{
		{"a VPC with subnets", "DependencyViolation", func(ctx context.Context) error {
			_, err := e.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &vpc})
			return err
		}},
		{"a subnet with machines", "DependencyViolation", func(ctx context.Context) error {
			_, err := e.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: &subnet})
			return err
		}},
		{"a group in use", "DependencyViolation", func(ctx context.Context) error {
			_, err := e.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &group})
			return err
		}},
		{"an attached volume", "VolumeInUse", func(ctx context.Context) error {
			_, err := e.DeleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &vol})
			return err
		}},
	} {
		if got := code(c.do(t.Context())); got != c.want {
			t.Errorf("deleting %s: %s, want %s", c.what, got, c.want)
		}
	}
	if out := must(e.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: []string{subnet}}))(t); len(out.Subnets) != 1 {
		t.Error("a delete that was refused has deleted")
	}
}

func TestThrottling(t *testing.T) {
	e, _ := clients(t, Options{Throttle: true})
	_, subnet := network(t, e)
	for i := range 5 {
		must(e.RunInstances(t.Context(), run(subnet, fmt.Sprint(i), "t3.small")))(t)
	}
	refused := false
	for i := range 50 { // two come back each second
		_, err := e.RunInstances(t.Context(), run(subnet, fmt.Sprint("more", i), "t3.small"))
		refused = refused || code(err) == "RequestLimitExceeded"
		if refused {
			return
		}
	}
	t.Error("55 instances at once are not too many")
}

func TestCuts(t *testing.T) {
	e, _ := clients(t, Options{})
	count := func() int { return len(must(e.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}))(t).Vpcs) }
	was := count()
	for place, made := range []int{0, 1} { // before the effect, after it
		heal := cloud.Cut(place, false)
		if _, err := e.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}); err != nil {
			t.Errorf("place %d: what reads before it: %v", place, err)
		}
		if _, err := e.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}); err == nil {
			t.Errorf("place %d: no error", place)
		}
		if _, err := e.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}); err == nil {
			t.Errorf("place %d: the cloud answers after the cut", place)
		}
		if !heal() {
			t.Errorf("place %d was not reached", place)
		}
		if got := count() - was; got != made {
			t.Errorf("place %d: %d VPCs were made, want %d", place, got, made)
		}
		was = count()
	}
	if heal := cloud.Cut(0, false); heal() {
		t.Error("a place was reached without a request")
	}
}

func TestLogAndConsole(t *testing.T) {
	e, _ := clients(t, Options{})
	_, subnet := network(t, e)
	if n := cloud.Writes(); n != 2 {
		t.Errorf("%d writes, want 2", n)
	}
	i := *must(e.RunInstances(t.Context(), run(subnet, "one", "t3.small")))(t).Instances[0].InstanceId
	out := must(e.GetConsoleOutput(t.Context(), &ec2.GetConsoleOutputInput{InstanceId: &i}))(t)
	if said, _ := base64.StdEncoding.DecodeString(*out.Output); !strings.Contains(string(said), HostKey(i)) {
		t.Errorf("the console says %q", said)
	}
	last := cloud.Requests()
	if r := last[len(last)-1]; r.Service != "ec2" || r.Action != "GetConsoleOutput" || r.Mutating || r.Status != 200 {
		t.Errorf("the log ends with %+v", r)
	}
}
