package aws

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/aws/awstest"
)

// steward is node with a cloud agent on it.
func steward(n providers.Network, name string) providers.MachineSpec {
	s := node(n, name, controlPool)
	s.CloudAgent = true
	return s
}

// accounts is a client of the IAM of moto itself.
func accounts(t *testing.T, c *awstest.Cloud) *iam.Client {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithBaseEndpoint(c.Behind()))
	if err != nil {
		t.Fatal(err)
	}
	cfg.HTTPClient = &plain{HTTPClient: cfg.HTTPClient}
	return iam.NewFromConfig(cfg)
}

// identities are the names of all roles and profiles that the account has, sorted by kind.
func identities(t *testing.T, c *awstest.Cloud) (all []string) {
	t.Helper()
	roles, err := accounts(t, c).ListRoles(t.Context(), &iam.ListRolesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range roles.Roles {
		all = append(all, "role "+*r.Path+*r.RoleName)
	}
	profiles, err := accounts(t, c).ListInstanceProfiles(t.Context(), &iam.ListInstanceProfilesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range profiles.InstanceProfiles {
		all = append(all, "profile "+*p.Path+*p.InstanceProfileName)
	}
	return all
}

// asked counts the requests to a service that had success.
func asked(c *awstest.Cloud, service string) (n int) {
	for _, r := range c.Requests() {
		if r.Service == service && r.Status == 200 {
			n++
		}
	}
	return n
}

// TestIdentity makes the machines of a control plane side by side and looks at what IAM and EC2 have then.
func TestIdentity(t *testing.T) {
	p := open(t, awstest.Options{Late: 2}, oneZone)
	n := standing(t, p)
	if _, err := p.Machines().Create(t.Context(), node(n, "w-0", "workers")); err != nil {
		t.Fatal(err)
	}
	if got := asked(cloud, "iam"); got > 0 {
		t.Errorf("without a cloud agent IAM was asked %d times", got)
	}
	var wg sync.WaitGroup
	for _, name := range []string{"cp-0", "cp-1", "cp-2"} {
		wg.Go(func() {
			if _, err := p.Machines().Create(t.Context(), steward(n, name)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := asked(cloud, "iam"); got != 4 {
		t.Errorf("IAM was asked %d times for three machines, want 4", got)
	}
	if !slices.ContainsFunc(cloud.Requests(), func(r awstest.Request) bool { return r.Action == "RunInstances" && r.Code == "InvalidParameterValue" }) {
		t.Error("EC2 knew the profile at once: nothing was waited for")
	}
	name := "provision.sh-demo-" + string(n.ID)
	if got := strings.Join(identities(t, cloud), ", "); got != "role /provision.sh/"+name+", profile /provision.sh/"+name {
		t.Errorf("there are %s", got)
	}
	profiled(t, p, map[string]string{"w-0": "", "cp-0": name, "cp-1": name, "cp-2": name})
	limited(t, name)

	all, err := p.Machines().List(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if err := p.Machines().Delete(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
	}
	if len(identities(t, cloud)) != 2 {
		t.Error("the identity went before the network")
	}
	if err := again(t, oneZone).Networks().Delete(t.Context(), n.ID); err != nil {
		t.Fatal(err)
	}
	if got := identities(t, cloud); len(got) > 0 {
		t.Errorf("left: %q", got)
	}
}

// profiled holds the machines' instance profiles against what they should be.
func profiled(t *testing.T, p *Provider, want map[string]string) {
	t.Helper()
	all, err := p.instances(t.Context(), append(owned(providers.MachineNoun, providers.Key{Owner: "demo"}), alive()))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(want) {
		t.Errorf("%d machines, want %d", len(all), len(want))
	}
	for _, i := range all {
		name, got := read(i.Tags)[providers.NameTag], ""
		if i.IamInstanceProfile != nil {
			got = aws.ToString(i.IamInstanceProfile.Arn)
			got = got[strings.LastIndex(got, "/")+1:]
		}
		if got != want[name] {
			t.Errorf("machine %s has profile %q, want %q", name, got, want[name])
		}
	}
}

// limited holds the role against the policy documents.
func limited(t *testing.T, name string) {
	t.Helper()
	out, err := accounts(t, cloud).GetRolePolicy(t.Context(), &iam.GetRolePolicyInput{RoleName: &name, PolicyName: aws.String(agentPolicy)})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := url.QueryUnescape(*out.PolicyDocument)
	if text != AgentPolicy("demo", "eu-west-1") || strings.Contains(text, "CLUSTER") || !json.Valid([]byte(text)) {
		t.Errorf("the role's policy is\n%s", text)
	}
	role, err := accounts(t, cloud).GetRole(t.Context(), &iam.GetRoleInput{RoleName: &name})
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := url.QueryUnescape(*role.Role.AssumeRolePolicyDocument); text != trustPolicy("eu-west-1") {
		t.Errorf("the role trusts %s", text)
	}
}

// TestIdentityCutAnywhere cuts Create of the first machine with a cloud agent at every place, and then either lets another process
// go on, or take all away; and it cuts Delete of the network at every place. The network is one in a VPC that is there already:
// that has the fewest parts.
func TestIdentityCutAnywhere(t *testing.T) {
	t.Parallel()
	c := own(t, awstest.Options{})
	host, err := at(t, c, oneZone).Networks().Create(t.Context(), providers.NetworkSpec{Owner: "host", Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Network: string(host.ID), Zones: oneZone.Zones}
	cuts := 0
	finished := func(what string, n int, reached bool, err error) {
		t.Helper()
		if reached {
			cuts++
		}
		if reached != (err != nil) {
			t.Fatalf("%s cut off at place %d: %v", what, n, err)
		}
	}
	for n, reached := 0, true; reached; n++ {
		for _, goOn := range []bool{true, false} {
			p, net := stood(t, c, o)
			heal := c.Cut(n, false)
			_, err := p.Machines().Create(t.Context(), steward(net, "cp-0"))
			reached = heal()
			finished("Create", n, reached, err)
			if p = at(t, c, o); goOn {
				m, err := p.Machines().Create(t.Context(), steward(net, "cp-0"))
				if m.Name == "" || err != nil && providers.KindOf(err) != providers.Exists {
					t.Fatalf("Create after one that was cut off at place %d: %v", n, err)
				}
				if got := identities(t, c); len(got) != 2 {
					t.Fatalf("Create after one that was cut off at place %d left %q", n, got)
				}
			}
			cleared(t, c, p, net)
		}
	}
	for n, reached := 0, true; reached; n++ {
		p, net := stood(t, c, o)
		m, err := p.Machines().Create(t.Context(), steward(net, "cp-0"))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Machines().Delete(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
		heal := c.Cut(n, false)
		err = p.Networks().Delete(t.Context(), net.ID)
		reached = heal()
		finished("Delete of the network", n, reached, err)
		cleared(t, c, at(t, c, o), net)
	}
	report(t, c)
	t.Logf("%d cuts", cuts)
	if cuts < 30 {
		t.Errorf("%d cuts are fewer than there are places", cuts)
	}
}

// stood is a new provider and a network at the cloud.
func stood(t *testing.T, c *awstest.Cloud, o Options) (*Provider, providers.Network) {
	t.Helper()
	p := at(t, c, o)
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "demo", Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	return p, n
}

// cleared takes the owner's machines and the network away; nothing of either may be left, in IAM too.
func cleared(t *testing.T, c *awstest.Cloud, p *Provider, n providers.Network) {
	t.Helper()
	all, err := p.Machines().List(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if err := p.Machines().Delete(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Networks().Delete(t.Context(), n.ID); err != nil {
		t.Fatal(err)
	}
	if got := identities(t, c); len(got) > 0 {
		t.Fatalf("left: %q", got)
	}
}

// TestIdentityOfStranger finds what somebody else made under the name: it is neither used nor changed nor deleted.
func TestIdentityOfStranger(t *testing.T) {
	for what, make := range map[string]func(context.Context, *iam.Client, string) error{
		"role": func(ctx context.Context, i *iam.Client, name string) error {
			_, err := i.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(trustPolicy(""))})
			return err
		},
		"profile": func(ctx context.Context, i *iam.Client, name string) error {
			_, err := i.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &name})
			return err
		},
	} {
		p := open(t, awstest.Options{}, oneZone)
		n := standing(t, p)
		name := "provision.sh-demo-" + string(n.ID)
		if err := make(t.Context(), accounts(t, cloud), name); err != nil {
			t.Fatal(err)
		}
		before := identities(t, cloud)
		_, err := p.Machines().Create(t.Context(), steward(n, "cp-0"))
		if providers.KindOf(err) != providers.Conflict || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: Create returned %v", what, err)
		}
		if all, err := p.Machines().List(t.Context(), "demo"); err != nil || len(all) > 0 {
			t.Errorf("%s: machines %+v, %v", what, all, err)
		}
		if err := p.Networks().Delete(t.Context(), n.ID); err != nil {
			t.Errorf("%s: Delete of the network: %v", what, err)
		}
		if after := identities(t, cloud); strings.Join(after, " ") != strings.Join(before, " ") {
			t.Errorf("%s: there were %q, there are %q", what, before, after)
		}
	}
}

// TestNamedProfile gives machines a profile that a person made: IAM is not asked.
func TestNamedProfile(t *testing.T) {
	for what, o := range map[string]Options{
		"for cloud agents":               {CloudAgentProfile: "theirs", InstanceProfile: "none-such"},
		"for all, so for cloud agents":   {InstanceProfile: "theirs"},
		"for cloud agents, and for none": {CloudAgentProfile: "theirs"},
	} {
		o.Zones = oneZone.Zones
		p := open(t, awstest.Options{}, o)
		n := standing(t, p)
		if _, err := p.Machines().Create(t.Context(), steward(n, "cp-0")); providers.KindOf(err) != providers.Invalid && providers.KindOf(err) != providers.NotFound {
			t.Errorf("%s: with a profile that there is not: %v", what, err)
		}
		if _, err := accounts(t, cloud).CreateInstanceProfile(t.Context(), &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("theirs")}); err != nil {
			t.Fatal(err)
		}
		m, err := p.Machines().Create(t.Context(), steward(n, "cp-0"))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		profiled(t, p, map[string]string{"cp-0": "theirs"})
		if err := p.Machines().Delete(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
		if err := p.Networks().Delete(t.Context(), n.ID); err != nil {
			t.Fatal(err)
		}
		if got := asked(cloud, "iam"); got > 0 || len(identities(t, cloud)) != 1 {
			t.Errorf("%s: IAM was asked %d times, there are %q", what, got, identities(t, cloud))
		}
	}
}

// TestInside opens the provider as a machine would that knows nothing of the person.
func TestInside(t *testing.T) {
	block := map[string]any{"profile": "work", "nat": "one", "zones": []any{"eu-central-1a"}}
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("[profile work]\nregion = eu-central-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	t.Setenv("AWS_REGION", "")
	there := Inside(block)
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	p, err := Open(there)
	if err != nil || p.o.Region != "eu-central-1" || p.o.NAT != NATOne || p.o.Profile != "" {
		t.Errorf("%v opens %+v, %v", there, p, err)
	}
	if block["profile"] != "work" || len(block) != 3 {
		t.Errorf("the block is %v now", block)
	}
}
