// Package azure makes machines, networks, balancers and volumes at Microsoft Azure, with the vendor's own SDK.
//
// A network is a resource group with a virtual network of one subnet, a network security group, an application security group
// for each role, and a NAT gateway if it is asked for. In a virtual network that is there already, only the groups are made. A
// machine is a public address, a network interface and a virtual machine, made in this order; a balancer is a public address
// and a Standard load balancer; a volume is a managed disk in a resource group of the owner's, which outlives networks.
//
// Azure's names are part of what they name, so whatever is made once has a name made of owner and name, and a PUT that is made
// again finds it there. IDs have a generation besides, a tag, so that none is ever used again.
package azure

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"github.com/provisionhq/provision/providers"
)

// Options are what a Provider needs to know. The zero value of everything but subscription and location is its default.
type Options struct {
	Subscription string   // ID; empty: AZURE_SUBSCRIPTION_ID
	Location     string   // "westeurope"
	Tenant       string   // empty: the credential's own
	Cloud        string   // "public", "china" or "government"; empty is public
	Endpoint     string   // URL in place of Azure Resource Manager's own: https, or http at a loopback address, which is sent no credentials
	Network      string   // resource ID of a subnet to use: it is never changed or deleted; empty: a network is made
	NAT          string   // NATNone or NATOne; empty is NATNone
	Addresses    string   // Public or Private: whether machines have addresses on the internet; empty is Public
	Zones        []string // where machines are, unless their network's spec says it: "westeurope-1"; empty: all of the location
	Image        string   // of machines whose spec names none; empty is DefaultImage
	Identity     string   // resource ID of the user-assigned managed identity of machines; empty: none
	// CloudAgentIdentity is the resource ID of that of the machines that a cloud agent runs on; empty: Identity.
	CloudAgentIdentity string

	Credential azcore.TokenCredential // nil: the SDK's own chain
	Transport  policy.Transporter     // nil: HTTP
	Pace       time.Duration          // first pause between two looks at something that takes time; 2 s
	Patience   time.Duration          // how long something may take at Azure; 15 min
	Lag        time.Duration          // how long Azure may not see what was made; 10 s
}

// What Options.NAT can be.
const (
	NATNone = "none" // machines without a public address have no way out
	NATOne  = "one"  // a NAT gateway on the subnet
)

// What Options.Addresses can be.
const (
	Public  = "public"
	Private = "private"
)

// A Provider makes things in one location of one subscription. It is safe for concurrent use.
type Provider struct {
	o    Options
	keys keys
	made memory

	who azcore.TokenCredential
	raw *arm.Client // for what the SDK's modules have no call for

	groups    *armresources.ResourceGroupsClient
	resources *armresources.Client
	tags      *armresources.TagsClient
	vms       *armcompute.VirtualMachinesClient
	images    *armcompute.VirtualMachineImagesClient
	skus      *armcompute.ResourceSKUsClient
	disks     *armcompute.DisksClient
	copies    *armcompute.SnapshotsClient
	vnets     *armnetwork.VirtualNetworksClient
	subnets   *armnetwork.SubnetsClient
	firewalls *armnetwork.SecurityGroupsClient
	rules     *armnetwork.SecurityRulesClient
	roles     *armnetwork.ApplicationSecurityGroupsClient
	nats      *armnetwork.NatGatewaysClient
	addresses *armnetwork.PublicIPAddressesClient
	nics      *armnetwork.InterfacesClient
	lbs       *armnetwork.LoadBalancersClient

	computeUsages *armcompute.UsageClient
	networkUsages *armnetwork.UsagesClient

	mu      sync.Mutex
	sizes   map[string]size // machine types on offer, as of sizesAt
	sizesAt time.Time
}

// New returns a provider. It does no I/O; credentials are looked for when they are needed first. The error wraps
// providers.Invalid.
func New(o Options) (*Provider, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("provider azure: %w", err)
	}
	p := &Provider{o: o}
	if err := p.connect(); err != nil {
		return nil, fmt.Errorf("provider azure: %w: %w", providers.Invalid, err)
	}
	return p, nil
}

// connect makes the SDK's clients.
func (p *Provider) connect() error {
	cred, err := p.o.credential()
	if err != nil {
		return err
	}
	options := &arm.ClientOptions{DisableRPRegistration: true, ClientOptions: policy.ClientOptions{Cloud: p.o.cloud(), Transport: p.o.Transport, Retry: patient(),
		InsecureAllowCredentialWithHTTP: atHome(p.o.Endpoint)}}
	if p.raw, err = arm.NewClient("provision", "v1.0.0", cred, options); err != nil {
		return err
	}
	compute, err := armcompute.NewClientFactory(p.o.Subscription, cred, options)
	if err != nil {
		return err
	}
	network, err := armnetwork.NewClientFactory(p.o.Subscription, cred, options)
	if err != nil {
		return err
	}
	resources, err := armresources.NewClientFactory(p.o.Subscription, cred, options)
	if err != nil {
		return err
	}
	p.who = cred
	p.computeUsages, p.networkUsages = compute.NewUsageClient(), network.NewUsagesClient()
	p.groups, p.resources, p.tags = resources.NewResourceGroupsClient(), resources.NewClient(), resources.NewTagsClient()
	p.vms, p.images, p.skus = compute.NewVirtualMachinesClient(), compute.NewVirtualMachineImagesClient(), compute.NewResourceSKUsClient()
	p.disks, p.copies = compute.NewDisksClient(), compute.NewSnapshotsClient()
	p.vnets, p.subnets = network.NewVirtualNetworksClient(), network.NewSubnetsClient()
	p.firewalls, p.rules = network.NewSecurityGroupsClient(), network.NewSecurityRulesClient()
	p.roles, p.nats = network.NewApplicationSecurityGroupsClient(), network.NewNatGatewaysClient()
	p.addresses, p.nics, p.lbs = network.NewPublicIPAddressesClient(), network.NewInterfacesClient(), network.NewLoadBalancersClient()
	return nil
}

// patient tries again what was refused as too much, after the time that Azure says, and nothing else: a call whose outcome is
// not known is made again only by who knows what it made.
func patient() policy.RetryOptions {
	return policy.RetryOptions{MaxRetries: 8, RetryDelay: 500 * time.Millisecond, MaxRetryDelay: 2 * time.Minute,
		ShouldRetry: func(r *http.Response, err error) bool {
			return err == nil && r != nil && r.StatusCode == http.StatusTooManyRequests
		}}
}

// complete fills in what the environment says, and defaults.
func (o *Options) complete() error {
	if o.Subscription == "" {
		o.Subscription = os.Getenv("AZURE_SUBSCRIPTION_ID")
	}
	if e := os.Getenv(endpointVariable); o.Endpoint == "" && e != "" {
		if !atHome(e) {
			return fmt.Errorf("%w: %s=%s: the variable may name only a program on this host, http at an address such as 127.0.0.1", providers.Invalid, endpointVariable, e)
		}
		o.Endpoint = e
	}
	if o.Subscription == "" {
		return fmt.Errorf("%w: no subscription: name one with subscription or AZURE_SUBSCRIPTION_ID", providers.Invalid)
	}
	return o.fill()
}

// fill fills in defaults.
func (o *Options) fill() error {
	set := func(v *string, to string) {
		if *v == "" {
			*v = to
		}
	}
	set(&o.Cloud, "public")
	set(&o.NAT, NATNone)
	set(&o.Addresses, Public)
	set(&o.Image, DefaultImage)
	for d, to := range map[*time.Duration]time.Duration{&o.Pace: 2 * time.Second, &o.Patience: 15 * time.Minute, &o.Lag: 10 * time.Second} {
		if *d == 0 {
			*d = to
		}
	}
	o.Location = strings.ToLower(strings.ReplaceAll(o.Location, " ", ""))
	if len(o.Zones) == 0 {
		o.Zones = zonesOf(o.Location)
	}
	subnet := regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+$`)
	switch {
	case !regexp.MustCompile(`^[a-z0-9]+$`).MatchString(o.Location):
		return providers.BadAttribute("location", "location %q: name one as Azure does, such as westeurope", o.Location)
	case !slices.Contains([]string{"public", "china", "government"}, o.Cloud):
		return providers.BadAttribute("cloud", "cloud %q: it can be public, china or government", o.Cloud)
	case !slices.Contains([]string{NATNone, NATOne}, o.NAT):
		return providers.BadAttribute("nat", "nat %q: it can be none or one", o.NAT)
	case !slices.Contains([]string{Public, Private}, o.Addresses):
		return providers.BadAttribute("addresses", "addresses %q: they can be public or private", o.Addresses)
	case o.Network != "" && !subnet.MatchString(o.Network):
		return providers.BadAttribute("network", "network %q is not the resource ID of a subnet", o.Network)
	case o.Network != "" && o.NAT != NATNone:
		return providers.BadAttribute("nat", "nat is for networks that are made; %s stays as it is", o.Network)
	case o.Endpoint != "" && !strings.HasPrefix(o.Endpoint, "https://") && !atHome(o.Endpoint):
		return providers.BadAttribute("endpoint", "endpoint %q must begin with https://, or with http:// and an address of this host such as 127.0.0.1", o.Endpoint)
	}
	for _, z := range o.Zones {
		if !regexp.MustCompile(`^` + o.Location + `-[1-9]$`).MatchString(z) {
			return providers.BadAttribute("zones", "zone %q: zones are named %s-1 and so on", z, o.Location)
		}
	}
	return nil
}

// Open returns the provider that the attributes of a block describe: subscription, location, tenant, cloud, endpoint, network,
// nat, addresses, image, identity and cloud_agent_identity, which are strings, and zones, a list of them. The error wraps providers.Invalid.
func Open(attributes map[string]any) (*Provider, error) {
	o, err := options(attributes)
	if err != nil {
		return nil, err
	}
	return New(o)
}

// Offline returns what a provider of the block can do, as far as the block says it: nobody is asked, and neither environment nor
// credentials are looked at. The errors are Open's.
func Offline(attributes map[string]any) (providers.Caps, error) {
	o, err := options(attributes)
	if err != nil {
		return providers.Caps{}, err
	}
	if err := o.fill(); err != nil {
		return providers.Caps{}, fmt.Errorf("provider azure: %w", err)
	}
	return (&Provider{o: o}).Caps(), nil
}

// options reads the attributes of a block.
func options(attributes map[string]any) (o Options, err error) {
	names := []string{"subscription", "location", "tenant", "cloud", "endpoint", "network", "nat", "addresses", "image", "identity", "cloud_agent_identity"}
	if err := providers.KnownAttributes("azure", attributes, append(names, "zones")...); err != nil {
		return o, err
	}
	text := map[string]string{}
	for _, n := range names {
		s, err := providers.TextAttribute("azure", attributes, n)
		if err != nil {
			return o, err
		}
		text[n] = s
	}
	o = Options{Subscription: text["subscription"], Location: text["location"], Tenant: text["tenant"], Cloud: text["cloud"], Endpoint: text["endpoint"],
		Network: text["network"], NAT: text["nat"], Addresses: text["addresses"], Image: text["image"], Identity: text["identity"], CloudAgentIdentity: text["cloud_agent_identity"]}
	if v, ok := attributes["zones"]; ok {
		list, ok := v.([]any)
		for _, z := range list {
			s, is := z.(string)
			ok = ok && is && s != ""
			o.Zones = append(o.Zones, s)
		}
		if !ok {
			return o, fmt.Errorf("provider azure: %w: zones must be a list of strings", providers.Invalid)
		}
	}
	return o, nil
}

// Name returns "azure".
func (*Provider) Name() string { return "azure" }

// Caps says that Azure has everything. Zones are those that Azure documents for the location.
func (p *Provider) Caps() providers.Caps {
	return providers.Caps{LoadBalancers: true, UDP: true, Volumes: true, Snapshots: true, Spot: true, Zones: p.zones(), Arch: []string{"amd64", "arm64"}, Prices: p.prices()}
}

// zones are those that Azure documents for the location, and those that the options name.
func (p *Provider) zones() []string {
	all := zonesOf(p.o.Location)
	for _, z := range p.o.Zones {
		if !slices.Contains(all, z) {
			all = append(all, z)
		}
	}
	slices.Sort(all)
	return all
}

// Machines returns the virtual machines.
func (p *Provider) Machines() providers.Machines { return machines{p} }

// Networks returns the resource groups with virtual networks.
func (p *Provider) Networks() providers.Networks { return networks{p} }

// Account returns the one whose credentials are used.
func (p *Provider) Account() providers.Account { return account{p} }

// LoadBalancers returns the Standard load balancers.
func (p *Provider) LoadBalancers() providers.LoadBalancers { return balancers{p} }

// Volumes returns the managed disks.
func (p *Provider) Volumes() providers.Volumes { return volumes{p} }

// zonesOf returns the zones of a location; none if Azure documents none. From memory, not compared yet with
// https://learn.microsoft.com/azure/reliability/regions-list
func zonesOf(location string) (zones []string) {
	with := strings.Fields(`australiaeast austriaeast belgiumcentral brazilsouth canadacentral centralindia centralus chilecentral chinanorth3
		eastasia eastus eastus2 francecentral germanywestcentral indonesiacentral israelcentral italynorth japaneast japanwest
		koreacentral malaysiawest mexicocentral newzealandnorth northeurope norwayeast polandcentral qatarcentral
		southafricanorth southcentralus southeastasia spaincentral swedencentral switzerlandnorth uaenorth uksouth
		usgovvirginia westeurope westus2 westus3`)
	if !slices.Contains(with, location) {
		return nil
	}
	return []string{location + "-1", location + "-2", location + "-3"}
}
