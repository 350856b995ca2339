package awstest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A rule is what must be gone, or in order, before something goes.
type rule struct {
	action, of string // the parameter that names the thing
	code       string // AWS's own
	source     string // where AWS says so
	blocked    func(l look, id string) string
}

// A look asks moto about what is there, through the requests of the same client.
type look func(service, action string, form map[string]string, list ...string) []*tree

// filter looks for EC2's things with a filter.
func (l look) filter(action, name, value string, list ...string) []*tree {
	return l("ec2", action, map[string]string{"Filter.1.Name": name, "Filter.1.Value.1": value}, list...)
}

// instances returns those that are not gone.
func (l look) instances(filter, value string) (all []*tree) {
	for _, r := range l.filter("DescribeInstances", filter, value, "reservationSet") {
		for _, i := range r.items("instancesSet") {
			if i.get("instanceState", "name") != "terminated" {
				all = append(all, i)
			}
		}
	}
	return all
}

func (l look) gateways(filter, value string) []*tree {
	all := l("ec2", "DescribeNatGateways", map[string]string{"Filter.1.Name": filter, "Filter.1.Value.1": value}, "natGatewaySet")
	return slices.DeleteFunc(all, func(g *tree) bool { return g.get("state") == "deleted" })
}

func (l look) balancers(has func(*tree) bool) []*tree {
	all := l("elasticloadbalancing", "DescribeLoadBalancers", nil, "DescribeLoadBalancersResult", "LoadBalancers")
	return slices.DeleteFunc(all, func(b *tree) bool { return !has(b) })
}

// mentions says whether a text is anywhere in the tree.
func mentions(t *tree, text string) (found bool) {
	t.each(func(n *tree) { found = found || strings.TrimSpace(n.text) == text })
	return found
}

func first(what string, all []*tree) string {
	if len(all) == 0 {
		return ""
	}
	return what
}

const ec2Errors = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"

// Rules are the order in which things go, written from AWS's documentation.
func rules() []rule {
	in := func(checks ...string) string {
		for _, c := range checks {
			if c != "" {
				return c
			}
		}
		return ""
	}
	return []rule{
		{"DeleteVpc", "VpcId", "DependencyViolation", "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpc.html", func(l look, id string) string {
			groups := slices.DeleteFunc(l.filter("DescribeSecurityGroups", "vpc-id", id, "securityGroupInfo"), func(g *tree) bool { return g.get("groupName") == "default" })
			tables := slices.DeleteFunc(l.filter("DescribeRouteTables", "vpc-id", id, "routeTableSet"), isMain)
			return in(first("subnets", l.filter("DescribeSubnets", "vpc-id", id, "subnetSet")),
				first("an internet gateway", l.filter("DescribeInternetGateways", "attachment.vpc-id", id, "internetGatewaySet")),
				first("security groups", groups), first("route tables", tables), first("NAT gateways", l.gateways("vpc-id", id)))
		}},
		{"DeleteSubnet", "SubnetId", "DependencyViolation", "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSubnet.html", func(l look, id string) string {
			return in(first("instances", l.instances("subnet-id", id)), first("NAT gateways", l.gateways("subnet-id", id)),
				first("load balancers", l.balancers(func(b *tree) bool { return mentions(b, id) })))
		}},
		{"DeleteSecurityGroup", "GroupId", "DependencyViolation", "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html", func(l look, id string) string {
			others := slices.DeleteFunc(l("ec2", "DescribeSecurityGroups", nil, "securityGroupInfo"), func(g *tree) bool {
				return g.get("groupId") == id || !mentions(g, id)
			})
			return in(first("instances", slices.DeleteFunc(l.instances("instance-state-name", "running"), func(i *tree) bool { return !mentions(i, id) })),
				first("rules of other groups", others), first("load balancers", l.balancers(func(b *tree) bool { return mentions(b, id) })))
		}},
		{"DetachInternetGateway", "VpcId", "DependencyViolation", "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachInternetGateway.html", func(l look, id string) string {
			public := slices.DeleteFunc(l.instances("vpc-id", id), func(i *tree) bool { return i.get("ipAddress") == "" })
			return in(first("mapped public addresses", public), first("NAT gateways", l.gateways("vpc-id", id)),
				first("internet-facing load balancers", l.balancers(func(b *tree) bool { return b.get("VpcId") == id && b.get("Scheme") == "internet-facing" })))
		}},
		{"DeleteInternetGateway", "InternetGatewayId", "DependencyViolation", "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteInternetGateway.html", func(l look, id string) string {
			gs := l("ec2", "DescribeInternetGateways", map[string]string{"InternetGatewayId.1": id}, "internetGatewaySet")
			return first("an attachment to a VPC", slices.DeleteFunc(gs, func(g *tree) bool { return len(g.items("attachmentSet")) == 0 }))
		}},
		{"DeleteRouteTable", "RouteTableId", "DependencyViolation", "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteRouteTable.html", func(l look, id string) string {
			ts := l("ec2", "DescribeRouteTables", map[string]string{"RouteTableId.1": id}, "routeTableSet")
			return first("associations", slices.DeleteFunc(ts, func(t *tree) bool { return len(t.items("associationSet")) == 0 }))
		}},
		{"ReleaseAddress", "AllocationId", "InvalidIPAddress.InUse", ec2Errors, func(l look, id string) string {
			as := l("ec2", "DescribeAddresses", map[string]string{"AllocationId.1": id}, "addressesSet")
			gs := slices.DeleteFunc(l("ec2", "DescribeNatGateways", nil, "natGatewaySet"), func(g *tree) bool { return g.get("state") == "deleted" || !mentions(g, id) })
			as = slices.DeleteFunc(as, func(a *tree) bool { return a.get("instanceId") == "" })
			return in(first("an instance", as), first("a NAT gateway", gs))
		}},
		{"DeleteVolume", "VolumeId", "VolumeInUse", ec2Errors, func(l look, id string) string {
			vs := l("ec2", "DescribeVolumes", map[string]string{"VolumeId.1": id}, "volumeSet")
			return first("an attachment", slices.DeleteFunc(vs, func(v *tree) bool { return len(v.items("attachmentSet")) == 0 }))
		}},
		{"AttachVolume", "VolumeId", "VolumeInUse", ec2Errors, func(l look, id string) string {
			vs := l("ec2", "DescribeVolumes", map[string]string{"VolumeId.1": id}, "volumeSet")
			return first("an attachment", slices.DeleteFunc(vs, func(v *tree) bool { return len(v.items("attachmentSet")) == 0 }))
		}},
		{"DetachVolume", "VolumeId", "IncorrectState", ec2Errors, func(l look, id string) string {
			vs := l("ec2", "DescribeVolumes", map[string]string{"VolumeId.1": id}, "volumeSet")
			return first("no attachment", slices.DeleteFunc(vs, func(v *tree) bool { return len(v.items("attachmentSet")) > 0 }))
		}},
		{"DeleteTargetGroup", "TargetGroupArn", "ResourceInUse", "https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteTargetGroup.html", func(l look, id string) string {
			users := l.balancers(func(b *tree) bool {
				return slices.ContainsFunc(l("elasticloadbalancing", "DescribeListeners", map[string]string{"LoadBalancerArn": b.get("LoadBalancerArn")}, "DescribeListenersResult", "Listeners"),
					func(n *tree) bool { return mentions(n, id) })
			})
			return first("a listener", users)
		}},
	}
}

func isMain(t *tree) bool {
	return slices.ContainsFunc(t.items("associationSet"), func(a *tree) bool { return a.get("main") == "true" })
}

// looking returns a look in the region of a request.
func (c *Cloud) looking(req *http.Request) look {
	return func(service, action string, form map[string]string, list ...string) []*tree {
		version := map[string]string{"ec2": "2016-11-15", "elasticloadbalancing": "2015-12-01"}[service]
		values := url.Values{"Action": {action}, "Version": {version}}
		for k, v := range form {
			values.Set(k, v)
		}
		region := strings.Split(credential(req.Header.Get("Authorization"))+"///", "/")[2]
		as := req.Clone(req.Context())
		as.Header.Set("Authorization", c.authority(region+"/"+service))
		t, err := parse(c.forward(as, []byte(values.Encode())).body)
		if err != nil {
			return nil
		}
		return t.items(list...)
	}
}

// follow does what AWS does on its own with a request that had success: a subnet takes its ties to route tables along.
func (c *Cloud) follow(req *http.Request, r *Request) {
	if r.Action != "DeleteSubnet" {
		return
	}
	l, subnet := c.looking(req), r.Form.Get("SubnetId")
	for _, t := range l.filter("DescribeRouteTables", "association.subnet-id", subnet, "routeTableSet") {
		for _, a := range t.items("associationSet") {
			if a.get("subnetId") == subnet {
				l("ec2", "DisassociateRouteTable", map[string]string{"AssociationId": a.get("routeTableAssociationId")})
			}
		}
	}
}

// disorderly refuses what something else stands on.
func (c *Cloud) disorderly(req *http.Request, r *Request) (answer, bool) {
	l := c.looking(req)
	for _, d := range rules() {
		if id := r.Form.Get(d.of); d.action == r.Action && id != "" {
			if by := d.blocked(l, id); by != "" {
				return c.refusal(r, http.StatusBadRequest, d.code, "resource "+id+" has a dependent object: "+by), true
			}
		}
	}
	return answer{}, false
}
