package gcptest

import (
	"fmt"
	"net/netip"
	"strconv"
)

// dress completes a new thing, and returns what happens when it is made.
func (c *Cloud) dress(r *call, t *thing) (then func(), no *refusal) {
	b := t.body
	switch t.kind {
	case "instances":
		return c.boot(t)
	case "disks":
		return c.dressDisk(b)
	case "snapshots":
		from := c.find(b["sourceDisk"].(string), "global")
		b["sourceDiskId"], b["diskSizeGb"], b["status"] = from.body["id"], from.body["sizeGb"], "CREATING"
		return func() { b["status"] = "READY" }, nil
	case "networks":
		return func() { c.wayOut(t) }, nil
	case "subnetworks":
		return nil, c.dressSubnetwork(b)
	case "firewalls":
		fill(b, "priority", 1000)
		fill(b, "direction", "INGRESS")
		if b["sourceRanges"] == nil && b["sourceTags"] == nil && b["sourceServiceAccounts"] == nil {
			b["sourceRanges"] = []any{"0.0.0.0/0"} // as Google does
		}
	case "addresses":
		c.dressAddress(t)
	case "backendServices":
		b["fingerprint"] = fingerprint(b["backends"])
	case "forwardingRules":
		return nil, c.dressRule(t)
	case "networkEndpointGroups":
		b["size"] = 0
	}
	return nil, nil
}

// fill sets a field that was left out.
func fill(b object, field string, v any) {
	if b[field] == nil {
		b[field] = v
	}
}

// dressDisk completes a disk, which may be a copy.
func (c *Cloud) dressDisk(b object) (then func(), no *refusal) {
	fill(b, "sizeGb", "10")
	b["status"] = "CREATING"
	if s, _ := b["sourceSnapshot"].(string); s != "" {
		from := c.find(s, "global")
		b["sourceSnapshotId"] = from.body["id"]
		if size(b) < size(object{"sizeGb": from.body["diskSizeGb"]}) {
			return nil, refuse(400, "invalid", "Invalid value for field 'resource.sizeGb': '%v'. Requested disk size cannot be smaller than the snapshot size (%v GB)", b["sizeGb"], from.body["diskSizeGb"])
		}
	}
	return func() { b["status"] = "READY" }, nil
}

// dressSubnetwork refuses a range that overlaps another of the network.
func (c *Cloud) dressSubnetwork(b object) *refusal {
	p, err := netip.ParsePrefix(fmt.Sprint(b["ipCidrRange"]))
	if err != nil || p != p.Masked() {
		return refuse(400, "invalid", "Invalid value for field 'resource.ipCidrRange': '%v'. Range must be in canonical form.", b["ipCidrRange"])
	}
	for _, o := range c.things {
		if q, err := netip.ParsePrefix(fmt.Sprint(o.body["ipCidrRange"])); err == nil && o.kind == "subnetworks" && o.body["network"] == b["network"] && q.Overlaps(p) {
			return refuse(400, "invalid", "Invalid IPCidrRange: %s conflicts with existing subnetwork '%s' in region '%s'.", p, o.name, Region)
		}
	}
	b["gatewayAddress"], b["fingerprint"] = p.Addr().Next().String(), fingerprint(b["name"])
	return nil
}

// dressAddress chooses an address: of the subnetwork, or of the internet.
func (c *Cloud) dressAddress(t *thing) {
	fill(t.body, "addressType", "EXTERNAL")
	t.body["status"] = "RESERVED"
	if sub, _ := t.body["subnetwork"].(string); sub != "" {
		fill(t.body, "address", c.free(c.find(sub, t.place)))
		return
	}
	c.host++
	t.body["address"] = fmt.Sprintf("203.0.%d.%d", 113+c.host/250, 1+c.host%250)
}

// dressRule gives a forwarding rule its address, which is in use from then on.
func (c *Cloud) dressRule(t *thing) *refusal {
	b := t.body
	a := c.find(fmt.Sprint(b["IPAddress"]), t.place)
	if a == nil {
		return refuse(400, "invalid", "Invalid value for field 'resource.IPAddress': '%v'. It is no address of this region.", b["IPAddress"])
	}
	if s := c.find(fmt.Sprint(b["backendService"]), t.place); s.body["loadBalancingScheme"] != b["loadBalancingScheme"] || s.body["protocol"] == "UNSPECIFIED" && b["IPProtocol"] != "L3_DEFAULT" {
		return refuse(400, "invalid", "Invalid value for field 'resource.backendService': scheme or protocol do not go with those of the forwarding rule.")
	}
	b["IPAddress"], a.body["status"], a.body["users"] = a.body["address"], "IN_USE", []any{b["selfLink"]}
	b["fingerprint"] = fingerprint(b["name"])
	return nil
}

// wayOut gives a new network the route to the internet that Google gives it.
func (c *Cloud) wayOut(network *thing) {
	r := &thing{place: "global", kind: "routes", name: "default-route-" + network.name, ready: true}
	r.body = object{"kind": "compute#route", "id": fmt.Sprint(c.number()), "name": r.name, "network": network.body["selfLink"], "destRange": "0.0.0.0/0", "priority": 1000,
		"nextHopGateway": base + "global/gateways/default-internet-gateway", "selfLink": base + r.path(), "creationTimestamp": stamp()}
	c.things[r.path()] = r
}

func size(b object) int {
	n, _ := strconv.Atoi(fmt.Sprint(b["sizeGb"]))
	return n
}
