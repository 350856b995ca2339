// Package gcp makes machines, networks, balancers and volumes at Google Compute Engine, with the vendor's own client.
//
// A network is a VPC network of custom mode with one subnetwork, firewall rules by role and, if asked for, a Cloud Router with
// NAT. In a network that is there already, only the firewall rules are made. A machine is an instance, a shielded VM; a
// balancer is a passthrough Network Load Balancer, external or internal, with a reserved address, which is made first and goes
// last, so its ID is the balancer's; a volume is a zonal disk.
//
// Names at Google are unique in their place, and each thing's name is made of its owner, kind and name: so no call makes a thing
// twice, however late readers are. Owner, kind and name are labels too, given in the call that creates; where Compute has no
// labels (networks, firewall rules), they are the description, as JSON. An ID ends with Google's own number, which is never used
// again.
package gcp

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/providers"
)

// Options are what a Provider needs to know. The zero value of everything but project and region is its default.
type Options struct {
	Project        string   // ID of the project; empty: GOOGLE_CLOUD_PROJECT, then that of the credentials
	Region         string   // empty: GOOGLE_CLOUD_REGION
	Endpoint       string   // URL in place of Google's own, or gcloud's variable for one of this host; no credentials are sent to one that is not https
	Network        string   // name of a network to use: it is never changed or deleted; empty: one is made
	Subnetwork     string   // with Network: its subnetwork; empty: the only one in the region
	NAT            string   // NATNone or NATOne; empty is NATNone
	Addresses      string   // Public or Private: whether machines have addresses on the internet; empty is Public
	Zones          []string // where networks are, unless their spec says it; empty: the region's first three
	Image          string   // of machines whose spec names none; empty is DefaultImage
	ServiceAccount string   // e-mail of the service account of machines; empty: none
	// CloudAgentAccount is the e-mail of the service account of the machines that a cloud agent runs on; empty: ServiceAccount.
	CloudAgentAccount string
	Pace              time.Duration // first pause between two looks at something that takes time; 1 s
	Patience          time.Duration // how long something may take at Google; 10 min
	Lag               time.Duration // how long Google may not see what was made; 10 s
}

// What Options.NAT can be.
const (
	NATNone = "none" // machines without public addresses have no way out
	NATOne  = "one"  // a Cloud Router with NAT for the region
)

// What Options.Addresses can be.
const (
	Public  = "public"
	Private = "private"
)

// A Provider makes things in one region of one project. It is safe for concurrent use.
type Provider struct {
	o    Options
	api  *clients
	keys keys

	mu    sync.Mutex
	nets  map[providers.ID]*cached // networks that were looked up
	types []providers.MachineType  // on offer, as of typesAt

	typesAt time.Time
}

// New returns a provider. It looks for credentials and does no other I/O. The error wraps providers.Invalid, or providers.Denied
// if there are no credentials.
func New(ctx context.Context, o Options) (*Provider, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("provider gcp: %w", err)
	}
	api, err := dial(ctx, &o)
	if err != nil {
		return nil, fmt.Errorf("provider gcp: %w", err)
	}
	return &Provider{o: o, api: api, nets: map[providers.ID]*cached{}}, nil
}

var (
	regionForm  = regexp.MustCompile(`^[a-z]+(-[a-z]+)+[0-9]+$`)
	projectForm = regexp.MustCompile(`^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
	nameForm    = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

// complete fills in what the environment says, and defaults.
func (o *Options) complete() error {
	if err := fromEnvironment(o); err != nil {
		return err
	}
	if o.Region == "" {
		return fmt.Errorf("%w: no region: name one with region or GOOGLE_CLOUD_REGION", providers.Invalid)
	}
	return o.fill()
}

// fill fills in defaults. A region that is not known is left open.
func (o *Options) fill() error {
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
	switch {
	case o.Region != "" && !regionForm.MatchString(o.Region):
		return providers.BadAttribute("region", "region %q: it has the form europe-west1", o.Region)
	case o.Project != "" && !projectForm.MatchString(o.Project):
		return providers.BadAttribute("project", "project %q is not the ID of a project", o.Project)
	case !slices.Contains([]string{NATNone, NATOne}, o.NAT):
		return providers.BadAttribute("nat", "nat %q: it can be none or one", o.NAT)
	case !slices.Contains([]string{Public, Private}, o.Addresses):
		return providers.BadAttribute("addresses", "addresses %q: they can be public or private", o.Addresses)
	case o.Network != "" && !nameForm.MatchString(o.Network):
		return providers.BadAttribute("network", "network %q is not the name of a network", o.Network)
	case o.Network == "" && o.Subnetwork != "":
		return providers.BadAttribute("subnetwork", "subnetwork goes with network")
	case o.Network != "" && o.NAT != NATNone:
		return providers.BadAttribute("nat", "nat is for networks that are made; %s stays as it is", o.Network)
	}
	if len(o.Zones) == 0 {
		all := zonesOf(o.Region)
		o.Zones = all[:min(3, len(all))]
	}
	for _, z := range o.Zones {
		if o.Region != "" && !strings.HasPrefix(z, o.Region+"-") {
			return providers.BadAttribute("zones", "zone %q is not in region %s", z, o.Region)
		}
	}
	return nil
}

// Open returns the provider that the attributes of a block describe: project, region, endpoint, network, subnetwork, nat,
// addresses, image, service_account and cloud_agent_account, which are strings, and zones, a list of them. The error wraps providers.Invalid, or
// providers.Denied if there are no credentials.
func Open(attributes map[string]any) (*Provider, error) {
	o, err := options(attributes)
	if err != nil {
		return nil, err
	}
	return New(context.Background(), o)
}

// Offline returns what a provider of the block can do, as far as the block says it: nobody is asked, and neither environment nor
// credentials are looked at. The errors are Open's.
func Offline(attributes map[string]any) (providers.Caps, error) {
	o, err := options(attributes)
	if err != nil {
		return providers.Caps{}, err
	}
	if err := o.fill(); err != nil {
		return providers.Caps{}, fmt.Errorf("provider gcp: %w", err)
	}
	return (&Provider{o: o}).Caps(), nil
}

// options reads the attributes of a block.
func options(attributes map[string]any) (o Options, err error) {
	names := []string{"project", "region", "endpoint", "network", "subnetwork", "nat", "addresses", "image", "service_account", "cloud_agent_account"}
	if err := providers.KnownAttributes("gcp", attributes, append(names, "zones")...); err != nil {
		return o, err
	}
	text := map[string]string{}
	for _, n := range names {
		s, err := providers.TextAttribute("gcp", attributes, n)
		if err != nil {
			return o, err
		}
		text[n] = s
	}
	o = Options{Project: text["project"], Region: text["region"], Endpoint: text["endpoint"], Network: text["network"], Subnetwork: text["subnetwork"],
		NAT: text["nat"], Addresses: text["addresses"], Image: text["image"], ServiceAccount: text["service_account"], CloudAgentAccount: text["cloud_agent_account"]}
	if v, ok := attributes["zones"]; ok {
		list, ok := v.([]any)
		for _, z := range list {
			s, is := z.(string)
			ok = ok && is && s != ""
			o.Zones = append(o.Zones, s)
		}
		if !ok {
			return o, fmt.Errorf("provider gcp: %w: zones must be a list of strings", providers.Invalid)
		}
	}
	return o, nil
}

// Name returns "gce", the scheme of the node IDs that Google's own cloud controller gives.
func (*Provider) Name() string { return "gce" }

// Caps says that Google has everything. Zones are those of the region that Google documents.
func (p *Provider) Caps() providers.Caps {
	zones := zonesOf(p.o.Region)
	for _, z := range p.o.Zones {
		if !slices.Contains(zones, z) {
			zones = append(zones, z)
		}
	}
	slices.Sort(zones)
	return providers.Caps{LoadBalancers: true, UDP: true, Volumes: true, Snapshots: true, Spot: true, Zones: zones, Arch: []string{"amd64", "arm64"}, Prices: p.prices()}
}

// Machines returns the instances.
func (p *Provider) Machines() providers.Machines { return machines{p} }

// Networks returns the VPC networks.
func (p *Provider) Networks() providers.Networks { return networks{p} }

// Account returns what Google knows of whoever asks, of the project and of the region.
func (p *Provider) Account() providers.Account { return account{p} }

// LoadBalancers returns the passthrough Network Load Balancers.
func (p *Provider) LoadBalancers() providers.LoadBalancers { return balancers{p} }

// Volumes returns the zonal disks.
func (p *Provider) Volumes() providers.Volumes { return volumes{p} }

// zonesOf returns the zones of a region: most have a, b and c. From memory, not compared yet with
// https://cloud.google.com/compute/docs/regions-zones
func zonesOf(region string) (zones []string) {
	letters, ok := map[string]string{"europe-west1": "bcd", "us-central1": "abcf", "us-east1": "bcd"}[region]
	if !ok {
		letters = "abc"
	}
	for _, l := range letters {
		zones = append(zones, region+"-"+string(l))
	}
	return zones
}
