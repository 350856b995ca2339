package aws

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/provisionhq/provision/providers"
)

// groupName is unique in a VPC, so no group is made twice.
func groupName(k providers.Key, part string) string {
	return fmt.Sprintf("provision %s/%s %s", k.Owner, k.Name, part)
}

// makeGroup makes a security group, or finds the one of that name.
func (p *Provider) makeGroup(ctx context.Context, name, vpc string, tags map[string]string) (id string, err error) {
	var out *ec2.CreateSecurityGroupOutput
	err = p.soon(ctx, func() (err error) {
		out, err = p.ec2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &name, VpcId: &vpc,
			TagSpecifications: specified(types.ResourceTypeSecurityGroup, tags)})
		return err
	})
	if err == nil {
		return aws.ToString(out.GroupId), nil
	}
	if !is(err, "InvalidGroup.Duplicate") {
		return "", err
	}
	err = p.soon(ctx, func() error {
		found, err := p.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: filters("group-name", name, "vpc-id", vpc)})
		if err == nil && len(found.SecurityGroups) == 0 {
			err = fail(providers.NotFound, "group %q, which is there already", name)
		}
		if err == nil {
			id = aws.ToString(found.SecurityGroups[0].GroupId)
		}
		return err
	})
	return id, err
}

// inward says whether a permission is for the group's own members.
func inward(group string) func(types.IpPermission) bool {
	return func(p types.IpPermission) bool {
		return slices.ContainsFunc(p.UserIdGroupPairs, func(g types.UserIdGroupPair) bool { return aws.ToString(g.GroupId) == group })
	}
}

// within are what members of a group may do among themselves: nodes everything but etcd's ports, the control plane those.
func among(part, group string) (all []types.IpPermission) {
	add := func(protocol string, from, to int32) {
		all = append(all, types.IpPermission{IpProtocol: &protocol, FromPort: &from, ToPort: &to, UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &group}}})
	}
	if part == controlPart {
		add("tcp", 2379, 2380)
		return all
	}
	add("tcp", 0, 2378)
	add("tcp", 2381, 65535)
	add("udp", 0, 65535)
	add("icmp", -1, -1)
	return all
}

// An opening is one range that may come in at one port of one group.
type opening struct {
	part, protocol string
	port           int
	from           netip.Prefix
}

// partOf says at which group a rule is: the API is the control plane's.
func partOf(r providers.Rule) string {
	if r.Name == "api" {
		return controlPart
	}
	return nodesPart
}

// openings are what rules ask for, with the words that tell the rule, which the group keeps: which it is, and its name.
func openings(rules []providers.Rule) map[opening]string {
	all := map[opening]string{}
	for i, r := range rules {
		for j, s := range r.Sources {
			all[opening{partOf(r), r.Protocol, r.Port, s}] = fmt.Sprintf("provision %d.%d %s", i, j, r.Name)
		}
	}
	return all
}

// permission is an opening in EC2's form.
func (o opening) permission(words string) types.IpPermission {
	p := types.IpPermission{IpProtocol: ptr(o.protocol), FromPort: ptr(int32(o.port)), ToPort: ptr(int32(o.port))}
	var d *string
	if words != "" {
		d = &words
	}
	if o.from.Addr().Is4() {
		p.IpRanges = []types.IpRange{{CidrIp: ptr(o.from.String()), Description: d}}
	} else {
		p.Ipv6Ranges = []types.Ipv6Range{{CidrIpv6: ptr(o.from.String()), Description: d}}
	}
	return p
}

// open returns what is open, with its words. Permissions for more than one port, which only strangers give, are at their first.
func (n *network) open() (map[opening]string, map[opening]types.IpPermission) {
	words, have := map[opening]string{}, map[opening]types.IpPermission{}
	for _, part := range []string{nodesPart, controlPart} {
		g := n.group(part)
		if g == nil {
			continue
		}
		for _, p := range g.IpPermissions {
			note := func(cidr, description string) {
				c, err := netip.ParsePrefix(cidr)
				if err != nil {
					return
				}
				o := opening{part, aws.ToString(p.IpProtocol), int(aws.ToInt32(p.FromPort)), c}
				one := o.permission("")
				one.FromPort, one.ToPort = p.FromPort, p.ToPort
				if aws.ToInt32(p.FromPort) != aws.ToInt32(p.ToPort) {
					description = ""
					o.protocol += " to " + strconv.Itoa(int(aws.ToInt32(p.ToPort)))
				}
				words[o], have[o] = description, one
			}
			for _, r := range p.IpRanges {
				note(aws.ToString(r.CidrIp), aws.ToString(r.Description))
			}
			for _, r := range p.Ipv6Ranges {
				note(aws.ToString(r.CidrIpv6), aws.ToString(r.Description))
			}
		}
	}
	return words, have
}

var ruleWords = regexp.MustCompile(`^provision (\d+)\.(\d+) (.*)$`)

// rules are what is open, as rules, in the order in which they were asked for. What strangers opened comes last, nameless.
func (n *network) rules() (all []providers.Rule) {
	type placed struct {
		rule, source int
		r            providers.Rule
		from         netip.Prefix
	}
	var each []placed
	words, _ := n.open()
	for o, w := range words {
		p := placed{1 << 30, 0, providers.Rule{Protocol: o.protocol, Port: o.port}, o.from}
		if m := ruleWords.FindStringSubmatch(w); m != nil {
			p.rule, _ = strconv.Atoi(m[1])
			p.source, _ = strconv.Atoi(m[2])
			p.r.Name = m[3]
		}
		each = append(each, p)
	}
	slices.SortFunc(each, func(a, b placed) int {
		if a.rule != b.rule {
			return a.rule - b.rule
		}
		if a.source != b.source {
			return a.source - b.source
		}
		return strings.Compare(fmt.Sprint(a.r.Protocol, a.r.Port, a.from), fmt.Sprint(b.r.Protocol, b.r.Port, b.from))
	})
	for i, p := range each {
		if last := len(all) - 1; i > 0 && p.rule != 1<<30 && each[i-1].rule == p.rule && all[last].Protocol == p.r.Protocol && all[last].Port == p.r.Port {
			all[last].Sources = append(all[last].Sources, p.from)
			continue
		}
		p.r.Sources = []netip.Prefix{p.from}
		all = append(all, p.r)
	}
	return all
}

// guard makes the two groups, each with all its permissions in one call, so that it has all or none.
func (w networks) guard(ctx context.Context, n *network, allow []providers.Rule) error {
	want := openings(allow)
	for _, part := range []string{nodesPart, controlPart} {
		id := ""
		if g := n.group(part); g != nil {
			id = aws.ToString(g.GroupId)
			if slices.ContainsFunc(g.IpPermissions, inward(id)) {
				continue
			}
		} else {
			var err error
			if id, err = w.p.makeGroup(ctx, groupName(n.key(), n.id+" "+part), n.vpc, n.part(part)); err != nil {
				return err
			}
		}
		in := &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &id, IpPermissions: among(part, id)}
		for _, o := range sortedOpenings(want) {
			if o.part == part {
				in.IpPermissions = append(in.IpPermissions, o.permission(want[o]))
			}
		}
		err := w.p.soon(ctx, func() error { _, err := w.p.ec2.AuthorizeSecurityGroupIngress(ctx, in); return err })
		if err != nil && !is(err, "InvalidPermission.Duplicate") {
			return err
		}
	}
	return nil
}

func sortedOpenings[V any](m map[opening]V) (all []opening) {
	for o := range m {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b opening) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return all
}

// reopen makes what is open what the rules ask for: what is missing first, what is too much last.
func (w networks) reopen(ctx context.Context, n *network, allow []providers.Rule) error {
	want := openings(allow)
	words, have := n.open()
	for _, part := range []string{nodesPart, controlPart} {
		g := n.group(part)
		if g == nil {
			continue // Create makes it
		}
		var open, shut, renamed []types.IpPermission
		for _, o := range sortedOpenings(want) {
			if o.part != part {
				continue
			}
			if was, ok := words[o]; !ok {
				open = append(open, o.permission(want[o]))
			} else if was != want[o] {
				renamed = append(renamed, o.permission(want[o]))
			}
		}
		for _, o := range sortedOpenings(have) {
			if _, ok := want[o]; !ok && o.part == part {
				shut = append(shut, have[o])
			}
		}
		if len(open) > 0 {
			if _, err := w.p.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: g.GroupId, IpPermissions: open}); err != nil && !is(err, "InvalidPermission.Duplicate") {
				return err
			}
		}
		if len(renamed) > 0 {
			if _, err := w.p.ec2.UpdateSecurityGroupRuleDescriptionsIngress(ctx, &ec2.UpdateSecurityGroupRuleDescriptionsIngressInput{GroupId: g.GroupId, IpPermissions: renamed}); err != nil {
				return err
			}
		}
		if len(shut) > 0 {
			if _, err := w.p.ec2.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: g.GroupId, IpPermissions: shut}); err != nil && !is(err, "InvalidPermission.NotFound") {
				return err
			}
		}
	}
	return nil
}

// check returns why there can be no such network.
func (w networks) check(s providers.NetworkSpec) error {
	if err := s.Key().Validate(0); err != nil {
		return err
	}
	if s.CIDR != (netip.Prefix{}) && (!s.CIDR.IsValid() || s.CIDR != s.CIDR.Masked() || !s.CIDR.Addr().Is4() || s.CIDR.Bits() < 16 || s.CIDR.Bits() > 24) {
		return fail(providers.Invalid, "range %s: it must be the first address of an IPv4 range from /16 to /24", s.CIDR)
	}
	for _, z := range s.Zones {
		if !slices.Contains(w.p.Caps().Zones, z) {
			return fail(providers.Invalid, "zone %q: region %s has %s", z, w.p.o.Region, strings.Join(w.p.Caps().Zones, ", "))
		}
	}
	seen := map[opening]string{}
	for _, r := range s.Allow {
		switch {
		case r.Protocol != "tcp" && r.Protocol != "udp":
			return fail(providers.Invalid, "rule %q: protocol %q is neither tcp nor udp", r.Name, r.Protocol)
		case r.Port < 1 || r.Port > 65535:
			return fail(providers.Invalid, "rule %q: port %d is not from 1 to 65535", r.Name, r.Port)
		case len(r.Sources) == 0:
			return fail(providers.Invalid, "rule %q lets nobody in", r.Name)
		case len(r.Name) > 200 || !regexp.MustCompile(`^[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]*$`).MatchString(r.Name):
			return fail(providers.Invalid, "rule %q: AWS does not have the name's letters in a description", r.Name)
		}
		for _, c := range r.Sources {
			o := opening{partOf(r), r.Protocol, r.Port, c}
			if other, twice := seen[o]; twice || c != c.Masked() {
				return fail(providers.Invalid, "rule %q: source %s is there twice (%s) or is not the first address of a range", r.Name, c, other)
			}
			seen[o] = r.Name
		}
	}
	return checkTags(s.Tags)
}
