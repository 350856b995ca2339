package aws

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/provisionhq/provision/providers"
)

// What an identity is made of: a role and an instance profile of one name. They are a part of the network whose machines have them,
// so the name ends with the network's ID, which no other of any region has, and they go when the network goes.
const (
	identityPart   = "cloud-agent"
	identityPath   = "/provision.sh/" // of all roles and profiles of ours
	identityPrefix = "provision.sh-"  // AWS asks for rights to what is not there by its name, without the path: one pattern fits both
	agentPolicy    = "cloud-agent"    // name of the policy in the role
	identityTag    = ownTags + "cloud-agent"
)

// trustPolicy is who may take on the role: instances.
func trustPolicy(region string) string {
	service := "ec2.amazonaws.com"
	if partitionOf(region) == "aws-cn" {
		service += ".cn"
	}
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"` + service + `"}}]}`
}

// AgentPolicy is CloudAgentPolicy for the things of one owner, in the part of AWS that the region is in.
func AgentPolicy(o providers.Owner, region string) string {
	return strings.NewReplacer("CLUSTER", string(o), "arn:aws:", "arn:"+partitionOf(region)+":").Replace(CloudAgentPolicy)
}

// identityName is the name of the role and of the profile: 64 letters at most.
func (n *network) identityName() string {
	owner := string(n.key().Owner)
	return identityPrefix + strings.TrimRight(owner[:min(len(owner), 29)], "-") + "-" + n.id
}

// identityTags are those of the role and of the profile.
func (n *network) identityTags() (all []iamtypes.Tag) {
	for _, t := range written(n.part(identityPart)) {
		all = append(all, iamtypes.Tag{Key: t.Key, Value: t.Value})
	}
	return all
}

// profile is the name of the instance profile that a machine gets; "" if it gets none. made says that it is ours, so that EC2 may
// not know it for a while.
func (m machines) profile(ctx context.Context, spec providers.MachineSpec, n *network) (name string, made bool, err error) {
	switch {
	case spec.CloudAgent && m.p.o.CloudAgentProfile != "":
		return m.p.o.CloudAgentProfile, false, nil
	case spec.CloudAgent && m.p.o.InstanceProfile == "":
		name, err := m.p.identity(ctx, n)
		return name, true, err
	}
	return m.p.o.InstanceProfile, false, nil // a machine has no more than one
}

// identity makes what is missing of the network's identity and returns its name. Each step is one that AWS does once for one name.
func (p *Provider) identity(ctx context.Context, n *network) (string, error) {
	name := n.identityName()
	unlock, err := p.keys.lock(ctx, identityPart, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if p.made.recent(identityPart, n.key(), time.Hour) == name {
		return name, nil
	}
	if n.tags[identityTag] != name { // before there is anything: whoever deletes the network looks for it then
		in := &ec2.CreateTagsInput{Resources: []string{n.id}, Tags: []types.Tag{{Key: ptr(identityTag), Value: &name}}}
		if _, err := p.ec2.CreateTags(ctx, in); err != nil {
			return "", err
		}
		p.forget(n.id)
	}
	for _, step := range []func(context.Context, *network, string) error{p.makeRole, p.makeProfile} {
		if err := step(ctx, n, name); err != nil {
			return "", err
		}
	}
	p.made.note(identityPart, n.key(), name)
	return name, nil
}

// makeRole makes the role, or takes the one that is there if it is ours, and gives it the policy of this release.
func (p *Provider) makeRole(ctx context.Context, n *network, name string) error {
	_, err := p.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, Path: ptr(identityPath), Tags: n.identityTags(),
		AssumeRolePolicyDocument: ptr(trustPolicy(p.o.Region)), Description: ptr("cloud agent of cluster " + string(n.key().Owner))})
	if is(err, "EntityAlreadyExists") {
		err = p.soon(ctx, func() error {
			out, err := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
			if err == nil && !n.bears(out.Role.Tags) {
				return fail(providers.Conflict, "role %s is there and not of %s: delete it, or name a profile with cloud_agent_profile", name, n.key())
			}
			return err
		})
	}
	if err != nil {
		return err
	}
	return p.soon(ctx, func() error {
		_, err := p.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: ptr(agentPolicy), PolicyDocument: ptr(AgentPolicy(n.key().Owner, p.o.Region))})
		return err
	})
}

// makeProfile makes the instance profile, or takes the one that is there if it is ours, and puts the role in it.
func (p *Provider) makeProfile(ctx context.Context, n *network, name string) error {
	_, err := p.iam.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &name, Path: ptr(identityPath), Tags: n.identityTags()})
	if is(err, "EntityAlreadyExists") {
		filled := false
		err = p.soon(ctx, func() error {
			out, err := p.iam.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name})
			if err == nil && !n.bears(out.InstanceProfile.Tags) {
				return fail(providers.Conflict, "instance profile %s is there and not of %s: delete it, or name another with cloud_agent_profile", name, n.key())
			}
			filled = err == nil && len(out.InstanceProfile.Roles) > 0 && aws.ToString(out.InstanceProfile.Roles[0].RoleName) == name
			return err
		})
		if filled {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return p.soon(ctx, func() error {
		_, err := p.iam.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: &name, RoleName: &name})
		return err
	})
}

// bears says whether tags are those of the network's identity.
func (n *network) bears(tags []iamtypes.Tag) bool {
	have := map[string]string{}
	for _, t := range tags {
		have[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return have[networkTag] == n.id && have[partTag] == identityPart
}

// dropIdentity takes away the identity, if the network says that there may be one. What is not ours stays.
func (w networks) dropIdentity(ctx context.Context, n *network) error {
	name := n.tags[identityTag]
	if name == "" {
		return nil
	}
	for _, step := range []func(context.Context, *network, string) error{w.p.dropProfile, w.p.dropRole} {
		if err := step(ctx, n, name); err != nil {
			return err
		}
	}
	w.p.made.drop(identityPart, n.key())
	return nil
}

func (p *Provider) dropProfile(ctx context.Context, n *network, name string) error {
	out, err := p.iam.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name})
	if err != nil || !n.bears(out.InstanceProfile.Tags) {
		return ignoring(err)
	}
	for _, r := range out.InstanceProfile.Roles {
		if _, err := p.iam.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: &name, RoleName: r.RoleName}); ignoring(err) != nil {
			return err
		}
	}
	return p.released(ctx, func() error {
		_, err := p.iam.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: &name})
		return ignoring(err)
	})
}

func (p *Provider) dropRole(ctx context.Context, n *network, name string) error {
	out, err := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if err != nil || !n.bears(out.Role.Tags) {
		return ignoring(err)
	}
	if _, err := p.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: ptr(agentPolicy)}); ignoring(err) != nil {
		return err
	}
	return p.released(ctx, func() error {
		_, err := p.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name})
		return ignoring(err)
	})
}

// released makes a call again as long as AWS takes for still in use what was just taken out.
func (p *Provider) released(ctx context.Context, call func() error) error {
	var d time.Duration
	for end := time.Now().Add(p.o.Lag); ; {
		err := call()
		if !is(err, "DeleteConflict") || time.Now().After(end) {
			return err
		}
		if err := p.pause(ctx, &d); err != nil {
			return err
		}
	}
}

// start runs an instance. EC2 learns of a profile that was made just now seconds after IAM has it, and of its role after that.
func (m machines) start(ctx context.Context, n *network, in *ec2.RunInstancesInput, made bool) (*ec2.RunInstancesOutput, error) {
	var d time.Duration
	for end := time.Now().Add(6 * m.p.o.Lag); ; {
		out, err := m.p.ec2.RunInstances(ctx, in)
		if !made || !unknownProfile(err) {
			return out, err
		}
		if time.Now().After(end) {
			m.p.made.drop(identityPart, n.key()) // somebody took it away: the next call makes it anew
			return out, err
		}
		if err := m.p.pause(ctx, &d); err != nil {
			return nil, err
		}
	}
}

// unknownProfile says whether EC2 does not know the instance profile, or not its role.
func unknownProfile(err error) bool {
	return is(err, "InvalidParameterValue") && (strings.Contains(err.Error(), "Invalid IAM Instance Profile") || strings.Contains(err.Error(), "no associated IAM Roles"))
}

// Inside are the attributes to open the provider with on a machine that has an identity: those of a person's block, without the person's
// profile, and with the region that the person's configuration tells, which the machine does not have.
func Inside(attributes map[string]any) map[string]any {
	there := maps.Clone(attributes)
	if p, err := Open(attributes); err == nil {
		there["region"] = p.o.Region
	}
	delete(there, "profile")
	return there
}
