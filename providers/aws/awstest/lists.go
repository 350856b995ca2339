package awstest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// A kind is what the proxy knows of one kind of things.
type kind struct {
	create, describe string
	made             []string // in the answer to create: where the thing is
	list             []string // in the answer to describe: where the things are
	id               string   // of a thing: its own ID
	missing          string   // code for an ID that there is not
	state            []string // of a thing: where its state is
	coming, going    string   // states on the way in and out
	remove           string   // the action that it goes with
	removed          string   // the parameter of remove
}

// kinds are the things that can be late, slow and split into pages.
func kinds() []kind {
	return []kind{
		{create: "CreateVpc", describe: "DescribeVpcs", made: []string{"vpc"}, list: []string{"vpcSet"}, id: "vpcId", missing: "InvalidVpcID.NotFound"},
		{create: "CreateSubnet", describe: "DescribeSubnets", made: []string{"subnet"}, list: []string{"subnetSet"}, id: "subnetId", missing: "InvalidSubnetID.NotFound"},
		{create: "CreateInternetGateway", describe: "DescribeInternetGateways", made: []string{"internetGateway"}, list: []string{"internetGatewaySet"}, id: "internetGatewayId", missing: "InvalidInternetGatewayID.NotFound"},
		{create: "CreateRouteTable", describe: "DescribeRouteTables", made: []string{"routeTable"}, list: []string{"routeTableSet"}, id: "routeTableId", missing: "InvalidRouteTableID.NotFound"},
		{create: "CreateSecurityGroup", describe: "DescribeSecurityGroups", list: []string{"securityGroupInfo"}, id: "groupId", missing: "InvalidGroup.NotFound"},
		{create: "AllocateAddress", describe: "DescribeAddresses", list: []string{"addressesSet"}, id: "allocationId", missing: "InvalidAllocationID.NotFound"},
		{create: "CreateNatGateway", describe: "DescribeNatGateways", made: []string{"natGateway"}, list: []string{"natGatewaySet"}, id: "natGatewayId", missing: "NatGatewayNotFound",
			state: []string{"state"}, coming: "pending", going: "deleting", remove: "DeleteNatGateway", removed: "NatGatewayId"},
		{create: "RunInstances", describe: "DescribeInstances", made: []string{"instancesSet", "item"}, list: []string{"reservationSet"}, id: "instanceId", missing: "InvalidInstanceID.NotFound",
			state: []string{"instanceState", "name"}, coming: "pending", going: "shutting-down", remove: "TerminateInstances", removed: "InstanceId.1"},
		{create: "CreateVolume", describe: "DescribeVolumes", list: []string{"volumeSet"}, id: "volumeId", missing: "InvalidVolume.NotFound",
			state: []string{"status"}, coming: "creating"},
		{create: "CreateSnapshot", describe: "DescribeSnapshots", list: []string{"snapshotSet"}, id: "snapshotId", missing: "InvalidSnapshot.NotFound",
			state: []string{"status"}, coming: "pending"},
		{describe: "DescribeImages", list: []string{"imagesSet"}},
		{describe: "DescribeInstanceTypes", list: []string{"instanceTypeSet"}},
		{describe: "DescribeInstanceTypeOfferings", list: []string{"instanceTypeOfferingSet"}},
		{describe: "DescribeNetworkInterfaces", list: []string{"networkInterfaceSet"}},
		{create: "CreateLoadBalancer", describe: "DescribeLoadBalancers", made: []string{"CreateLoadBalancerResult", "LoadBalancers", "member"}, list: []string{"DescribeLoadBalancersResult", "LoadBalancers"}, id: "LoadBalancerArn",
			state: []string{"State", "Code"}, coming: "provisioning"},
		{create: "CreateTargetGroup", describe: "DescribeTargetGroups", list: []string{"DescribeTargetGroupsResult", "TargetGroups"}},
		{create: "CreateListener", describe: "DescribeListeners", list: []string{"DescribeListenersResult", "Listeners"}},
	}
}

// A state is what a thing still shows on its way to another.
type state struct {
	shown string
	left  int // answers
}

// note takes note of what a request has made or is taking away.
func (c *Cloud) note(r *Request, t *tree) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range kinds() {
		switch {
		case k.create == r.Action && k.id != "":
			id := t.get(append(slices.Clone(k.made), k.id)...)
			if id == "" {
				continue
			}
			if c.options.Late > 0 && r.Service == "ec2" {
				c.hidden[id] = c.options.Late
			}
			c.slow(id, k.coming)
		case k.remove == r.Action && k.remove != "":
			c.slow(r.Form.Get(k.removed), k.going)
		case r.Action == "StartInstances" && k.create == "RunInstances":
			c.slow(r.Form.Get("InstanceId.1"), k.coming)
		}
	}
	switch r.Action {
	case "AddRoleToInstanceProfile":
		c.hidden[profileKey(r.Form.Get("InstanceProfileName"))] = c.options.Late
	case "DeleteLoadBalancer":
		delete(c.tokens, "CreateLoadBalancer "+nameIn(r.Form.Get("LoadBalancerArn")))
	case "DeleteTargetGroup":
		delete(c.tokens, "CreateTargetGroup "+nameIn(r.Form.Get("TargetGroupArn")))
	}
}

func (c *Cloud) slow(id, shown string) {
	if c.options.Slow > 0 && shown != "" {
		c.states[id] = state{shown, c.options.Slow}
	}
}

// nameIn takes the name out of an ARN: …:targetgroup/NAME/ID or …:loadbalancer/net/NAME/ID.
func nameIn(arn string) string {
	if parts := strings.Split(arn, "/"); len(parts) > 2 {
		return parts[len(parts)-2]
	}
	return ""
}

// premature does not find what was made just now.
func (c *Cloud) premature(r *Request) (answer, bool) {
	c.mu.Lock()
	if name := r.Form.Get("IamInstanceProfile.Name"); c.hidden[profileKey(name)] > 0 {
		c.hidden[profileKey(name)]--
		c.mu.Unlock()
		return c.refusal(r, http.StatusBadRequest, "InvalidParameterValue", "Value ("+name+") for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"), true
	}
	id := ""
	for key, values := range r.Form {
		if v := values[0]; !strings.HasPrefix(key, "Filter.") && !strings.Contains(key, "Tag") && c.hidden[v] > 0 {
			c.hidden[v]--
			id = v
		}
	}
	c.mu.Unlock()
	if id == "" {
		return answer{}, false
	}
	for _, k := range kinds() {
		if k.id != "" && strings.HasPrefix(id, prefix(k.id)) {
			return c.refusal(r, http.StatusBadRequest, k.missing, "The ID '"+id+"' does not exist"), true
		}
	}
	return answer{}, false
}

// profileKey is where it is noted how long EC2 does not know an instance profile that IAM has.
func profileKey(name string) string { return "instance profile " + name }

// prefix is how IDs of that kind begin.
func prefix(id string) string {
	return map[string]string{"vpcId": "vpc-", "subnetId": "subnet-", "internetGatewayId": "igw-", "routeTableId": "rtb-", "groupId": "sg-",
		"allocationId": "eipalloc-", "natGatewayId": "nat-", "instanceId": "i-", "volumeId": "vol-", "snapshotId": "snap-"}[id] + ""
}

// dress makes an answer what AWS's would be: without things that are too new, and with states on the way.
func (c *Cloud) dress(r *Request, t *tree) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range t.items("imagesSet") {
		i.set(made(i.get("name")), "creationDate")
	}
	for _, k := range kinds() {
		if k.describe == r.Action && k.id != "" {
			if l := t.child(k.list...); l != nil {
				l.children = slices.DeleteFunc(l.children, func(i *tree) bool { return c.tooNew(own(i, k.id)) })
			}
		}
		if k.state == nil || k.describe != r.Action && k.create != r.Action {
			continue
		}
		t.each(func(i *tree) {
			id := i.get(k.id)
			s, ok := c.states[id]
			if !ok || i.child(k.state...) == nil {
				return
			}
			if i.set(s.shown, k.state...); k.state[0] == "instanceState" {
				i.set(map[string]string{"pending": "0", "shutting-down": "32"}[s.shown], "instanceState", "code")
			}
			if k.describe != r.Action {
				return
			}
			if s.left--; s.left <= 0 {
				delete(c.states, id)
				return
			}
			c.states[id] = s
		})
	}
}

// own returns the ID of an element of a list. Instances are one deeper, in their reservation.
func own(i *tree, id string) string {
	if id == "instanceId" {
		return i.get("instancesSet", "item", id)
	}
	return i.get(id)
}

func (c *Cloud) tooNew(id string) bool {
	if c.hidden[id] <= 0 {
		return false
	}
	c.hidden[id]--
	return true
}

// paged takes the paging out of a request that lists, and returns what splits its answer.
func (c *Cloud) paged(r *Request) func(*tree) {
	c.mu.Lock()
	size := c.options.Page
	c.mu.Unlock()
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.describe == r.Action })
	if i < 0 {
		return func(*tree) {}
	}
	ask, tell := "NextToken", "nextToken"
	if r.Service == "elasticloadbalancing" {
		ask, tell = "Marker", "NextMarker"
	}
	start, _ := strconv.Atoi(strings.TrimPrefix(r.Form.Get(ask), "page-"))
	r.Form.Del(ask)
	for _, limit := range []string{"MaxResults", "PageSize"} {
		if n, err := strconv.Atoi(r.Form.Get(limit)); err == nil && (size == 0 || n < size) {
			size = n
		}
		r.Form.Del(limit)
	}
	k := kinds()[i]
	if r.Action == "DescribeAddresses" {
		size = 0 // the one list that AWS does not split
	}
	if strings.HasPrefix(r.Action, "DescribeInstanceType") && size > 0 {
		size = 100 // AWS's own, and moto makes a thousand for each page
	}
	return func(t *tree) {
		l := t.child(k.list...)
		if l == nil || size == 0 {
			return
		}
		top := t
		if len(k.list) > 1 {
			top = t.child(k.list[0])
		}
		top.children = slices.DeleteFunc(top.children, func(n *tree) bool { return n.name == tell })
		end := min(start+size, len(l.children))
		if end < len(l.children) {
			top.children = append(top.children, &tree{name: tell, text: "page-" + strconv.Itoa(end)})
		}
		l.children = l.children[min(start, end):end]
	}
}

// made is when an image was made: its name says so. moto cannot read dates of images a second time.
func made(name string) string {
	for _, part := range strings.Split(name, "-") {
		if len(part) == 8 && strings.Trim(part, "0123456789") == "" {
			return part[:4] + "-" + part[4:6] + "-" + part[6:] + "T00:00:00.000Z"
		}
	}
	return "2020-01-01T00:00:00.000Z"
}
