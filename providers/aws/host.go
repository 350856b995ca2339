package aws

import (
	"context"
	"net/netip"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/provisionhq/provision/providers"
)

// settle makes the group for nodes in a VPC that is there already.
func (w networks) settle(ctx context.Context, spec providers.NetworkSpec, tags map[string]string) (*network, error) {
	n, err := w.host(ctx, spec.CIDR, strings.Fields(tags[zonesTag]))
	if err != nil {
		return nil, err
	}
	tags[natTag] = NATNone
	if n.id, err = w.p.makeGroup(ctx, groupName(spec.Key(), nodesPart), n.vpc, withPart(tags, nodesPart, "")); err != nil {
		return nil, err
	}
	n.tags = withPart(tags, nodesPart, "")
	w.p.made.note(providers.NetworkNoun, spec.Key(), n.id)
	return n, w.p.soon(ctx, func() error { return w.p.look(ctx, n) })
}

// host is the VPC that is there already, if it can take a network of that range in those zones.
func (w networks) host(ctx context.Context, cidr netip.Prefix, zones []string) (*network, error) {
	out, err := w.p.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{w.p.o.Network}})
	if err != nil {
		return nil, err
	}
	n := ofVPC(out.Vpcs[0])
	n.own = false
	if cidr.IsValid() && cidr != n.cidr {
		return nil, fail(providers.Invalid, "VPC %s has the range %s, not %s", n.vpc, n.cidr, cidr)
	}
	if err := w.p.look(ctx, n); err != nil {
		return nil, err
	}
	for _, z := range zones {
		if n.subnet(w.p.o.Addresses, z) == nil {
			return nil, fail(providers.Invalid, "VPC %s has no %s subnet in zone %s: %s", n.vpc, w.p.o.Addresses, z, sides[w.p.o.Addresses])
		}
	}
	return n, nil
}

// sides says what makes a subnet one of the side.
var sides = map[string]string{
	Public:  "one whose route table leads 0.0.0.0/0 to an internet gateway",
	Private: "one whose route table does not lead 0.0.0.0/0 to an internet gateway",
}
