// Package aws makes machines, networks, balancers and volumes at Amazon Web Services, with the vendor's own SDK.
//
// A network is a VPC with a public and a private subnet in each zone, an internet gateway, route tables, NAT gateways if they
// are asked for, and two security groups: one for all nodes, one for the control plane. In a VPC that is there already, only
// the groups are made. A machine is an instance; a balancer is a Network Load Balancer with a security group of its own,
// which is made first and goes last, so its ID is the balancer's; a volume is one of EBS.
//
// Owner, kind and name are tags, given in the call that creates. Calls that make something bear a client token where AWS has
// one; where it has none, a name that AWS accepts only once; and for a VPC, which has neither, they follow a look-up by tag.
package aws

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/provisionhq/provision/providers"
)

// Options are what a Provider needs to know. The zero value of everything but the region is its default.
type Options struct {
	Region          string   // empty: the SDK's own chain (AWS_REGION, the profile)
	Profile         string   // of the SDK's configuration files; empty: its own chain
	Endpoint        string   // URL in place of AWS's own, for all services
	Network         string   // ID of a VPC to use: it is never changed or deleted; empty: one is made
	NAT             string   // NATNone, NATOne or NATZone; empty is NATNone
	Addresses       string   // Public or Private: whether machines have addresses on the internet; empty is Public
	Zones           []string // where networks are, unless their spec says it; empty: the region's first three
	Image           string   // of machines whose spec names none; empty is DefaultImage
	InstanceProfile string   // name of the IAM instance profile of machines; empty: none
	// CloudAgentProfile is the name of the instance profile of the machines that a cloud agent runs on; it is never changed. Empty:
	// InstanceProfile, or else one is made.
	CloudAgentProfile string
	Pace              time.Duration // first pause between two looks at something that takes time; 1 s
	Patience          time.Duration // how long something may take at AWS; 10 min
	Lag               time.Duration // how long AWS may not see what was made; 10 s
}

// What Options.NAT can be.
const (
	NATNone = "none" // private subnets have no way out
	NATOne  = "one"  // one gateway, in the first zone, for all
	NATZone = "zone" // one in each zone
)

// What Options.Addresses can be.
const (
	Public  = "public"
	Private = "private"
)

// A Provider makes things in one region of one account. It is safe for concurrent use.
type Provider struct {
	o    Options
	ec2  *ec2.Client
	elb  *elb.Client
	sts  *sts.Client
	quo  *servicequotas.Client
	iam  *iam.Client
	keys keys
	made memory

	mu    sync.Mutex
	sizes map[string]size    // instance types that were looked up
	nets  map[string]*cached // networks that were looked up

	types   []providers.MachineType // on offer, as of typesAt
	typesAt time.Time
}

// New returns a provider. It reads the SDK's configuration and does no other I/O; credentials are looked for when they are
// needed first. The error wraps providers.Invalid.
func New(ctx context.Context, o Options) (*Provider, error) {
	loads := []func(*config.LoadOptions) error{config.WithRetryer(patient), config.WithLogger(logging.Nop{})} // it would write to stderr
	if o.Region != "" {
		loads = append(loads, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		loads = append(loads, config.WithSharedConfigProfile(o.Profile))
	}
	if o.Endpoint != "" {
		loads = append(loads, config.WithBaseEndpoint(o.Endpoint))
	}
	cfg, err := config.LoadDefaultConfig(ctx, loads...)
	if err != nil {
		return nil, fmt.Errorf("provider aws: %w: %w", providers.Invalid, err)
	}
	if o.Region = cfg.Region; o.Region == "" {
		return nil, fmt.Errorf("provider aws: %w: no region: name one with region, AWS_REGION or a profile", providers.Invalid)
	}
	if err := o.complete(); err != nil {
		return nil, err
	}
	if cfg.HTTPClient == nil { // the SDK has none of its own but where AWS_CA_BUNDLE is set
		cfg.HTTPClient = awshttp.NewBuildableClient()
	}
	cfg.HTTPClient = &plain{HTTPClient: cfg.HTTPClient, region: cfg.Region}
	return &Provider{o: o, ec2: ec2.NewFromConfig(cfg), elb: elb.NewFromConfig(cfg), sts: sts.NewFromConfig(cfg), quo: servicequotas.NewFromConfig(cfg),
		iam: iam.NewFromConfig(cfg), sizes: map[string]size{}, nets: map[string]*cached{}}, nil
}

// regionForm is that of a region's name, of all parts of AWS.
var regionForm = regexp.MustCompile(`^[a-z]{2,5}(-[a-z]+)+-[0-9]+$`)

// complete fills in defaults. A region that is not known is left open.
func (o *Options) complete() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("provider aws: %w", err)
		}
	}()
	set := func(v *string, to string) {
		if *v == "" {
			*v = to
		}
	}
	set(&o.NAT, NATNone)
	set(&o.Addresses, Public)
	set(&o.Image, DefaultImage)
	for d, to := range map[*time.Duration]time.Duration{&o.Pace: time.Second, &o.Patience: 10 * time.Minute, &o.Lag: 10 * time.Second} {
		if *d == 0 {
			*d = to
		}
	}
	if len(o.Zones) == 0 {
		all := zonesOf(o.Region)
		o.Zones = all[:min(3, len(all))]
	}
	switch {
	case o.Region != "" && !regionForm.MatchString(o.Region):
		return providers.BadAttribute("region", "region %q: it has the form eu-west-1", o.Region)
	case !slices.Contains([]string{NATNone, NATOne, NATZone}, o.NAT):
		return providers.BadAttribute("nat", "nat %q: it can be none, one or zone", o.NAT)
	case !slices.Contains([]string{Public, Private}, o.Addresses):
		return providers.BadAttribute("addresses", "addresses %q: they can be public or private", o.Addresses)
	case o.Network != "" && !isID(o.Network, "vpc"):
		return providers.BadAttribute("network", "network %q is not the ID of a VPC", o.Network)
	case o.Network != "" && o.NAT != NATNone:
		return providers.BadAttribute("nat", "nat is for networks that are made; %s stays as it is", o.Network)
	}
	for _, z := range o.Zones {
		if o.Region != "" && !strings.HasPrefix(z, o.Region) {
			return providers.BadAttribute("zones", "zone %q is not in region %s", z, o.Region)
		}
	}
	return nil
}

// patient tries again what was refused as too much, and nothing else: a call whose outcome is not known is made again only
// by who knows what it made.
func patient() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff, o.RateLimiter = 8, 20*time.Second, ratelimit.None
		o.Retryables = []retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			return aws.BoolTernary(kindOf(err) == providers.Throttled)
		})}
	})
}

// Open returns the provider that the attributes of a block describe: region, profile, endpoint, network, nat, addresses, image,
// instance_profile and cloud_agent_profile, which are strings, and zones, a list of them. The error wraps providers.Invalid.
func Open(attributes map[string]any) (*Provider, error) {
	o, err := options(attributes)
	if err != nil {
		return nil, err
	}
	return New(context.Background(), o)
}

// Offline returns what a provider of the block can do, as far as the block says it: nobody is asked, and neither environment nor
// configuration are read. The errors are Open's.
func Offline(attributes map[string]any) (providers.Caps, error) {
	o, err := options(attributes)
	if err == nil {
		err = o.complete()
	}
	if err != nil {
		return providers.Caps{}, err
	}
	return (&Provider{o: o}).Caps(), nil
}

// options reads the attributes of a block.
func options(attributes map[string]any) (o Options, err error) {
	names := []string{"region", "profile", "endpoint", "network", "nat", "addresses", "image", "instance_profile", "cloud_agent_profile"}
	if err := providers.KnownAttributes("aws", attributes, append(names, "zones")...); err != nil {
		return o, err
	}
	text := map[string]string{}
	for _, n := range names {
		s, err := providers.TextAttribute("aws", attributes, n)
		if err != nil {
			return o, err
		}
		text[n] = s
	}
	o = Options{Region: text["region"], Profile: text["profile"], Endpoint: text["endpoint"], Network: text["network"], NAT: text["nat"],
		Addresses: text["addresses"], Image: text["image"], InstanceProfile: text["instance_profile"], CloudAgentProfile: text["cloud_agent_profile"]}
	if v, ok := attributes["zones"]; ok {
		list, ok := v.([]any)
		for _, z := range list {
			s, is := z.(string)
			ok = ok && is && s != ""
			o.Zones = append(o.Zones, s)
		}
		if !ok {
			return o, fmt.Errorf("provider aws: %w: zones must be a list of strings", providers.Invalid)
		}
	}
	return o, nil
}

// Name returns "aws".
func (*Provider) Name() string { return "aws" }

// Caps says that AWS has everything. Zones are those of the region that AWS documents; an account may have fewer.
func (p *Provider) Caps() providers.Caps {
	zones := zonesOf(p.o.Region)
	for _, z := range p.o.Zones {
		if !slices.Contains(zones, z) {
			zones = append(zones, z)
		}
	}
	slices.Sort(zones)
	return providers.Caps{LoadBalancers: true, UDP: true, Volumes: true, Snapshots: true, Spot: true, Zones: zones, Arch: []string{"amd64", "arm64"},
		Prices: p.o.prices()}
}

// Machines returns the instances.
func (p *Provider) Machines() providers.Machines { return machines{p} }

// Networks returns the VPCs.
func (p *Provider) Networks() providers.Networks { return networks{p} }

// Account returns what AWS says of who asks.
func (p *Provider) Account() providers.Account { return account{p} }

// LoadBalancers returns the Network Load Balancers.
func (p *Provider) LoadBalancers() providers.LoadBalancers { return balancers{p} }

// Volumes returns the EBS volumes.
func (p *Provider) Volumes() providers.Volumes { return volumes{p} }

// zonesOf returns the zones of a region: most have three. From memory, not compared yet with
// https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-availability-zones.html
func zonesOf(region string) (zones []string) {
	letters, ok := map[string]string{"us-east-1": "abcdef", "us-west-1": "ac", "us-west-2": "abcd", "ap-northeast-1": "acd",
		"ap-northeast-2": "abcd", "ca-central-1": "abd", "cn-north-1": "abd"}[region]
	if !ok {
		letters = "abc"
	}
	for _, l := range letters {
		zones = append(zones, region+string(l))
	}
	return zones
}
