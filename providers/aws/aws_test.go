package aws

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/aws/awstest"
	"github.com/provisionhq/provision/providers/providertest"
)

var cloud *awstest.Cloud // of all tests but those that have one of their own: moto takes seconds to start

func TestMain(m *testing.M) {
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_REGION": "eu-west-1"} {
		os.Setenv(k, v)
	}
	var err error
	if cloud, err = awstest.New(context.Background(), awstest.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := cloud.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// own starts a cloud for the test alone, which may then run beside others.
func own(t *testing.T, o awstest.Options) *awstest.Cloud {
	t.Helper()
	c, err := awstest.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// open returns a provider at a cloud that is empty.
func open(t *testing.T, c awstest.Options, o Options) *Provider {
	t.Helper()
	if err := cloud.Reset(c); err != nil {
		t.Fatal(err)
	}
	return again(t, o)
}

// again returns another provider at the cloud as it is.
func again(t *testing.T, o Options) *Provider {
	t.Helper()
	return at(t, cloud, o)
}

// at returns a provider at a cloud.
func at(t *testing.T, c *awstest.Cloud, o Options) *Provider {
	t.Helper()
	o.Endpoint = c.URL
	if o.Pace == 0 {
		o.Pace, o.Patience, o.Lag = time.Millisecond, 20*time.Second, time.Second
	}
	p, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// use makes the provider somebody whose policies count.
func (p *Provider) use(key aws.Credentials) {
	who := credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, "")
	p.ec2 = ec2.New(p.ec2.Options(), func(o *ec2.Options) { o.Credentials = who })
	p.elb = elb.New(p.elb.Options(), func(o *elb.Options) { o.Credentials = who })
	p.sts = sts.New(p.sts.Options(), func(o *sts.Options) { o.Credentials = who })
	p.iam = iam.New(p.iam.Options(), func(o *iam.Options) { o.Credentials = who })
	p.quo = servicequotas.New(p.quo.Options(), func(o *servicequotas.Options) { o.Credentials = who })
}

// behind is a client of moto itself.
func behind(t *testing.T, c *awstest.Cloud) *ec2.Client {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithBaseEndpoint(c.Behind()))
	if err != nil {
		t.Fatal(err)
	}
	cfg.HTTPClient = &plain{HTTPClient: cfg.HTTPClient}
	return ec2.NewFromConfig(cfg)
}

// fixture is all that the suite can use of the provider.
func fixture(t *testing.T, c *awstest.Cloud, p *Provider) providertest.Fixture {
	e := behind(t, c)
	return providertest.Fixture{
		Provider: p,
		Type:     "t3.small",
		Machine:  func(m *providers.MachineSpec) { m.AuthorizedKeys = []string{awstest.HostKey("user")} },
		Writes:   c.Writes,
		Stop: func(ctx context.Context, id providers.ID) error {
			_, err := e.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{string(id)}})
			return err
		},
		Strip: func(ctx context.Context, n providers.Noun, id providers.ID, tags ...string) error {
			in := &ec2.DeleteTagsInput{Resources: []string{string(id)}}
			for _, k := range tags {
				in.Tags = append(in.Tags, types.Tag{Key: &k})
			}
			_, err := e.DeleteTags(ctx, in)
			return err
		},
	}
}

// TestProvider holds the provider to the contract, at a cloud that is like AWS.
func TestProvider(t *testing.T) {
	t.Parallel()
	c := own(t, awstest.Options{Page: 3, Late: 2, Slow: 2})
	p := at(t, c, Options{Zones: []string{"eu-west-1a", "eu-west-1c"}})
	providertest.Run(t, func(t *testing.T) providertest.Fixture { return fixture(t, c, p) })
	report(t, c)
}

// report logs what was asked of the cloud, and fails if moto could not do some of it.
func report(t *testing.T, c *awstest.Cloud) {
	t.Helper()
	reads, writes := 0, 0
	took := map[string]time.Duration{}
	count := map[string]int{}
	for _, r := range c.Requests() {
		took[r.Action] += r.Took
		count[r.Action]++
		if r.Mutating {
			writes++
		} else {
			reads++
		}
		if strings.HasPrefix(r.Code, "moto ") {
			t.Errorf("moto cannot do %s: %s %v", r.Action, r.Code, r.Form)
		}
	}
	t.Logf("%d requests that read, %d that write", reads, writes)
	if os.Getenv("AWSTEST_TIMES") != "" {
		for a, d := range took {
			t.Logf("%s: %d in %s, %s each", a, count[a], d, d/time.Duration(count[a]))
		}
	}
}
