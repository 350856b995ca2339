package aws

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/provisionhq/provision/providers"
)

// offers looks whether types, their zones and images of the machines are there.
func (c *check) offers(ctx context.Context) error {
	if len(c.need.Machines) == 0 {
		return nil
	}
	zones, err := c.offered(ctx)
	if err != nil {
		return err
	}
	for _, s := range c.need.Machines {
		size, err := c.p.size(ctx, s.Type)
		if err != nil {
			if err := c.problem(providers.MachineNoun, s.Name, "type", err); err != nil {
				return err
			}
			continue
		}
		zone := c.zone(s)
		strange, _ := c.strange([]string{zone})
		told := len(strange) > 0 && s.Zone == "" && len(c.need.Networks) > 0 // of the network
		if zones != nil && !told && !slices.Contains(zones[s.Type], zone) {
			err := fail(providers.Invalid, "type %s is not offered in zone %s: it is in %s", s.Type, zone, strings.Join(zones[s.Type], ", "))
			if err := c.problem(providers.MachineNoun, s.Name, "type", err); err != nil {
				return err
			}
		}
		_, err = c.p.image(ctx, s.Image, size.arch)
		if err := c.problem(providers.MachineNoun, s.Name, "image", err); err != nil {
			return err
		}
	}
	return nil
}

// offered returns the zones of each type that machines shall have; nil if the account may not look.
func (c *check) offered(ctx context.Context) (map[string][]string, error) {
	var names []string
	for _, s := range c.need.Machines {
		if !slices.Contains(names, s.Type) {
			names = append(names, s.Type)
		}
	}
	zones := map[string][]string{}
	for chunk := range slices.Chunk(names, 200) { // as many values as a filter takes
		in := &ec2.DescribeInstanceTypeOfferingsInput{LocationType: types.LocationTypeAvailabilityZone,
			Filters: []types.Filter{{Name: ptr("instance-type"), Values: chunk}}}
		all, err := collect(ctx, ec2.NewDescribeInstanceTypeOfferingsPaginator(c.p.ec2, in),
			func(o *ec2.DescribeInstanceTypeOfferingsOutput) []types.InstanceTypeOffering {
				return o.InstanceTypeOfferings
			})
		if kindOf(err) == providers.Denied {
			return nil, nil // a probe names it
		}
		if err != nil {
			return nil, err
		}
		for _, o := range all {
			zones[string(o.InstanceType)] = append(zones[string(o.InstanceType)], aws.ToString(o.Location))
		}
	}
	for _, z := range zones {
		slices.Sort(z)
	}
	return zones, nil
}

// zone is where a machine will be.
func (c *check) zone(s providers.MachineSpec) string {
	if s.Zone != "" {
		return s.Zone
	}
	zones := c.p.o.Zones
	for _, n := range c.need.Networks {
		if len(n.Zones) > 0 {
			zones = n.Zones
		}
	}
	return spread(s.Name, zones)
}

// networks looks whether the networks can be where they are asked for.
func (c *check) networks(ctx context.Context) error {
	w := networks{c.p}
	for _, s := range c.need.Networks {
		if err := w.check(s); err != nil {
			if err := c.problem(providers.NetworkNoun, s.Name, "cidr", err); err != nil {
				return err
			}
			continue
		}
		_, err := c.p.named(ctx, s.Key())
		if err := c.problem(providers.NetworkNoun, s.Name, "name", err); err != nil {
			return err
		}
		zones := s.Zones
		if len(zones) == 0 {
			zones = c.p.o.Zones
		}
		if strange, there := c.strange(zones); len(strange) > 0 {
			err := fail(providers.Invalid, "region %s has no zone %s for this account: it has %s", c.p.o.Region, strings.Join(strange, ", "), strings.Join(there, ", "))
			if err := c.problem(providers.NetworkNoun, s.Name, "zones", err); err != nil {
				return err
			}
			continue
		}
		if c.p.o.Network == "" {
			continue
		}
		n, err := w.host(ctx, s.CIDR, zones)
		if err := c.problem(providers.NetworkNoun, s.Name, "network", err); err != nil {
			return err
		}
		if err := c.problem(providers.NetworkNoun, s.Name, "name", taken(n, s.Key())); err != nil {
			return err
		}
	}
	return nil
}

// strange are those of the zones that the account does not have in the region, and those that it has. They show in where types are
// offered, which is asked of AWS whenever a plan is made: for this alone the long list is not asked for, and nothing is strange.
func (c *check) strange(zones []string) (strange, there []string) {
	c.p.mu.Lock()
	types := c.p.types
	c.p.mu.Unlock()
	for _, t := range types {
		there = append(there, t.Zones...)
	}
	slices.Sort(there)
	there = slices.Compact(there)
	for _, z := range zones {
		if len(there) > 0 && !slices.Contains(there, z) {
			strange = append(strange, z)
		}
	}
	return strange, there
}

// profiles looks whether the instance profiles are there that the block names.
func (c *check) profiles(ctx context.Context) error {
	named := map[string]string{} // by the attribute
	for _, s := range c.need.Machines {
		switch {
		case s.CloudAgent && c.p.o.CloudAgentProfile != "":
			named["cloud_agent_profile"] = c.p.o.CloudAgentProfile
		case c.p.o.InstanceProfile != "":
			named["instance_profile"] = c.p.o.InstanceProfile
		}
	}
	for attribute, name := range named {
		_, err := c.p.iam.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name})
		switch {
		case gone(err):
			err = fail(providers.NotFound, "there is no instance profile %s: %w", name, err)
			err = c.problem(providers.MachineNoun, "", attribute, err)
		case err != nil:
			err = c.unseen("whether instance profile "+name+" is there", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// taken returns Exists if somebody else has a security group of the name that the network's would have.
func taken(n *network, k providers.Key) error {
	if n == nil {
		return nil
	}
	for _, g := range n.groups {
		if tags := read(g.Tags); aws.ToString(g.GroupName) == groupName(k, nodesPart) && tags[providers.OwnerTag] != string(k.Owner) {
			return fail(providers.Exists, "security group %s has the name %q and is not of cluster %s: rename or delete it", aws.ToString(g.GroupId), groupName(k, nodesPart), k.Owner)
		}
	}
	return nil
}
