package gcptest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var (
	labelKey   = regexp.MustCompile(`^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$`)
	labelValue = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$`)
)

// A reference is a field that names another thing.
type reference struct {
	field string // for messages
	from  string // where the end of a URL begins
	get   func() string
	set   func(string)
}

// references are the fields of a thing that name others, which must be there and made: from the reference of each resource,
// https://cloud.google.com/compute/docs/reference/rest/v1 (from memory, not compared yet).
func references(t *thing) (all []reference) {
	in := func(o object, name, field, from string) {
		if s, ok := o[field].(string); ok {
			all = append(all, reference{name, from, func() string { return s }, func(v string) { o[field] = v }})
		}
	}
	each := func(field string, do func(o object, at string)) {
		list, _ := t.body[field].([]any)
		for i, x := range list {
			if o, ok := x.(object); ok {
				do(o, fmt.Sprintf("resource.%s[%d].", field, i))
			}
		}
	}
	b := t.body
	switch t.kind {
	case "subnetworks", "firewalls", "routers":
		in(b, "resource.network", "network", "global")
	case "addresses":
		in(b, "resource.subnetwork", "subnetwork", t.place)
	case "instances":
		in(b, "resource.machineType", "machineType", t.place)
		each("networkInterfaces", func(o object, at string) { in(o, at+"subnetwork", "subnetwork", "regions/"+regionOf(t.place)) })
		each("disks", func(o object, at string) {
			if p, ok := o["initializeParams"].(object); ok {
				in(p, at+"initializeParams.sourceImage", "sourceImage", "global")
				in(p, at+"initializeParams.diskType", "diskType", t.place)
			}
		})
	case "disks":
		in(b, "resource.type", "type", t.place)
		in(b, "resource.sourceSnapshot", "sourceSnapshot", "global")
	case "snapshots":
		in(b, "resource.sourceDisk", "sourceDisk", "global")
	case "networkEndpointGroups":
		in(b, "resource.network", "network", "global")
		in(b, "resource.subnetwork", "subnetwork", "regions/"+regionOf(t.place))
	case "backendServices":
		in(b, "resource.network", "network", "global")
		each("backends", func(o object, at string) { in(o, at+"group", "group", t.place) })
		list, _ := b["healthChecks"].([]any)
		for i, x := range list {
			all = append(all, reference{"resource.healthChecks[0]", t.place, func() string { return fmt.Sprint(x) }, func(v string) { list[i] = v }})
		}
	case "forwardingRules":
		in(b, "resource.network", "network", "global")
		in(b, "resource.subnetwork", "subnetwork", t.place)
		in(b, "resource.backendService", "backendService", t.place)
	}
	return all
}

// resolve finds what a reference names, and writes its whole URL there.
func (c *Cloud) resolve(t *thing, f reference) *refusal {
	to := c.find(f.get(), f.from)
	if to == nil || to.going {
		return refuse(404, "notFound", "The resource '%s' was not found", strings.TrimPrefix(f.get(), "https://www.googleapis.com/compute/v1/"))
	}
	if !to.ready {
		return refuse(400, "resourceNotReady", "The resource 'projects/%s/%s' is not ready", Project, to.path())
	}
	f.set(to.body["selfLink"].(string))
	return nil
}

func inUse(t *thing, by string) *refusal {
	return refuse(400, "resourceInUseByAnotherResource", "The %s resource 'projects/%s/%s' is already being used by '%s'", strings.TrimSuffix(t.kind, "s"), Project, t.path(), strings.TrimPrefix(by, "https://www.googleapis.com/compute/v1/"))
}

// standing names something that stands on the thing, so that it cannot be deleted; "" if there is nothing. What a thing names it
// stands on, but for images, types and what a copy was made of.
func (c *Cloud) standing(t *thing) string {
	switch t.kind {
	case "disks", "addresses":
		if u := users(t); len(u) > 0 {
			return fmt.Sprint(u[0])
		}
		return ""
	case "instances", "snapshots", "firewalls", "routers", "forwardingRules":
		return ""
	}
	for _, path := range slices.Sorted(maps.Keys(c.things)) {
		o := c.things[path]
		if strings.HasPrefix(path, "projects/") || o.kind == "operations" {
			continue
		}
		for _, f := range references(o) {
			if c.find(f.get(), f.from) == t {
				return "projects/" + Project + "/" + path
			}
		}
	}
	return ""
}

// remove deletes a thing, if nothing stands on it.
func (c *Cloud) remove(r *call, t *thing) (object, *refusal) {
	if by := c.standing(t); by != "" {
		return nil, inUse(t, by)
	}
	t.going = true
	if t.kind == "instances" {
		t.body["status"] = "STOPPING"
	}
	return c.begin(r, t.place, t.path(), t.body["id"], func() { c.vanish(t) }, func() { t.going = false }), nil
}

// vanish takes a thing away, with what goes with it.
func (c *Cloud) vanish(t *thing) {
	delete(c.things, t.path())
	switch t.kind {
	case "instances":
		disks, _ := t.body["disks"].([]any)
		for _, d := range disks {
			disk := c.find(fmt.Sprint(d.(object)["source"]), t.place)
			if disk == nil {
				continue
			}
			if delete(disk.body, "users"); d.(object)["autoDelete"] == true {
				delete(c.things, disk.path())
			}
		}
		for _, g := range c.things {
			g.ends = slices.DeleteFunc(slices.Clone(g.ends), func(x string) bool { return x == t.path() })
		}
	case "networks":
		delete(c.things, "global/routes/default-route-"+t.name)
	case "forwardingRules":
		for _, a := range c.things {
			if a.kind == "addresses" && slices.Contains(users(a), t.body["selfLink"]) {
				delete(a.body, "users")
				a.body["status"] = "RESERVED"
			}
		}
	}
}

// Leftovers names what there is beyond what an empty project has.
func (c *Cloud) Leftovers() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advance()
	for _, path := range slices.Sorted(maps.Keys(c.things)) {
		switch c.things[path].kind {
		case "operations", "zones", "regions", "machineTypes", "diskTypes":
		case "images":
			if !strings.HasPrefix(path, "projects/") {
				all = append(all, path)
			}
		default:
			all = append(all, path)
		}
	}
	return all
}
