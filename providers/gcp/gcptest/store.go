package gcptest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A thing is a resource.
type thing struct {
	place, kind, name string // "zones/z", "instances", "n"
	body              object
	ready             bool // it is made; until then nothing can stand on it
	going             bool // it is being deleted
	hidden            int  // answers in which it is still missing
	ends              []string
}

func (t *thing) path() string { return t.place + "/" + t.kind + "/" + t.name }

// find returns the thing that a URL, or the end of one, leads to from a place; nil if there is none.
func (c *Cloud) find(url, from string) *thing {
	if i := strings.Index(url, "projects/"); i >= 0 {
		project, rest, _ := strings.Cut(url[i+len("projects/"):], "/")
		if url = rest; project != Project {
			return c.things["projects/"+project+"/"+rest]
		}
	}
	if t := c.things[url]; t != nil {
		return t
	}
	return c.things[from+"/"+url]
}

// fingerprint is of any value.
func fingerprint(v any) string {
	text, _ := json.Marshal(v)
	sum := sha256.Sum256(text)
	return base64.StdEncoding.EncodeToString(sum[:8])
}

// visible says whether readers see the thing, and counts that one looked.
func (t *thing) visible() bool {
	if t.hidden > 0 {
		t.hidden--
		return false
	}
	return true
}

// reads answers a request that changes nothing.
func (c *Cloud) reads(r *call) (object, *refusal) {
	switch r.verb {
	case "list":
		return c.list(r, false)
	case "aggregatedList":
		return c.list(r, true)
	case "getFromFamily":
		return c.family(r)
	case "getSerialPortOutput":
		return c.serial(r)
	case "listNetworkEndpoints":
		return c.endpoints(r)
	}
	if r.collection == "projects" {
		return c.project(r)
	}
	path := r.place() + "/" + r.kind() + "/" + r.name()
	switch {
	case r.collection == "zones", r.collection == "regions":
		path = "global/" + r.collection + "/" + r.name()
	case r.vars["project"] != Project:
		path = "projects/" + r.vars["project"] + "/" + path
	}
	t := c.things[path]
	if t == nil && r.vars["zone"] != "" && c.things["global/zones/"+r.vars["zone"]] == nil {
		return nil, refuse(400, "invalid", "Invalid value for field 'zone': '%s'. Unknown zone.", r.vars["zone"])
	}
	if t == nil || !t.visible() {
		return nil, missing(path)
	}
	if r.collection == "regions" {
		b := maps.Clone(t.body)
		b["quotas"] = c.counted(true)
		return b, nil
	}
	return t.body, nil
}

// project answers with the project itself.
func (c *Cloud) project(r *call) (object, *refusal) {
	if r.vars["project"] != Project {
		return nil, refuse(404, "notFound", "The resource 'projects/%s' was not found", r.vars["project"])
	}
	return object{"kind": "compute#project", "name": Project, "id": "1", "selfLink": strings.TrimSuffix(base, "/"), "quotas": c.counted(false)}, nil
}

// family answers with the newest image.
func (c *Cloud) family(r *call) (object, *refusal) {
	var newest object
	for _, path := range slices.Sorted(maps.Keys(c.things)) {
		if t := c.things[path]; t.kind == "images" && t.body["family"] == r.vars["family"] && strings.HasPrefix(path, "projects/"+r.vars["project"]+"/") {
			newest = t.body
		}
	}
	if newest == nil {
		return nil, refuse(404, "notFound", "The resource 'projects/%s/global/images/family/%s' was not found", r.vars["project"], r.vars["family"])
	}
	return newest, nil
}

// serial answers with an instance's console.
func (c *Cloud) serial(r *call) (object, *refusal) {
	t := c.things[r.place()+"/instances/"+r.name()]
	if t == nil {
		return nil, missing(r.place() + "/instances/" + r.name())
	}
	if t.body["status"] != "RUNNING" {
		return nil, refuse(400, "resourceNotReady", "The resource 'projects/%s/%s' is not ready", Project, t.path())
	}
	text := c.said(t)
	return object{"kind": "compute#serialPortOutput", "contents": text, "start": "0", "next": strconv.Itoa(len(text)), "selfLink": t.body["selfLink"].(string) + "/serialPort"}, nil
}

// said is what an instance's console has. A hook is asked without the lock.
func (c *Cloud) said(t *thing) string {
	hook := c.options.Hooks.Console
	if hook == nil {
		return c.console(t.name)
	}
	i := c.instanceOf(t)
	c.mu.Unlock()
	defer c.mu.Lock()
	return hook(i)
}

// endpoints answers with what is in a group.
func (c *Cloud) endpoints(r *call) (object, *refusal) {
	t := c.things[r.place()+"/networkEndpointGroups/"+r.name()]
	if t == nil {
		return nil, missing(r.place() + "/networkEndpointGroups/" + r.name())
	}
	items := []any{}
	for _, e := range t.ends {
		items = append(items, object{"networkEndpoint": object{"instance": base + e, "ipAddress": c.addressOf(c.things[e])}})
	}
	page, next, no := c.page(r, items)
	return withNext(object{"kind": "compute#networkEndpointGroupsListNetworkEndpoints", "items": page}, next), no
}

func withNext(o object, next string) object {
	if next != "" {
		o["nextPageToken"] = next
	}
	return o
}

// page returns the page of a list that the request asks for.
func (c *Cloud) page(r *call, items []any) (page []any, next string, no *refusal) {
	size := c.options.Page
	if n, err := strconv.Atoi(r.query.Get("maxResults")); err == nil && (size == 0 || n < size) {
		size = n
	}
	start := 0
	if token := r.query.Get("pageToken"); token != "" {
		text, err := base64.URLEncoding.DecodeString(token)
		want := r.Path + " " + r.query.Get("filter") + " "
		if err != nil || !strings.HasPrefix(string(text), want) {
			return nil, "", refuse(400, "invalid", "Invalid value for field 'pageToken': '%s'.", token)
		}
		start, _ = strconv.Atoi(strings.TrimPrefix(string(text), want))
	}
	start = min(start, len(items))
	if size <= 0 || start+size >= len(items) {
		return items[start:], "", nil
	}
	return items[start : start+size], base64.URLEncoding.EncodeToString([]byte(r.Path + " " + r.query.Get("filter") + " " + strconv.Itoa(start+size))), nil
}

// list answers with all things of a collection in a place, or in all places.
func (c *Cloud) list(r *call, aggregated bool) (object, *refusal) {
	match, no := matcher(r.query.Get("filter"))
	if no != nil {
		return nil, no
	}
	place := r.place()
	switch {
	case r.collection == "zones", r.collection == "regions":
		place = "global"
	case r.vars["project"] != Project:
		place = "projects/" + r.vars["project"] + "/global"
	}
	var items []any
	first := r.query.Get("pageToken") == ""
	for _, path := range slices.Sorted(maps.Keys(c.things)) {
		t := c.things[path]
		if t.kind != r.kind() || !aggregated && t.place != place || aggregated && strings.HasPrefix(t.place, "projects/") || !match(t.body) {
			continue
		}
		if first && !t.visible() || !first && t.hidden > 0 {
			continue
		}
		items = append(items, t.body)
	}
	page, next, no := c.page(r, items)
	if no != nil {
		return nil, no
	}
	if !aggregated {
		return withNext(object{"kind": "compute#" + r.collection + "List", "id": "projects/" + Project + "/" + place + "/" + r.kind(), "items": page}, next), nil
	}
	scopes := object{}
	for _, z := range Zones() {
		scopes["zones/"+z] = object{"warning": object{"code": "NO_RESULTS_ON_PAGE", "message": "There are no results for scope 'zones/" + z + "' on this page.", "data": []any{object{"key": "scope", "value": "zones/" + z}}}}
	}
	for _, b := range page {
		p := placeOf(b.(object)["selfLink"].(string), r.kind())
		s, _ := scopes[p].(object)
		if s == nil || s["warning"] != nil {
			s = object{}
		}
		all, _ := s[r.kind()].([]any)
		s[r.kind()] = append(all, b)
		scopes[p] = s
	}
	return withNext(object{"kind": "compute#" + r.collection + "AggregatedList", "id": "projects/" + Project + "/aggregated/" + r.kind(), "items": scopes}, next), nil
}

func placeOf(url, kind string) string {
	rest := strings.TrimPrefix(url, base)
	return rest[:strings.Index(rest, "/"+kind+"/")]
}

var clauseForm = regexp.MustCompile(`^\(?\s*([A-Za-z][\w.-]*)\s*(!=|=|:| eq | ne )\s*(?:"((?:[^"\\]|\\.)*)"|([^\s()]+))\s*\)?\s*(?:AND\s+)?`)

// matcher reads a filter: clauses of a field, =, !=, :, eq or ne, and a value, all of which must be true.
func matcher(text string) (func(object) bool, *refusal) {
	type clause struct{ field, op, value string }
	var all []clause
	for rest := strings.TrimSpace(text); rest != ""; {
		m := clauseForm.FindStringSubmatch(rest)
		if m == nil {
			return nil, refuse(400, "invalid", "Invalid value for field 'filter': '%s'. Invalid list filter expression.", text)
		}
		all = append(all, clause{m[1], strings.TrimSpace(m[2]), m[3] + m[4]})
		rest = strings.TrimSpace(rest[len(m[0]):])
	}
	return func(o object) bool {
		for _, k := range all {
			v, there := field(o, k.field)
			ok := there && v == k.value
			switch k.op {
			case ":":
				ok = there && (k.value == "*" || strings.Contains(v, strings.TrimSuffix(k.value, "*")))
			case "eq", "ne":
				form, err := regexp.Compile("^(?:" + k.value + ")$")
				ok = err == nil && there && form.MatchString(v)
			}
			if ok == (k.op == "!=" || k.op == "ne") {
				return false
			}
		}
		return true
	}, nil
}

// field is a thing's field by its path.
func field(o object, path string) (string, bool) {
	head, rest, deeper := strings.Cut(path, ".")
	v, ok := o[head]
	if deeper {
		in, is := v.(object)
		if !is {
			return "", false
		}
		return field(in, rest)
	}
	if !ok || v == nil {
		return "", false
	}
	return fmt.Sprint(v), true
}
