package gcptest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

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
