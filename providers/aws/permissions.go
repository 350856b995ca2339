package aws

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/provisionhq/provision/providers"
)

// OperatorPolicy is the IAM policy document of who runs the command: enough for everything that this package does.
//
//go:embed policy/operator.json
var OperatorPolicy string

// CloudAgentPolicy is the IAM policy document of the role of machines that a cloud agent runs on, which makes balancers, volumes and
// machines of one cluster. CLUSTER stands for the cluster's name.
//
//go:embed policy/cloud-agent.json
var CloudAgentPolicy string

// A probe is a call that changes nothing, whatever the account may do: one that AWS only pretends to do, one about what there is
// not, or one that reads.
type probe struct {
	action string // as policies name it
	try    func(context.Context) error
}

// dryly is a call of EC2 that is a dry run by its input.
func dryly[I, O any](action string, call func(context.Context, *I, ...func(*ec2.Options)) (*O, error), in I) probe {
	return probe{"ec2:" + action, func(ctx context.Context) error { _, err := call(ctx, &in); return err }}
}

// idly is a call of Elastic Load Balancing, which has no dry runs: it reads or is about what there is not.
func idly[I, O any](action string, call func(context.Context, *I, ...func(*elb.Options)) (*O, error), in I) probe {
	return probe{"elasticloadbalancing:" + action, func(ctx context.Context) error { _, err := call(ctx, &in); return err }}
}

// vainly is a call of IAM about what there is not.
func vainly[I, O any](action string, call func(context.Context, *I, ...func(*iam.Options)) (*O, error), in I) probe {
	return probe{"iam:" + action, func(ctx context.Context) error { _, err := call(ctx, &in); return err }}
}

// What there is not. AWS checks what somebody may do before it looks for what it is about.
var (
	dry    = ptr(true)
	noVPC  = ptr("vpc-00000000000000000")
	noNet  = ptr("subnet-00000000000000000")
	noGate = ptr("igw-00000000000000000")
	noRoad = ptr("rtb-00000000000000000")
	noSet  = ptr("sg-00000000000000000")
	noBox  = "i-00000000000000000"
	noDisk = ptr("vol-00000000000000000")
	where  = ptr("0.0.0.0/0")
)

// probes are calls for all that the need, and taking it away again, will ask of AWS.
func (p *Provider) probes(n providers.Need) []probe {
	all := p.lookProbes()
	if len(n.Networks)+len(n.LoadBalancers) > 0 {
		all = append(all, p.groupProbes()...)
	}
	if len(n.Networks) > 0 && p.o.Network == "" {
		all = append(all, p.networkProbes()...)
	}
	if len(n.Networks) > 0 && p.o.NAT != NATNone {
		all = append(all, p.natProbes()...)
	}
	if len(n.Machines) > 0 {
		all = append(all, p.machineProbes()...)
	}
	if p.o.InstanceProfile+p.o.CloudAgentProfile == "" && slices.ContainsFunc(n.Machines, func(m providers.MachineSpec) bool { return m.CloudAgent }) {
		all = append(all, p.identityProbes()...)
	}
	if len(n.LoadBalancers) > 0 {
		all = append(all, p.balancerProbes()...)
	}
	if len(n.Volumes) > 0 {
		all = append(all, p.volumeProbes()...)
	}
	return all
}

// lookProbes are for what every run looks at.
func (p *Provider) lookProbes() []probe {
	c := p.ec2
	return []probe{
		dryly("DescribeVpcs", c.DescribeVpcs, ec2.DescribeVpcsInput{DryRun: dry}),
		dryly("DescribeSubnets", c.DescribeSubnets, ec2.DescribeSubnetsInput{DryRun: dry}),
		dryly("DescribeRouteTables", c.DescribeRouteTables, ec2.DescribeRouteTablesInput{DryRun: dry}),
		dryly("DescribeInternetGateways", c.DescribeInternetGateways, ec2.DescribeInternetGatewaysInput{DryRun: dry}),
		dryly("DescribeSecurityGroups", c.DescribeSecurityGroups, ec2.DescribeSecurityGroupsInput{DryRun: dry}),
		dryly("DescribeInstances", c.DescribeInstances, ec2.DescribeInstancesInput{DryRun: dry}),
		dryly("CreateTags", c.CreateTags, ec2.CreateTagsInput{DryRun: dry, Resources: []string{*noVPC}, Tags: []types.Tag{{Key: ptr("a"), Value: ptr("b")}}}),
		dryly("DeleteTags", c.DeleteTags, ec2.DeleteTagsInput{DryRun: dry, Resources: []string{*noVPC}, Tags: []types.Tag{{Key: ptr("a")}}}),
	}
}

func (p *Provider) groupProbes() []probe {
	c := p.ec2
	rules := []types.IpPermission{{IpProtocol: ptr("tcp"), FromPort: ptr(int32(1)), ToPort: ptr(int32(1)), IpRanges: []types.IpRange{{CidrIp: where}}}}
	return []probe{
		dryly("CreateSecurityGroup", c.CreateSecurityGroup, ec2.CreateSecurityGroupInput{DryRun: dry, GroupName: ptr("provision"), Description: ptr("provision"), VpcId: noVPC}),
		dryly("DeleteSecurityGroup", c.DeleteSecurityGroup, ec2.DeleteSecurityGroupInput{DryRun: dry, GroupId: noSet}),
		dryly("AuthorizeSecurityGroupIngress", c.AuthorizeSecurityGroupIngress, ec2.AuthorizeSecurityGroupIngressInput{DryRun: dry, GroupId: noSet, IpPermissions: rules}),
		dryly("RevokeSecurityGroupIngress", c.RevokeSecurityGroupIngress, ec2.RevokeSecurityGroupIngressInput{DryRun: dry, GroupId: noSet, IpPermissions: rules}),
		dryly("UpdateSecurityGroupRuleDescriptionsIngress", c.UpdateSecurityGroupRuleDescriptionsIngress,
			ec2.UpdateSecurityGroupRuleDescriptionsIngressInput{DryRun: dry, GroupId: noSet, IpPermissions: rules}),
	}
}

func (p *Provider) networkProbes() []probe {
	c := p.ec2
	return []probe{
		dryly("CreateVpc", c.CreateVpc, ec2.CreateVpcInput{DryRun: dry, CidrBlock: ptr("10.0.0.0/16")}),
		dryly("DeleteVpc", c.DeleteVpc, ec2.DeleteVpcInput{DryRun: dry, VpcId: noVPC}),
		dryly("CreateSubnet", c.CreateSubnet, ec2.CreateSubnetInput{DryRun: dry, VpcId: noVPC, CidrBlock: ptr("10.0.0.0/24")}),
		dryly("DeleteSubnet", c.DeleteSubnet, ec2.DeleteSubnetInput{DryRun: dry, SubnetId: noNet}),
		dryly("CreateInternetGateway", c.CreateInternetGateway, ec2.CreateInternetGatewayInput{DryRun: dry}),
		dryly("AttachInternetGateway", c.AttachInternetGateway, ec2.AttachInternetGatewayInput{DryRun: dry, InternetGatewayId: noGate, VpcId: noVPC}),
		dryly("DetachInternetGateway", c.DetachInternetGateway, ec2.DetachInternetGatewayInput{DryRun: dry, InternetGatewayId: noGate, VpcId: noVPC}),
		dryly("DeleteInternetGateway", c.DeleteInternetGateway, ec2.DeleteInternetGatewayInput{DryRun: dry, InternetGatewayId: noGate}),
		dryly("CreateRouteTable", c.CreateRouteTable, ec2.CreateRouteTableInput{DryRun: dry, VpcId: noVPC}),
		dryly("DeleteRouteTable", c.DeleteRouteTable, ec2.DeleteRouteTableInput{DryRun: dry, RouteTableId: noRoad}),
		dryly("AssociateRouteTable", c.AssociateRouteTable, ec2.AssociateRouteTableInput{DryRun: dry, RouteTableId: noRoad, SubnetId: noNet}),
		dryly("CreateRoute", c.CreateRoute, ec2.CreateRouteInput{DryRun: dry, RouteTableId: noRoad, DestinationCidrBlock: where, GatewayId: noGate}),
		dryly("ReplaceRoute", c.ReplaceRoute, ec2.ReplaceRouteInput{DryRun: dry, RouteTableId: noRoad, DestinationCidrBlock: where, GatewayId: noGate}),
	}
}

func (p *Provider) natProbes() []probe {
	c, gateway := p.ec2, ptr("nat-00000000000000000")
	return []probe{
		dryly("DescribeNatGateways", c.DescribeNatGateways, ec2.DescribeNatGatewaysInput{DryRun: dry}),
		dryly("DescribeAddresses", c.DescribeAddresses, ec2.DescribeAddressesInput{DryRun: dry}),
		dryly("AllocateAddress", c.AllocateAddress, ec2.AllocateAddressInput{DryRun: dry, Domain: types.DomainTypeVpc}),
		dryly("ReleaseAddress", c.ReleaseAddress, ec2.ReleaseAddressInput{DryRun: dry, AllocationId: ptr("eipalloc-00000000000000000")}),
		dryly("CreateNatGateway", c.CreateNatGateway, ec2.CreateNatGatewayInput{DryRun: dry, SubnetId: noNet, AllocationId: ptr("eipalloc-00000000000000000"), ClientToken: ptr("provision-dry")}),
		dryly("DeleteNatGateway", c.DeleteNatGateway, ec2.DeleteNatGatewayInput{DryRun: dry, NatGatewayId: gateway}),
	}
}

func (p *Provider) machineProbes() []probe {
	c := p.ec2
	run := ec2.RunInstancesInput{DryRun: dry, ImageId: ptr("ami-00000000000000000"), InstanceType: types.InstanceTypeT3Small, MinCount: ptr(int32(1)), MaxCount: ptr(int32(1))}
	if name := cmp.Or(p.o.CloudAgentProfile, p.o.InstanceProfile); name != "" { // then iam:PassRole is asked for too
		run.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: &name}
	}
	return []probe{
		dryly("DescribeImages", c.DescribeImages, ec2.DescribeImagesInput{DryRun: dry}),
		dryly("DescribeInstanceTypes", c.DescribeInstanceTypes, ec2.DescribeInstanceTypesInput{DryRun: dry}),
		dryly("DescribeInstanceTypeOfferings", c.DescribeInstanceTypeOfferings, ec2.DescribeInstanceTypeOfferingsInput{DryRun: dry}),
		dryly("GetConsoleOutput", c.GetConsoleOutput, ec2.GetConsoleOutputInput{DryRun: dry, InstanceId: &noBox}),
		dryly("RunInstances", c.RunInstances, run),
		dryly("StartInstances", c.StartInstances, ec2.StartInstancesInput{DryRun: dry, InstanceIds: []string{noBox}}),
		dryly("TerminateInstances", c.TerminateInstances, ec2.TerminateInstancesInput{DryRun: dry, InstanceIds: []string{noBox}}),
		dryly("ModifyInstanceAttribute", c.ModifyInstanceAttribute, ec2.ModifyInstanceAttributeInput{DryRun: dry, InstanceId: &noBox, Groups: []string{*noSet}}),
	}
}

// identityProbes are for the role and the profile of machines with a cloud agent. IAM has no dry runs; what would make something bears
// a tag that only AWS may give.
func (p *Provider) identityProbes() []probe {
	c, none, path := p.iam, ptr(identityPrefix+"none-00000000000000000"), ptr(identityPath)
	ours, tag := []iamtypes.Tag{{Key: ptr("aws:none"), Value: ptr("")}}, []iamtypes.Tag{{Key: ptr("a"), Value: ptr("b")}}
	return []probe{
		vainly("GetRole", c.GetRole, iam.GetRoleInput{RoleName: none}),
		vainly("CreateRole", c.CreateRole, iam.CreateRoleInput{RoleName: none, Path: path, Tags: ours, AssumeRolePolicyDocument: ptr(trustPolicy(p.o.Region))}),
		vainly("TagRole", c.TagRole, iam.TagRoleInput{RoleName: none, Tags: tag}),
		vainly("PutRolePolicy", c.PutRolePolicy, iam.PutRolePolicyInput{RoleName: none, PolicyName: ptr(agentPolicy), PolicyDocument: ptr(AgentPolicy("none", p.o.Region))}),
		vainly("DeleteRolePolicy", c.DeleteRolePolicy, iam.DeleteRolePolicyInput{RoleName: none, PolicyName: ptr(agentPolicy)}),
		vainly("DeleteRole", c.DeleteRole, iam.DeleteRoleInput{RoleName: none}),
		vainly("GetInstanceProfile", c.GetInstanceProfile, iam.GetInstanceProfileInput{InstanceProfileName: none}),
		vainly("CreateInstanceProfile", c.CreateInstanceProfile, iam.CreateInstanceProfileInput{InstanceProfileName: none, Path: path, Tags: ours}),
		vainly("TagInstanceProfile", c.TagInstanceProfile, iam.TagInstanceProfileInput{InstanceProfileName: none, Tags: tag}),
		vainly("AddRoleToInstanceProfile", c.AddRoleToInstanceProfile, iam.AddRoleToInstanceProfileInput{InstanceProfileName: none, RoleName: none}), // asks for iam:PassRole too
		vainly("RemoveRoleFromInstanceProfile", c.RemoveRoleFromInstanceProfile, iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: none, RoleName: none}),
		vainly("DeleteInstanceProfile", c.DeleteInstanceProfile, iam.DeleteInstanceProfileInput{InstanceProfileName: none}),
	}
}

func (p *Provider) volumeProbes() []probe {
	c, copied := p.ec2, ptr("snap-00000000000000000")
	return []probe{
		dryly("DescribeVolumes", c.DescribeVolumes, ec2.DescribeVolumesInput{DryRun: dry}),
		dryly("DescribeSnapshots", c.DescribeSnapshots, ec2.DescribeSnapshotsInput{DryRun: dry}),
		dryly("CreateVolume", c.CreateVolume, ec2.CreateVolumeInput{DryRun: dry, AvailabilityZone: &p.o.Zones[0], Size: ptr(int32(1)), ClientToken: ptr("provision-dry")}),
		dryly("DeleteVolume", c.DeleteVolume, ec2.DeleteVolumeInput{DryRun: dry, VolumeId: noDisk}),
		dryly("AttachVolume", c.AttachVolume, ec2.AttachVolumeInput{DryRun: dry, VolumeId: noDisk, InstanceId: &noBox, Device: ptr("/dev/xvdba")}),
		dryly("DetachVolume", c.DetachVolume, ec2.DetachVolumeInput{DryRun: dry, VolumeId: noDisk}),
		dryly("ModifyVolume", c.ModifyVolume, ec2.ModifyVolumeInput{DryRun: dry, VolumeId: noDisk, Size: ptr(int32(2))}),
		dryly("CreateSnapshot", c.CreateSnapshot, ec2.CreateSnapshotInput{DryRun: dry, VolumeId: noDisk}),
		dryly("DeleteSnapshot", c.DeleteSnapshot, ec2.DeleteSnapshotInput{DryRun: dry, SnapshotId: copied}),
	}
}

func (p *Provider) balancerProbes() []probe {
	c := p.elb
	arn := func(rest string) *string {
		return ptr("arn:" + partitionOf(p.o.Region) + ":elasticloadbalancing:" + p.o.Region + ":000000000000:" + rest)
	}
	lb, group, listener := arn("loadbalancer/net/provision-none/0000000000000000"), arn("targetgroup/provision-none/0000000000000000"), arn("listener/net/provision-none/0000000000000000/0000000000000000")
	target := []elbtypes.TargetDescription{{Id: &noBox}}
	to := []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: group}}
	attribute := []elbtypes.TargetGroupAttribute{{Key: ptr("proxy_protocol_v2.enabled"), Value: ptr("true")}}
	return []probe{
		idly("DescribeLoadBalancers", c.DescribeLoadBalancers, elb.DescribeLoadBalancersInput{PageSize: ptr(int32(1))}),
		idly("DescribeTargetGroups", c.DescribeTargetGroups, elb.DescribeTargetGroupsInput{PageSize: ptr(int32(1))}),
		idly("DescribeListeners", c.DescribeListeners, elb.DescribeListenersInput{LoadBalancerArn: lb}),
		idly("DescribeTags", c.DescribeTags, elb.DescribeTagsInput{ResourceArns: []string{*lb}}),
		idly("DescribeTargetHealth", c.DescribeTargetHealth, elb.DescribeTargetHealthInput{TargetGroupArn: group}),
		idly("CreateLoadBalancer", c.CreateLoadBalancer, elb.CreateLoadBalancerInput{Name: ptr("provision-none"), Type: elbtypes.LoadBalancerTypeEnumNetwork, Subnets: []string{*noNet}}),
		idly("DeleteLoadBalancer", c.DeleteLoadBalancer, elb.DeleteLoadBalancerInput{LoadBalancerArn: lb}),
		idly("CreateTargetGroup", c.CreateTargetGroup, elb.CreateTargetGroupInput{Name: ptr("provision-none"), Protocol: elbtypes.ProtocolEnumTcp, Port: ptr(int32(1)), VpcId: noVPC}),
		idly("DeleteTargetGroup", c.DeleteTargetGroup, elb.DeleteTargetGroupInput{TargetGroupArn: group}),
		idly("ModifyTargetGroupAttributes", c.ModifyTargetGroupAttributes, elb.ModifyTargetGroupAttributesInput{TargetGroupArn: group, Attributes: attribute}),
		idly("RegisterTargets", c.RegisterTargets, elb.RegisterTargetsInput{TargetGroupArn: group, Targets: target}),
		idly("DeregisterTargets", c.DeregisterTargets, elb.DeregisterTargetsInput{TargetGroupArn: group, Targets: target}),
		idly("CreateListener", c.CreateListener, elb.CreateListenerInput{LoadBalancerArn: lb, Protocol: elbtypes.ProtocolEnumTcp, Port: ptr(int32(1)), DefaultActions: to}),
		idly("ModifyListener", c.ModifyListener, elb.ModifyListenerInput{ListenerArn: listener, DefaultActions: to}),
		idly("ModifyListenerAttributes", c.ModifyListenerAttributes, elb.ModifyListenerAttributesInput{ListenerArn: listener,
			Attributes: []elbtypes.ListenerAttribute{{Key: ptr("tcp.idle_timeout.seconds"), Value: ptr("350")}}}),
		idly("DeleteListener", c.DeleteListener, elb.DeleteListenerInput{ListenerArn: listener}),
		idly("AddTags", c.AddTags, elb.AddTagsInput{ResourceArns: []string{*lb}, Tags: []elbtypes.Tag{{Key: ptr("a"), Value: ptr("b")}}}),
	}
}

// partitionOf is the part of AWS that a region is in, as ARNs name it.
func partitionOf(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

var deniedAction = regexp.MustCompile(`not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)`)

// missing tries the probe and returns the action that the account may not do; "" if there is none. An answer about what the call
// is about means that the call itself is allowed.
func (q probe) missing(ctx context.Context) (string, error) {
	err := q.try(ctx)
	switch k := kindOf(err); {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return "", err
	case err == nil || is(err, "DryRunOperation"):
		return "", nil
	case slices.Contains([]string{"UnauthorizedOperation", "AccessDenied", "AccessDeniedException"}, codeOf(err)):
		if m := deniedAction.FindStringSubmatch(err.Error()); m != nil { // another one that it needs: iam:PassRole
			return m[1], nil
		}
		return q.action, nil
	case k == providers.Denied || k.Retryable():
		return "", kinded(err)
	}
	return "", nil
}
