package awstest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A document is an IAM policy that allows things. moto matches actions with policies and refuses all else, so resources and conditions
// are looked at here; moto gets the document without them. How AWS does it is written from its Service Authorization Reference.
type document struct {
	Version   string
	Statement []statement
}

type statement struct {
	Sid       string `json:",omitempty"`
	Effect    string
	Action    many
	Resource  many
	Condition map[string]map[string]many `json:",omitempty"`
}

// many is what a policy has one or several of.
type many []string

// UnmarshalJSON reads a string or a list of them.
func (m *many) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*m = many{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(m))
}

// widened is the document without resources and conditions.
func (d document) widened() string {
	all := document{Version: d.Version}
	for _, s := range d.Statement {
		s.Resource, s.Condition = many{"*"}, nil
		all.Statement = append(all.Statement, s)
	}
	text, _ := json.Marshal(all)
	return string(text)
}

// tagged says whether tags of things count.
func (d document) tagged() bool {
	return slices.ContainsFunc(d.Statement, func(s statement) bool {
		return slices.ContainsFunc(slices.Collect(maps.Values(s.Condition)), func(keys map[string]many) bool {
			return slices.ContainsFunc(slices.Collect(maps.Keys(keys)), func(k string) bool { return strings.Contains(k, "ResourceTag/") })
		})
	})
}

// A question is what AWS asks policies about each thing that a request concerns.
type question struct {
	action, arn string
	keys        map[string]string // of conditions
}

func (d document) allows(q question) bool {
	return slices.ContainsFunc(d.Statement, func(s statement) bool {
		return s.Effect == "Allow" && s.Action.fits(q.action) && s.Resource.fits(q.arn) && s.met(q.keys)
	})
}

// fits says whether one of the patterns is the text's.
func (m many) fits(text string) bool {
	return slices.ContainsFunc(m, func(p string) bool {
		return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*") + "$").MatchString(text)
	})
}

// met says whether all conditions are. One of a kind that is not known here never is.
func (s statement) met(keys map[string]string) bool {
	for operator, wants := range s.Condition {
		for key, want := range wants {
			have, there := keys[key]
			ok := map[string]bool{"StringEquals": there && slices.Contains(want, have), "StringEqualsIfExists": !there || slices.Contains(want, have),
				"StringLike": there && want.fits(have), "Null": there != slices.Contains(want, "true")}[operator]
			if !ok {
				return false
			}
		}
	}
	return true
}

// forbidden refuses what the policy of who asks does not allow.
func (c *Cloud) forbidden(req *http.Request, r *Request) (answer, bool) {
	c.mu.Lock()
	who := c.users[strings.Split(credential(req.Header.Get("Authorization")), "/")[0]]
	d, ok := c.policies[who]
	c.mu.Unlock()
	if !ok || !slices.Contains([]string{"ec2", "elasticloadbalancing", "iam"}, r.Service) { // of others there are no things: moto is enough
		return answer{}, false
	}
	for _, q := range c.questions(req, r, d.tagged()) {
		if !d.allows(q) {
			words := fmt.Sprintf("User: arn:aws:iam::%s:user/%s is not authorized to perform: %s on resource: %s", account, who, q.action, q.arn)
			if r.Service == "ec2" {
				return c.refusal(r, http.StatusForbidden, "UnauthorizedOperation", "You are not authorized to perform this operation. "+words), true
			}
			return c.refusal(r, http.StatusForbidden, "AccessDenied", words), true
		}
	}
	return answer{}, false
}

// account is moto's.
const account = "123456789012"

// questions are all that AWS asks about a request; with tags, also what tags the things have.
func (c *Cloud) questions(req *http.Request, r *Request, tags bool) (all []question) {
	action := r.Service + ":" + r.Action
	switch {
	case r.Service == "iam":
		return c.iamQuestions(req.Context(), r)
	case r.Service != "ec2" && r.Service != "elasticloadbalancing", reads(r.Action) && r.Action != "GetConsoleOutput":
		return []question{{action: action, arn: "*"}}
	}
	l := c.looking(req)
	for _, id := range r.things() {
		q := question{action, r.arn(id), r.requestTags("")}
		if tags {
			maps.Copy(q.keys, l.tags(r.Service, id))
		}
		all = append(all, q)
	}
	for _, kind := range r.makes() {
		q := question{action, r.arn(kind + "/made"), r.requestTags(kind)}
		if r.Action != "CreateListener" { // which is asked about the balancer alone
			all = append(all, q)
		}
		if len(q.keys) > 0 {
			tagging := question{map[string]string{"ec2": "ec2:CreateTags", "elasticloadbalancing": "elasticloadbalancing:AddTags"}[r.Service], q.arn, maps.Clone(q.keys)}
			tagging.keys[r.Service+":CreateAction"] = r.Action
			all = append(all, tagging)
		}
	}
	if name := r.Form.Get("IamInstanceProfile.Name"); name != "" {
		all = append(all, c.passes(req.Context(), name)...)
	}
	return all
}

var idOf = regexp.MustCompile(`^(i|vol|snap|sg|subnet|vpc|ami|igw|rtb|nat|eipalloc|eni)-[0-9a-f]{8,17}$`)

// kindOfID is what ARNs call the thing whose IDs begin so.
var kindOfID = map[string]string{"i": "instance", "vol": "volume", "snap": "snapshot", "sg": "security-group", "subnet": "subnet", "vpc": "vpc", "ami": "image",
	"igw": "internet-gateway", "rtb": "route-table", "nat": "natgateway", "eipalloc": "elastic-ip", "eni": "network-interface"}

// things are the IDs and ARNs of what the request is about. Other groups in rules, targets and what listeners lead to are not asked about.
func (r *Request) things() (all []string) {
	for _, key := range slices.Sorted(maps.Keys(r.Form)) {
		v := r.Form.Get(key)
		about := r.Service == "ec2" && idOf.MatchString(v) || r.Service != "ec2" && strings.HasPrefix(v, "arn:aws:elasticloadbalancing:")
		for _, not := range []string{"IpPermissions.", "Tag", "Filter.", "DefaultActions.", "Targets."} {
			about = about && !strings.HasPrefix(key, not)
		}
		if about && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

// makes are the kinds of things that the request makes.
func (r *Request) makes() []string {
	switch r.Action {
	case "RunInstances":
		return []string{"instance", "volume", "network-interface"}
	case "CreateLoadBalancer":
		return []string{"loadbalancer/net/" + r.Form.Get("Name")}
	case "CreateTargetGroup":
		return []string{"targetgroup/" + r.Form.Get("Name")}
	case "CreateListener":
		return []string{"listener/net/" + nameIn(r.Form.Get("LoadBalancerArn"))}
	case "CreateSecurityGroup":
		return []string{"security-group"}
	case "CreateVolume", "CreateSnapshot", "CreateSubnet", "CreateVpc":
		return []string{strings.ToLower(strings.TrimPrefix(r.Action, "Create"))}
	case "CreateTags", "DeleteTags":
		return nil
	}
	if len(r.things()) == 0 {
		return []string{"thing"}
	}
	return nil
}

// requestTags are the tags that the request gives, as keys of conditions: to the kind of thing that it makes, or to what is there.
func (r *Request) requestTags(kind string) map[string]string {
	keys := map[string]string{}
	for key := range r.Form {
		begin, ok := strings.CutSuffix(key, ".Key")
		spec, _, nested := strings.Cut(begin, ".Tag.")
		if !ok || nested && r.Form.Get(spec+".ResourceType") != kind {
			continue
		}
		if strings.HasPrefix(begin, "Tag.") || strings.HasPrefix(begin, "Tags.member.") || nested {
			keys["aws:RequestTag/"+r.Form.Get(key)] = r.Form.Get(begin + ".Value")
		}
	}
	return keys
}

// arn is that of a thing of EC2, by its ID or kind, or of a balancer, which may have one.
func (r *Request) arn(id string) string {
	if strings.HasPrefix(id, "arn:") {
		return id
	}
	if begin, _, _ := strings.Cut(id, "-"); idOf.MatchString(id) {
		id = kindOfID[begin] + "/" + id
	}
	of := account
	if strings.HasPrefix(id, "image/") || strings.HasPrefix(id, "snapshot/") {
		of = ""
	}
	return "arn:aws:" + r.Service + ":" + r.Region + ":" + of + ":" + id
}

// tags are those that a thing has, as keys of conditions.
func (l look) tags(service, id string) map[string]string {
	keys := map[string]string{}
	if service == "ec2" {
		for _, t := range l.filter("DescribeTags", "resource-id", id, "tagSet") {
			keys["aws:ResourceTag/"+t.get("key")] = t.get("value")
		}
		return keys
	}
	for _, d := range l(service, "DescribeTags", map[string]string{"ResourceArns.member.1": id}, "DescribeTagsResult", "TagDescriptions") {
		for _, t := range d.items("Tags") {
			keys["aws:ResourceTag/"+t.get("Key")] = t.get("Value")
		}
	}
	return keys
}

// iamQuestions are those about roles and profiles. AWS knows the path of those that are there; it is told the path of those that come.
func (c *Cloud) iamQuestions(ctx context.Context, r *Request) []question {
	role, profile := r.Form.Get("RoleName"), r.Form.Get("InstanceProfileName")
	ask := func(action, kind, name string) question {
		path := r.Form.Get("Path")
		if path == "" {
			path = c.pathOf(ctx, kind, name)
		}
		return question{"iam:" + action, "arn:aws:iam::" + account + ":" + kind + path + name, r.requestTags("")}
	}
	switch {
	case r.Action == "CreateRole":
		return []question{ask(r.Action, "role", role), ask("TagRole", "role", role)}
	case r.Action == "CreateInstanceProfile":
		return []question{ask(r.Action, "instance-profile", profile), ask("TagInstanceProfile", "instance-profile", profile)}
	case r.Action == "AddRoleToInstanceProfile":
		return []question{ask(r.Action, "instance-profile", profile), passing("arn:aws:iam::" + account + ":role" + c.pathOf(ctx, "role", role) + role)}
	case profile != "":
		return []question{ask(r.Action, "instance-profile", profile)}
	}
	return []question{ask(r.Action, "role", role)}
}

// passing is the question about giving a role to EC2.
func passing(role string) question {
	return question{"iam:PassRole", role, map[string]string{"iam:PassedToService": "ec2.amazonaws.com"}}
}

// passes are the questions about the roles of a profile.
func (c *Cloud) passes(ctx context.Context, profile string) (all []question) {
	t, err := c.manage(ctx, url.Values{"Action": {"GetInstanceProfile"}, "InstanceProfileName": {profile}})
	if err != nil {
		return nil
	}
	for _, role := range t.items("GetInstanceProfileResult", "InstanceProfile", "Roles") {
		all = append(all, passing(role.get("Arn")))
	}
	return all
}

// pathOf is the path of a role or profile that is there; "/" of one that is not.
func (c *Cloud) pathOf(ctx context.Context, kind, name string) string {
	if strings.Contains(name, nobodys) {
		return "/"
	}
	of := map[string]string{"role": "Role", "instance-profile": "InstanceProfile"}[kind]
	t, err := c.manage(ctx, url.Values{"Action": {"Get" + of}, of + "Name": {name}})
	if err != nil {
		return "/"
	}
	return t.get("Get"+of+"Result", of, "Path")
}
