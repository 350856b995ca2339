package gcptest

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

type object = map[string]any

//go:embed discovery.json
var document []byte

// An api is what the discovery document says.
type api struct {
	Methods map[string]*method `json:"methods"`
	Schemas map[string]*schema `json:"schemas"`
	sorted  []*method
}

type method struct {
	Path    string            `json:"path"`
	Verb    string            `json:"verb"`
	Params  map[string]string `json:"params"`
	Request string            `json:"request"`

	id, collection, verb string
	form                 *regexp.Regexp
	names                []string
}

type schema struct {
	Type       string             `json:"type"`
	Ref        string             `json:"$ref"`
	Format     string             `json:"format"`
	Enum       []string           `json:"enum"`
	Pattern    string             `json:"pattern"`
	ReadOnly   bool               `json:"readOnly"`
	Items      *schema            `json:"items"`
	Additional *schema            `json:"additionalProperties"`
	Properties map[string]*schema `json:"properties"`
}

// discovered reads the document.
func discovered() (*api, error) {
	a := &api{}
	if err := json.Unmarshal(document, a); err != nil {
		return nil, err
	}
	variable := regexp.MustCompile(`\{(\w+)\}`)
	for _, id := range slices.Sorted(maps.Keys(a.Methods)) {
		m := a.Methods[id]
		parts := strings.Split(id, ".")
		m.id, m.collection, m.verb = id, parts[1], parts[2]
		for _, v := range variable.FindAllStringSubmatch(m.Path, -1) {
			m.names = append(m.names, v[1])
		}
		form, err := regexp.Compile("^/compute/v1/" + variable.ReplaceAllString(m.Path, `([^/]+)`) + "$")
		if err != nil {
			return nil, err
		}
		m.form = form
		a.sorted = append(a.sorted, m)
	}
	// A path without variables at a place goes before one with: images/family/x is not an image.
	slices.SortStableFunc(a.sorted, func(x, y *method) int { return len(x.names) - len(y.names) })
	return a, nil
}

// find returns the method of a request, with the variables of its path; nil if there is none.
func (a *api) find(verb, path string) (*method, map[string]string) {
	for _, m := range a.sorted {
		if m.Verb != verb {
			continue
		}
		if v := m.form.FindStringSubmatch(path); v != nil {
			vars := map[string]string{}
			for i, n := range m.names {
				vars[n] = v[i+1]
			}
			return m, vars
		}
	}
	return nil, nil
}

// common are parameters that every method has. returnPartialSuccess was documented until 2026, and gcloud still sends it with lists.
const common = " returnPartialSuccess $.xgafv access_token alt callback fields key oauth_token prettyPrint quotaUser uploadType upload_protocol userIp "

// parameters refuses parameters that the method does not have.
func (m *method) parameters(q url.Values) *refusal {
	for k := range q {
		if m.Params[k] != "query" && !strings.Contains(common, " "+k+" ") {
			return refuse(400, "invalidParameter", "Unknown name %q: Cannot bind query parameter. Field %q could not be found in request message.", k, k)
		}
	}
	return nil
}

// check says why a value is not of the schema. Fields that only Google writes are dropped, if drop is set.
func (a *api) check(at string, s *schema, v any, drop bool) *refusal {
	if s.Ref != "" {
		s = a.Schemas[s.Ref]
	}
	if v == nil {
		return nil
	}
	bad := func() *refusal {
		return refuse(400, "invalid", "Invalid value at '%s' (TYPE_%s), %v", at, strings.ToUpper(s.Type), v)
	}
	switch s.Type {
	case "string":
		return a.checkString(at, s, v)
	case "integer":
		if f, ok := v.(float64); !ok || f != float64(int64(f)) {
			return bad()
		}
	case "number":
		if _, ok := v.(float64); !ok {
			return bad()
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return bad()
		}
	case "array":
		all, ok := v.([]any)
		if !ok {
			return bad()
		}
		for i, x := range all {
			if err := a.check(fmt.Sprintf("%s[%d]", at, i), s.Items, x, drop); err != nil {
				return err
			}
		}
	case "object":
		o, ok := v.(object)
		if !ok {
			return bad()
		}
		return a.checkObject(at, s, o, drop)
	}
	return nil
}

func (a *api) checkObject(at string, s *schema, o object, drop bool) *refusal {
	for _, k := range slices.Sorted(maps.Keys(o)) {
		p := s.Properties[k]
		if p == nil {
			p = s.Additional
		}
		if p == nil {
			return refuse(400, "badRequest", "Invalid JSON payload received. Unknown name %q at '%s': Cannot find field.", k, at)
		}
		if p.ReadOnly && drop {
			delete(o, k)
			continue
		}
		if err := a.check(at+"."+k, p, o[k], drop); err != nil {
			return err
		}
	}
	return nil
}

func (a *api) checkString(at string, s *schema, v any) *refusal {
	text, ok := v.(string)
	if f, is := v.(float64); is && (s.Format == "int64" || s.Format == "uint64") {
		text, ok = strconv.FormatFloat(f, 'f', 0, 64), true
	}
	if !ok {
		return refuse(400, "invalid", "Invalid value at '%s' (TYPE_STRING), %v", at, v)
	}
	if s.Format == "int64" || s.Format == "uint64" {
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			if _, err := strconv.ParseUint(text, 10, 64); err != nil {
				return refuse(400, "invalid", "Invalid value at '%s' (TYPE_%s), %q", at, strings.ToUpper(s.Format), text)
			}
		}
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
		return refuse(400, "invalid", "Invalid value at '%s' (TYPE_ENUM), %q", at, text)
	}
	if s.Pattern != "" && text != "" {
		if form, err := regexp.Compile("^(?:" + s.Pattern + ")$"); err == nil && !form.MatchString(text) {
			return refuse(400, "invalid", "Invalid value for field '%s': '%s'. Must be a match of regex '%s'", at, text, s.Pattern)
		}
	}
	return nil
}
