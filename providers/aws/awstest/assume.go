package awstest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// A Role is what an instance with an instance profile gets.
type Role struct {
	Name        string
	Profile     string // ARN
	Credentials aws.Credentials
}

// Assume takes on the role of an instance profile, as EC2 does for an instance that has it. Whoever bears the credentials may do what the
// role's policies allow at that moment, and nothing else, also where all others may do everything.
func (c *Cloud) Assume(ctx context.Context, profile, instance string) (Role, error) {
	t, err := c.manage(ctx, url.Values{"Action": {"GetInstanceProfile"}, "InstanceProfileName": {profile}})
	if err != nil {
		return Role{}, err
	}
	t = t.child("GetInstanceProfileResult").child("InstanceProfile")
	roles := t.items("Roles")
	if len(roles) == 0 {
		return Role{}, fmt.Errorf("instance profile %s has no role", profile)
	}
	r := Role{Name: roles[0].get("RoleName"), Profile: t.get("Arn")}
	may, err := c.rolePolicies(ctx, r.Name)
	if err != nil {
		return Role{}, err
	}
	t, err = c.sudo(ctx, "sts", url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {roles[0].get("Arn")}, "RoleSessionName": {instance}, "DurationSeconds": {"3600"}})
	if err != nil {
		return Role{}, err
	}
	k := func(name string) string { return t.get("AssumeRoleResult", "Credentials", name) }
	r.Credentials = aws.Credentials{AccessKeyID: k("AccessKeyId"), SecretAccessKey: k("SecretAccessKey"), SessionToken: k("SessionToken"), CanExpire: true}
	if r.Credentials.Expires, err = time.Parse(time.RFC3339, k("Expiration")); err != nil {
		return Role{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := "assumed-role/" + r.Name + "/" + instance
	c.users[r.Credentials.AccessKeyID], c.policies[name] = name, may
	return r, nil
}

// rolePolicies is all that the role's own policies allow.
func (c *Cloud) rolePolicies(ctx context.Context, role string) (all document, err error) {
	t, err := c.manage(ctx, url.Values{"Action": {"ListRolePolicies"}, "RoleName": {role}})
	if err != nil {
		return all, err
	}
	for _, p := range t.child("ListRolePoliciesResult").items("PolicyNames") {
		t, err := c.manage(ctx, url.Values{"Action": {"GetRolePolicy"}, "RoleName": {role}, "PolicyName": {p.text}})
		if err != nil {
			return all, err
		}
		text, err := url.QueryUnescape(t.get("GetRolePolicyResult", "PolicyDocument"))
		if err != nil {
			return all, err
		}
		var d document
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			return all, err
		}
		all.Version, all.Statement = d.Version, append(all.Statement, d.Statement...)
	}
	return all, nil
}
