package aws

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"

	"github.com/provisionhq/provision/providers"
)

// A class is a group of machine types that share quotas of processors. Codes are Service Quotas' own (from memory, not compared
// yet): https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html
type class struct {
	families       string // first letters of types, as a regular expression
	title          string
	onDemand, spot string // codes
}

func classes() []class {
	return []class{
		{`^(g|vt)\d`, "G and VT", "L-DB2E81BA", "L-3819A6DF"},
		{`^p\d`, "P", "L-417A185B", "L-7212CCBC"},
		{`^inf\d`, "Inf", "L-1945791B", "L-B5D1601B"},
		{`^trn\d`, "Trn", "L-2C3B7624", "L-6B0D517C"},
		{`^dl\d`, "DL", "L-6E869C2A", "L-85EED4F7"},
		{`^f\d`, "F", "L-74FC7D96", "L-88CF9481"},
		{`^x\d`, "X", "L-7295265B", "L-E3A00192"},
		{`^hpc\d`, "HPC", "L-F7808C92", ""},
		{`^u-`, "High Memory", "L-43DA4232", ""},
		{`^[acdhimrtz]`, "Standard (A, C, D, H, I, M, R, T, Z)", "L-1216C47A", "L-34B43A08"},
	}
}

// quotaOf returns the code and the console's name of the quota that machines of a type count against; "" if it is not known.
func quotaOf(kind string, spot bool) (code, title string) {
	for _, c := range classes() {
		if !regexp.MustCompile(c.families).MatchString(kind) {
			continue
		}
		if spot {
			return c.spot, "All " + c.title + " Spot Instance Requests"
		}
		return c.onDemand, "Running On-Demand " + c.title + " instances"
	}
	return "", ""
}

// A counter is a quota with what counts against it.
type counter struct {
	service, code string
	limit         providers.Limit
}

// counted adds the quotas that the need counts against.
func (c *check) counted(ctx context.Context) error {
	for _, count := range []func(context.Context) ([]counter, error){c.processors, c.vpcs, c.ways, c.nlbs} {
		all, err := count(ctx)
		if err != nil {
			if err := c.unseen("quotas", err); err != nil {
				return err
			}
			continue
		}
		for _, q := range all {
			if err := c.quota(ctx, q); err != nil {
				return err
			}
		}
	}
	return nil
}

// quota asks how large a quota is.
func (c *check) quota(ctx context.Context, q counter) error {
	out, err := c.p.quo.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: &q.service, QuotaCode: &q.code})
	switch {
	case is(err, "NoSuchResourceException"):
		c.note(func(r *providers.Report) {
			r.Unseen = append(r.Unseen, "quota "+q.limit.Name+": the region has none of the code "+q.code)
		})
		return nil
	case err != nil && q.code == addressQuota:
		return c.older(ctx, q, err)
	case err != nil:
		return c.unseen("quota "+q.limit.Name, err)
	case out.Quota == nil || out.Quota.Value == nil:
		return nil
	}
	q.limit.Max = *out.Quota.Value
	c.note(func(r *providers.Report) { r.Limits = append(r.Limits, q.limit) })
	return nil
}

// older asks EC2 itself for the one quota that it still tells, of addresses.
func (c *check) older(ctx context.Context, q counter, because error) error {
	out, err := c.p.ec2.DescribeAccountAttributes(ctx, &ec2.DescribeAccountAttributesInput{})
	if err != nil {
		return c.unseen("quota "+q.limit.Name, because)
	}
	for _, a := range out.AccountAttributes {
		if aws.ToString(a.AttributeName) == "vpc-max-elastic-ips" && len(a.AttributeValues) > 0 {
			q.limit.Max, _ = strconv.ParseFloat(aws.ToString(a.AttributeValues[0].AttributeValue), 64)
			c.note(func(r *providers.Report) { r.Limits = append(r.Limits, q.limit) })
		}
	}
	return nil
}

// processors counts those of machines, per quota.
func (c *check) processors(ctx context.Context) ([]counter, error) {
	if len(c.need.Machines) == 0 {
		return nil, nil
	}
	there, err := c.p.instances(ctx, []types.Filter{{Name: ptr("instance-state-name"), Values: []string{"pending", "running"}}})
	if err != nil {
		return nil, err
	}
	by := map[string]*counter{}
	at := func(kind string, spot bool) *providers.Limit {
		code, title := quotaOf(kind, spot)
		if by[code] == nil {
			by[code] = &counter{"ec2", code, providers.Limit{Name: title, Unit: "vCPU", Noun: providers.MachineNoun}}
		}
		return &by[code].limit
	}
	for _, s := range c.need.Machines {
		size, err := c.p.size(ctx, s.Type)
		if kindOf(err) == providers.Invalid {
			continue // that is a problem already
		}
		if err != nil {
			return nil, err
		}
		at(s.Type, s.Spot).Need += float64(size.cpus)
	}
	for _, i := range there {
		cpus, err := c.cpusOf(ctx, i)
		if err != nil {
			return nil, err
		}
		at(string(i.InstanceType), i.InstanceLifecycle == types.InstanceLifecycleTypeSpot).Used += float64(cpus)
	}
	var all []counter
	for code, q := range by {
		if code != "" && q.limit.Need > 0 {
			all = append(all, *q)
		}
	}
	return all, nil
}

// cpusOf is how many processors an instance has.
func (c *check) cpusOf(ctx context.Context, i types.Instance) (int, error) {
	if o := i.CpuOptions; o != nil && o.CoreCount != nil && o.ThreadsPerCore != nil {
		return int(*o.CoreCount * *o.ThreadsPerCore), nil
	}
	size, err := c.p.size(ctx, string(i.InstanceType))
	if kindOf(err) == providers.Invalid { // a type that we do not know: it counts against no quota of ours
		return 0, nil
	}
	return size.cpus, err
}

// vpcs counts networks.
func (c *check) vpcs(ctx context.Context) ([]counter, error) {
	if len(c.need.Networks) == 0 || c.p.o.Network != "" {
		return nil, nil
	}
	all, err := collect(ctx, ec2.NewDescribeVpcsPaginator(c.p.ec2, &ec2.DescribeVpcsInput{}), func(o *ec2.DescribeVpcsOutput) []types.Vpc { return o.Vpcs })
	return []counter{{"vpc", "L-F678F1CE", providers.Limit{Name: "VPCs per Region", Noun: providers.NetworkNoun, Used: float64(len(all)), Need: float64(len(c.need.Networks))}}}, err
}

const addressQuota = "L-0263D0A3"

// ways counts NAT gateways and the addresses that they take.
func (c *check) ways(ctx context.Context) (all []counter, err error) {
	need := map[string]float64{}
	sum := 0.0
	for _, s := range c.need.Networks {
		zones := s.Zones
		if len(zones) == 0 {
			zones = c.p.o.Zones
		}
		for i, z := range zones {
			if c.p.o.NAT == NATZone || c.p.o.NAT == NATOne && i == 0 {
				need[z]++
				sum++
			}
		}
	}
	if sum == 0 {
		return nil, nil
	}
	addresses, err := c.p.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{})
	if err != nil {
		return nil, err
	}
	used, err := c.gateways(ctx)
	if err != nil {
		return nil, err
	}
	all = append(all, counter{"ec2", addressQuota, providers.Limit{Name: "EC2-VPC Elastic IPs", Noun: providers.NetworkNoun, Used: float64(len(addresses.Addresses)), Need: sum}})
	for z, n := range need {
		all = append(all, counter{"vpc", "L-FE5A380F", providers.Limit{Name: "NAT gateways per Availability Zone, " + z, Noun: providers.NetworkNoun, Used: used[z], Need: n}})
	}
	return all, nil
}

// gateways counts NAT gateways by zone.
func (c *check) gateways(ctx context.Context) (map[string]float64, error) {
	gateways, err := collect(ctx, ec2.NewDescribeNatGatewaysPaginator(c.p.ec2, &ec2.DescribeNatGatewaysInput{}), func(o *ec2.DescribeNatGatewaysOutput) []types.NatGateway { return o.NatGateways })
	if err != nil {
		return nil, err
	}
	subnets, err := collect(ctx, ec2.NewDescribeSubnetsPaginator(c.p.ec2, &ec2.DescribeSubnetsInput{}), func(o *ec2.DescribeSubnetsOutput) []types.Subnet { return o.Subnets })
	used := map[string]float64{}
	for _, g := range gateways {
		i := slices.IndexFunc(subnets, func(s types.Subnet) bool { return aws.ToString(s.SubnetId) == aws.ToString(g.SubnetId) })
		if i >= 0 && (g.State == types.NatGatewayStateAvailable || g.State == types.NatGatewayStatePending) {
			used[aws.ToString(subnets[i].AvailabilityZone)]++
		}
	}
	return used, err
}

// nlbs counts balancers.
func (c *check) nlbs(ctx context.Context) ([]counter, error) {
	if len(c.need.LoadBalancers) == 0 {
		return nil, nil
	}
	all, err := collect(ctx, elb.NewDescribeLoadBalancersPaginator(c.p.elb, &elb.DescribeLoadBalancersInput{}),
		func(o *elb.DescribeLoadBalancersOutput) []elbtypes.LoadBalancer { return o.LoadBalancers })
	all = slices.DeleteFunc(all, func(b elbtypes.LoadBalancer) bool {
		return !strings.EqualFold(string(b.Type), string(elbtypes.LoadBalancerTypeEnumNetwork))
	})
	return []counter{{"elasticloadbalancing", "L-69A177A2", providers.Limit{Name: "Network Load Balancers per Region", Noun: providers.BalancerNoun, Used: float64(len(all)), Need: float64(len(c.need.LoadBalancers))}}}, err
}
