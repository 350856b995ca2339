package gcptest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
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
