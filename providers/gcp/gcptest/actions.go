package gcptest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// changes does what a request asks for, and answers with the operation.
func (c *Cloud) changes(r *call) (object, *refusal) {
	if r.verb == "insert" {
		return c.insert(r)
	}
	t := c.things[r.place()+"/"+r.kind()+"/"+r.name()]
	if t == nil {
		return nil, missing(r.place() + "/" + r.kind() + "/" + r.name())
	}
	if !t.ready || t.going {
		return nil, refuse(400, "resourceNotReady", "The resource 'projects/%s/%s' is not ready", Project, t.path())
	}
	var no *refusal
	switch r.verb {
	case "delete":
		return c.remove(r, t)
	case "setLabels":
		no = c.relabel(r, t)
	case "setMetadata":
		no = renew(t, r.body, "metadata")
	case "setTags":
		no = renew(t, r.body, "tags")
	case "patch", "update":
		no = c.patch(r, t)
	case "resize":
		no = c.resize(r, t)
	case "attachDisk":
		no = c.attach(r, t)
	case "detachDisk":
		no = c.detach(r, t)
	case "attachNetworkEndpoints", "detachNetworkEndpoints":
		no = c.member(r, t)
	case "start", "stop", "resume":
		return c.power(r, t)
	default:
		no = refuse(501, "notImplemented", "%s is not part of this cloud", r.id)
	}
	if no != nil {
		return nil, no
	}
	return c.begin(r, t.place, t.path(), t.body["id"], nil, nil), nil
}

// insert makes a thing.
func (c *Cloud) insert(r *call) (object, *refusal) {
	body := r.body
	name, _ := body["name"].(string)
	if name == "" {
		return nil, refuse(400, "required", "Required field 'resource.name' not specified")
	}
	if z := r.vars["zone"]; z != "" && c.things["global/zones/"+z] == nil {
		return nil, refuse(400, "invalid", "Invalid value for field 'zone': '%s'. Unknown zone.", z)
	}
	t := &thing{place: r.place(), kind: r.kind(), name: name, body: body, hidden: c.options.Late}
	if c.things[t.path()] != nil {
		return nil, refuse(409, "alreadyExists", "The resource 'projects/%s/%s' already exists", Project, t.path())
	}
	for _, f := range references(t) {
		if no := c.resolve(t, f); no != nil {
			return nil, no
		}
	}
	if n, limited := c.limits[t.kind]; limited && c.countOf(t.kind) >= n {
		return nil, refuse(403, "quotaExceeded", "Quota '%s' exceeded.  Limit: %d.0 in region %s.", strings.ToUpper(t.kind), n, Region)
	}
	if err := tooMany(body); err != nil {
		return nil, err
	}
	body["kind"], body["id"], body["creationTimestamp"] = "compute#"+strings.TrimSuffix(r.kind(), "s"), fmt.Sprint(c.number()), stamp()
	body["selfLink"] = base + t.path()
	if z := r.vars["zone"]; z != "" {
		body["zone"] = base + t.place
	} else if r.vars["region"] != "" {
		body["region"] = base + t.place
	}
	if _, labelled := c.api.Schemas[r.Request].Properties["labelFingerprint"]; labelled {
		body["labelFingerprint"] = fingerprint(body["labels"])
	}
	then, no := c.dress(r, t)
	if no != nil {
		return nil, no
	}
	if no := c.api.check("answer", c.api.Schemas[r.Request], copied(body), false); no != nil {
		panic("the cloud answers what is not in the document: " + no.message)
	}
	c.things[t.path()] = t
	undo := func() { c.vanish(t) }
	return c.begin(r, t.place, t.path(), body["id"], func() {
		t.ready = true
		if then != nil {
			then()
		}
	}, undo), nil
}

// copied is the body as it travels.
func copied(body object) (o object) {
	text, _ := json.Marshal(body)
	_ = json.Unmarshal(text, &o)
	return o
}

func (c *Cloud) countOf(kind string) (n int) {
	for _, t := range c.things {
		if t.kind == kind {
			n++
		}
	}
	return n
}

// tooMany refuses what has more labels or description than Google takes.
func tooMany(body object) *refusal {
	labels, _ := body["labels"].(object)
	if len(labels) > 64 {
		return refuse(400, "invalid", "Invalid value for field 'resource.labels': ''. Labels cannot be more than 64.")
	}
	for k, v := range labels {
		s, _ := v.(string)
		if !labelKey.MatchString(k) || !labelValue.MatchString(s) {
			return refuse(400, "invalid", "Invalid value for field 'resource.labels': ''. Label '%s' with value '%s' violates format constraints.", k, s)
		}
	}
	if d, _ := body["description"].(string); len(d) > 2048 {
		return refuse(400, "invalid", "Invalid value for field 'resource.description': Value is too long. Maximum allowed length is 2048.")
	}
	return nil
}

// dress completes a new thing, and returns what happens when it is made.
func (c *Cloud) dress(r *call, t *thing) (then func(), no *refusal) {
	b := t.body
	set := func(k string, v any) {
		if b[k] == nil {
			b[k] = v
		}
	}
	switch t.kind {
	case "instances":
		return c.boot(t)
	case "disks":
		set("sizeGb", "10")
		b["status"] = "CREATING"
		if s, _ := b["sourceSnapshot"].(string); s != "" {
			from := c.find(s, "global")
			b["sourceSnapshotId"] = from.body["id"]
			if size(b) < size(object{"sizeGb": from.body["diskSizeGb"]}) {
				return nil, refuse(400, "invalid", "Invalid value for field 'resource.sizeGb': '%v'. Requested disk size cannot be smaller than the snapshot size (%v GB)", b["sizeGb"], from.body["diskSizeGb"])
			}
		}
		return func() { b["status"] = "READY" }, nil
	case "snapshots":
		from := c.find(b["sourceDisk"].(string), "global")
		b["sourceDiskId"], b["diskSizeGb"], b["status"] = from.body["id"], from.body["sizeGb"], "CREATING"
		return func() { b["status"] = "READY" }, nil
	case "networks":
		return func() { c.wayOut(t) }, nil
	case "subnetworks":
		p, err := netip.ParsePrefix(fmt.Sprint(b["ipCidrRange"]))
		if err != nil || p != p.Masked() {
			return nil, refuse(400, "invalid", "Invalid value for field 'resource.ipCidrRange': '%v'. Range must be in canonical form.", b["ipCidrRange"])
		}
		for _, o := range c.things {
			if q, err := netip.ParsePrefix(fmt.Sprint(o.body["ipCidrRange"])); err == nil && o.kind == "subnetworks" && o.body["network"] == b["network"] && q.Overlaps(p) {
				return nil, refuse(400, "invalid", "Invalid IPCidrRange: %s conflicts with existing subnetwork '%s' in region '%s'.", p, o.name, Region)
			}
		}
		b["gatewayAddress"], b["fingerprint"] = p.Addr().Next().String(), fingerprint(b["name"])
	case "firewalls":
		set("priority", 1000)
		set("direction", "INGRESS")
		if b["sourceRanges"] == nil && b["sourceTags"] == nil && b["sourceServiceAccounts"] == nil {
			b["sourceRanges"] = []any{"0.0.0.0/0"} // as Google does
		}
	case "addresses":
		set("addressType", "EXTERNAL")
		b["status"] = "RESERVED"
		if sub, _ := b["subnetwork"].(string); sub != "" {
			set("address", c.free(c.find(sub, t.place)))
		} else {
			c.host++
			b["address"] = fmt.Sprintf("203.0.%d.%d", 113+c.host/250, 1+c.host%250)
		}
	case "backendServices":
		b["fingerprint"] = fingerprint(b["backends"])
	case "forwardingRules":
		a := c.find(fmt.Sprint(b["IPAddress"]), t.place)
		if a == nil {
			return nil, refuse(400, "invalid", "Invalid value for field 'resource.IPAddress': '%v'. It is no address of this region.", b["IPAddress"])
		}
		if s := c.find(fmt.Sprint(b["backendService"]), t.place); s.body["loadBalancingScheme"] != b["loadBalancingScheme"] || s.body["protocol"] == "UNSPECIFIED" && b["IPProtocol"] != "L3_DEFAULT" {
			return nil, refuse(400, "invalid", "Invalid value for field 'resource.backendService': scheme or protocol do not go with those of the forwarding rule.")
		}
		b["IPAddress"], a.body["status"], a.body["users"] = a.body["address"], "IN_USE", []any{b["selfLink"]}
		b["fingerprint"] = fingerprint(b["name"])
	case "networkEndpointGroups":
		b["size"] = 0
	}
	return nil, nil
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

// boot completes a new instance and makes its disk.
func (c *Cloud) boot(t *thing) (then func(), no *refusal) {
	b := t.body
	nics, _ := b["networkInterfaces"].([]any)
	disks, _ := b["disks"].([]any)
	if len(nics) == 0 || len(disks) == 0 {
		return nil, refuse(400, "invalid", "Invalid value for field 'resource.networkInterfaces': ''. At least one network interface and one disk are required.")
	}
	nic := nics[0].(object)
	sub := c.find(fmt.Sprint(nic["subnetwork"]), "regions/"+regionOf(t.place))
	if sub == nil { // a client that names the network alone
		return nil, refuse(400, "invalid", "Invalid value for field 'resource.networkInterfaces[0].subnetwork': '%v'. The referenced subnetwork resource cannot be found.", nic["subnetwork"])
	}
	nic["subnetwork"], nic["network"], nic["name"], nic["networkIP"] = sub.body["selfLink"], sub.body["network"], "nic0", c.free(sub)
	boot := disks[0].(object)
	init, _ := boot["initializeParams"].(object)
	image := c.find(fmt.Sprint(init["sourceImage"]), "global")
	kind := c.find(fmt.Sprint(b["machineType"]), t.place)
	if image.body["architecture"] != nil && kind.body["architecture"] != image.body["architecture"] {
		return nil, refuse(400, "invalid", "Invalid value for field 'resource.disks[0].initializeParams.sourceImage': the architecture of image and machine type differ.")
	}
	b["machineType"] = kind.body["selfLink"]
	name := t.name
	if c.things[t.place+"/disks/"+name] != nil {
		return nil, refuse(409, "alreadyExists", "The resource 'projects/%s/%s/disks/%s' already exists", Project, t.place, name)
	}
	gb := init["diskSizeGb"]
	if gb == nil {
		gb = image.body["diskSizeGb"]
	}
	d := &thing{place: t.place, kind: "disks", name: name, ready: true, body: object{"kind": "compute#disk", "id": fmt.Sprint(c.number()), "name": name, "zone": base + t.place, "status": "READY",
		"selfLink": base + t.place + "/disks/" + name, "sizeGb": fmt.Sprint(gb), "type": c.find(fmt.Sprint(init["diskType"]), t.place).body["selfLink"], "labels": init["labels"],
		"labelFingerprint": fingerprint(init["labels"]), "sourceImage": image.body["selfLink"], "users": []any{base + t.path()}, "creationTimestamp": stamp()}}
	c.things[d.path()] = d
	delete(boot, "initializeParams")
	boot["source"], boot["deviceName"], boot["index"], boot["diskSizeGb"], boot["type"], boot["mode"] = d.body["selfLink"], "persistent-disk-0", 0.0, fmt.Sprint(gb), "PERSISTENT", "READ_WRITE"
	for _, k := range []string{"metadata", "tags"} {
		m, _ := b[k].(object)
		if m == nil {
			m = object{}
		}
		m["fingerprint"] = fingerprint(m["items"])
		b[k] = m
	}
	b["status"], b["fingerprint"] = "PROVISIONING", fingerprint(b["name"])
	return func() { c.run(t) }, nil
}

// run makes an instance a running one.
func (c *Cloud) run(t *thing) {
	t.body["status"], t.body["lastStartTimestamp"] = "RUNNING", stamp()
	for _, n := range t.body["networkInterfaces"].([]any) {
		configs, _ := n.(object)["accessConfigs"].([]any)
		for _, a := range configs {
			c.host++
			a.(object)["natIP"] = fmt.Sprintf("198.51.%d.%d", 100+c.host/250, 1+c.host%250)
		}
	}
}

func regionOf(place string) string {
	z := place[strings.LastIndex(place, "/")+1:]
	return z[:strings.LastIndex(z, "-")]
}

// free returns an address of the subnetwork that nobody has.
func (c *Cloud) free(sub *thing) string {
	p := netip.MustParsePrefix(sub.body["ipCidrRange"].(string))
	used := map[string]bool{}
	for _, t := range c.things {
		used[c.addressOf(t)] = true
		if t.kind == "addresses" {
			used[fmt.Sprint(t.body["address"])] = true
		}
	}
	a := p.Addr().Next().Next() // Google keeps the first two
	for used[a.String()] {
		a = a.Next()
	}
	return a.String()
}

func (c *Cloud) addressOf(t *thing) string {
	if t == nil || t.kind != "instances" {
		return ""
	}
	nics, _ := t.body["networkInterfaces"].([]any)
	return fmt.Sprint(nics[0].(object)["networkIP"])
}

// relabel sets labels, if the caller knows those that there are.
func (c *Cloud) relabel(r *call, t *thing) *refusal {
	if r.body["labelFingerprint"] != t.body["labelFingerprint"] {
		return refuse(412, "conditionNotMet", "Labels fingerprint either invalid or resource labels have changed")
	}
	if no := tooMany(r.body); no != nil {
		return no
	}
	t.body["labels"] = r.body["labels"]
	t.body["labelFingerprint"] = fingerprint(r.body["labels"])
	return nil
}

// renew sets metadata or tags, if the caller knows those that there are.
func renew(t *thing, body object, key string) *refusal {
	have := t.body[key].(object)
	if body["fingerprint"] != have["fingerprint"] {
		return refuse(412, "conditionNotMet", "Supplied fingerprint does not match current %s fingerprint.", key)
	}
	items := body["items"]
	t.body[key] = object{"items": items, "fingerprint": fingerprint(items)}
	return nil
}

// patch sets the fields that the body has.
func (c *Cloud) patch(r *call, t *thing) *refusal {
	if f := t.body["fingerprint"]; f != nil && r.body["fingerprint"] != f {
		return refuse(412, "conditionNotMet", "Invalid fingerprint.")
	}
	next := &thing{place: t.place, kind: t.kind, name: t.name, body: maps.Clone(t.body)}
	for k, v := range r.body {
		next.body[k] = v
	}
	if next.body["name"] != t.body["name"] {
		return refuse(400, "invalid", "Invalid value for field 'resource.name': '%v'. Name cannot be changed.", next.body["name"])
	}
	if t.kind == "healthChecks" && r.verb == "update" {
		for _, k := range []string{"tcpHealthCheck", "httpHealthCheck"} {
			if r.body[k] == nil {
				delete(next.body, k)
			}
		}
	}
	for _, f := range references(next) {
		if no := c.resolve(next, f); no != nil {
			return no
		}
	}
	if no := tooMany(next.body); no != nil {
		return no
	}
	if t.kind == "backendServices" {
		next.body["fingerprint"] = fingerprint(next.body["backends"])
	}
	t.body = next.body
	return nil
}

// resize grows a disk.
func (c *Cloud) resize(r *call, t *thing) *refusal {
	if size(r.body) <= size(t.body) {
		return refuse(400, "invalid", "Invalid value for field 'sizeGb': '%v'. New disk size '%v' must be larger than existing size '%v'.", r.body["sizeGb"], r.body["sizeGb"], t.body["sizeGb"])
	}
	t.body["sizeGb"] = fmt.Sprint(r.body["sizeGb"])
	return nil
}

// attach gives a disk to an instance.
func (c *Cloud) attach(r *call, t *thing) *refusal {
	d := c.find(fmt.Sprint(r.body["source"]), t.place)
	switch {
	case d == nil || d.place != t.place:
		return refuse(400, "invalid", "Invalid value for field 'disk.source': '%v'. The referenced disk resource cannot be found.", r.body["source"])
	case !d.ready:
		return refuse(400, "resourceNotReady", "The resource 'projects/%s/%s' is not ready", Project, d.path())
	case len(users(d)) > 0:
		return inUse(d, fmt.Sprint(users(d)[0]))
	}
	disks, _ := t.body["disks"].([]any)
	a := maps.Clone(r.body)
	a["source"], a["index"], a["mode"], a["type"], a["diskSizeGb"] = d.body["selfLink"], float64(len(disks)), "READ_WRITE", "PERSISTENT", d.body["sizeGb"]
	if a["deviceName"] == nil {
		a["deviceName"] = fmt.Sprintf("persistent-disk-%d", len(disks))
	}
	t.body["disks"] = append(slices.Clone(disks), a)
	d.body["users"] = []any{t.body["selfLink"]}
	return nil
}

func users(t *thing) []any {
	u, _ := t.body["users"].([]any)
	return u
}

// detach takes a disk from an instance.
func (c *Cloud) detach(r *call, t *thing) *refusal {
	disks, _ := t.body["disks"].([]any)
	for i, d := range disks {
		if d.(object)["deviceName"] == r.query.Get("deviceName") {
			t.body["disks"] = slices.Delete(slices.Clone(disks), i, i+1)
			if disk := c.find(fmt.Sprint(d.(object)["source"]), t.place); disk != nil {
				delete(disk.body, "users")
			}
			return nil
		}
	}
	return refuse(400, "invalid", "No attached disk found with device name '%s'", r.query.Get("deviceName"))
}

// member puts instances into a group, or takes them out.
func (c *Cloud) member(r *call, t *thing) *refusal {
	all, _ := r.body["networkEndpoints"].([]any)
	for _, e := range all {
		i := c.find(fmt.Sprint(e.(object)["instance"]), t.place)
		if i == nil || i.place != t.place {
			return refuse(400, "invalid", "Invalid value for field 'networkEndpoint.instance': '%v'. The referenced instance resource cannot be found.", e.(object)["instance"])
		}
		there := slices.Contains(t.ends, i.path())
		if r.verb == "attachNetworkEndpoints" {
			if !there {
				t.ends = append(t.ends, i.path())
			}
		} else if !there {
			return refuse(400, "invalid", "The network endpoint '%v' is not in the group.", e.(object)["instance"])
		} else {
			t.ends = slices.DeleteFunc(slices.Clone(t.ends), func(x string) bool { return x == i.path() })
		}
	}
	t.body["size"] = len(t.ends)
	return nil
}

// power starts or stops an instance.
func (c *Cloud) power(r *call, t *thing) (object, *refusal) {
	end := func() { c.run(t) }
	if r.verb == "stop" {
		t.body["status"], end = "STOPPING", func() { t.body["status"] = "TERMINATED" }
	} else if t.body["status"] != "RUNNING" {
		t.body["status"] = "STAGING"
	}
	return c.begin(r, t.place, t.path(), t.body["id"], end, nil), nil
}
