package gcptest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Identity is who asks, as the cloud says.
const Identity = "ops@demo-project.iam.gserviceaccount.com"

// Grant leaves whoever asks with these permissions alone. Requests that need another are refused, each for the one permission that
// its method is named after: Google asks for more of some.
func (c *Cloud) Grant(permissions []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted = map[string]bool{}
	for _, p := range permissions {
		c.granted[p] = true
	}
}

// Quota sets how much there may be by a quota, "CPUS" for example. Nothing is refused for it: only who looks is told.
func (c *Cloud) Quota(metric string, limit float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quotas[metric] = limit
}

func (c *Cloud) may(permission string) bool { return c.granted == nil || c.granted[permission] }

// permission is what a method needs.
func (m *method) permission() string {
	of, verb := m.collection, m.verb
	switch verb {
	case "insert":
		verb = "create"
	case "aggregatedList":
		verb = "list"
	case "patch":
		verb = "update"
	case "wait", "listNetworkEndpoints":
		verb = "get"
	}
	return "compute." + of + "." + verb
}

// denied refuses a call that needs a permission that is not granted.
func (c *Cloud) denied(r *call) *refusal {
	if r.vars["project"] != Project || c.may(r.permission()) { // images of others are everybody's
		return nil
	}
	return refuse(http.StatusForbidden, "forbidden", "Required '%s' permission for 'projects/%s'", r.permission(), Project)
}

var (
	projectAsk = regexp.MustCompile(`^/v3/projects/([^/]+):testIamPermissions$`)
	accountAsk = regexp.MustCompile(`^/v1/projects/-/serviceAccounts/([^/]+):testIamPermissions$`)
)

// beside answers what is asked of other services than Compute; nil, nil if it is none of them.
func (c *Cloud) beside(q *http.Request, data []byte, log *Request) (object, *refusal) {
	path := q.URL.Path
	switch {
	case path == "/oauth2/v2/userinfo":
		log.Method = "oauth2.userinfo.get"
		return object{"id": "1", "email": Identity, "verified_email": true}, c.met(log.Method)
	case projectAsk.MatchString(path):
		log.Method = "cloudresourcemanager.projects.testIamPermissions"
		if p := projectAsk.FindStringSubmatch(path)[1]; p != Project {
			return nil, refuse(http.StatusForbidden, "forbidden", "The caller does not have permission on project %s", p)
		}
		return c.tested(log.Method, data)
	case accountAsk.MatchString(path):
		log.Method = "iam.projects.serviceAccounts.testIamPermissions"
		if a := accountAsk.FindStringSubmatch(path)[1]; !strings.HasSuffix(a, "@"+Project+".iam.gserviceaccount.com") && !c.anywhere() {
			return nil, refuse(http.StatusNotFound, "notFound", "Unknown service account %s", a)
		}
		return c.tested(log.Method, data)
	}
	return nil, nil
}

func (c *Cloud) anywhere() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.options.Anywhere
}

// met returns the fault that a method meets.
func (c *Cloud) met(method string) *refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.faulty(method, false); f != nil {
		return &refusal{f.status, f.code, f.message, f.after}
	}
	return nil
}

// tested answers which of the permissions are granted.
func (c *Cloud) tested(method string, data []byte) (object, *refusal) {
	if no := c.met(method); no != nil {
		return nil, no
	}
	var in struct{ Permissions []string }
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, refuse(http.StatusBadRequest, "parseError", "Parse Error")
	}
	if len(in.Permissions) > 100 {
		return nil, refuse(http.StatusBadRequest, "badRequest", "Too many permissions: %d", len(in.Permissions))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return object{"permissions": slices.DeleteFunc(in.Permissions, func(p string) bool { return !c.may(p) })}, nil
}

// counted are the quotas that the project or the region has, with what is used of them. Limits are about those of a project
// that has been there for a while.
func (c *Cloud) counted(regional bool) (all []any) {
	limits := map[string]float64{"NETWORKS": 50, "SUBNETWORKS": 100, "FIREWALLS": 100, "ROUTERS": 10, "FORWARDING_RULES": 150, "BACKEND_SERVICES": 75, "HEALTH_CHECKS": 75, "CPUS_ALL_REGIONS": 200}
	if regional {
		limits = map[string]float64{"CPUS": 72, "N2_CPUS": 72, "PREEMPTIBLE_CPUS": 0, "IN_USE_ADDRESSES": 69, "STATIC_ADDRESSES": 21, "INTERNAL_ADDRESSES": 100, "SSD_TOTAL_GB": 20480, "DISKS_TOTAL_GB": 4096, "INSTANCES": 240, "EXTERNAL_NETWORK_LB_FORWARDING_RULES": 50}
	}
	used := c.used()
	for metric, limit := range limits {
		if set, ok := c.quotas[metric]; ok {
			limit = set
		}
		all = append(all, object{"metric": metric, "limit": limit, "usage": used[metric]})
	}
	return all
}

// used is how much there is, by quota.
func (c *Cloud) used() map[string]float64 {
	m := map[string]float64{}
	for _, t := range c.things {
		switch t.kind {
		case "networks", "subnetworks", "firewalls", "routers":
			m[strings.ToUpper(t.kind)]++
		case "forwardingRules":
			m["FORWARDING_RULES"]++
			m["EXTERNAL_NETWORK_LB_FORWARDING_RULES"]++
		case "backendServices":
			m["BACKEND_SERVICES"]++
		case "healthChecks":
			m["HEALTH_CHECKS"]++
		case "addresses":
			m["STATIC_ADDRESSES"]++
			m["IN_USE_ADDRESSES"]++
		case "disks":
			if strings.HasSuffix(fmt.Sprint(t.body["type"]), "/pd-standard") {
				m["DISKS_TOTAL_GB"] += float64(size(t.body))
			} else {
				m["SSD_TOTAL_GB"] += float64(size(t.body))
			}
		case "instances":
			i := c.instanceOf(t)
			m["INSTANCES"]++
			m["CPUS_ALL_REGIONS"] += float64(i.CPUs)
			metric := "CPUS"
			if strings.HasPrefix(i.Type, "n2-") {
				metric = "N2_CPUS"
			}
			m[metric] += float64(i.CPUs)
			if i.Public {
				m["IN_USE_ADDRESSES"]++
			}
		}
	}
	return m
}
