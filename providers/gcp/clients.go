package gcp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	neturl "net/url"
	"os"
	"slices"
	"strings"

	compute "cloud.google.com/go/compute/apiv1"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	transport "google.golang.org/api/transport/http"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/provisionhq/provision/providers"
)

// clients are those of Compute's collections, one each.
type clients struct {
	instances *compute.InstancesClient
	types     *compute.MachineTypesClient
	images    *compute.ImagesClient
	disks     *compute.DisksClient
	snapshots *compute.SnapshotsClient
	networks  *compute.NetworksClient
	subnets   *compute.SubnetworksClient
	firewalls *compute.FirewallsClient
	routers   *compute.RoutersClient
	addresses *compute.AddressesClient
	rules     *compute.ForwardingRulesClient
	checks    *compute.RegionHealthChecksClient
	services  *compute.RegionBackendServicesClient
	groups    *compute.NetworkEndpointGroupsClient
	zonal     *compute.ZoneOperationsClient
	regional  *compute.RegionOperationsClient
	global    *compute.GlobalOperationsClient

	projects *compute.ProjectsClient
	regions  *compute.RegionsClient
	routes   *compute.RoutesClient

	http     *http.Client // for what the client cannot do
	endpoint string
	alone    bool   // the endpoint stands in for all of Google, not for Compute alone
	email    string // of the credentials, if they are a service account's
}

// fromEnvironment fills in what Google's own tools take from the environment.
func fromEnvironment(o *Options) error {
	for _, v := range []string{"GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"} {
		if o.Project == "" {
			o.Project = os.Getenv(v)
		}
	}
	for _, v := range []string{"GOOGLE_CLOUD_REGION", "CLOUDSDK_COMPUTE_REGION"} {
		if o.Region == "" {
			o.Region = os.Getenv(v)
		}
	}
	if v := os.Getenv(endpointVariable); o.Endpoint == "" && v != "" { // as gcloud has it, with the API's version
		if !loopback(v) {
			return fmt.Errorf("%w: %s is %s: an endpoint that is not of this host is named in the file, with endpoint", providers.Invalid, endpointVariable, v)
		}
		o.Endpoint = strings.TrimSuffix(strings.TrimSuffix(v, "/"), "/compute/v1")
	}
	return nil
}

// endpointVariable is where gcloud looks for a URL in place of Google's own.
const endpointVariable = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"

// loopback says whether a URL is of this host, where it gets no credentials. A variable that somebody left behind should not send
// them, or a cluster, anywhere else.
func loopback(url string) bool {
	u, err := neturl.Parse(url)
	if err != nil || u.Scheme != "http" {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return err == nil && a.IsLoopback() || u.Hostname() == "localhost"
}

// scopes are what the credentials are asked for: Compute, and to be told who one is and which permissions one has.
func scopes() []string {
	const auth = "https://www.googleapis.com/auth/"
	return []string{auth + "compute", auth + "cloud-platform.read-only", auth + "userinfo.email"}
}

// dial makes the clients. It names the project of the credentials if the options name none.
func dial(ctx context.Context, o *Options) (*clients, error) {
	opts := []option.ClientOption{option.WithUserAgent("provision")}
	if o.Endpoint != "" {
		opts = append(opts, option.WithEndpoint(strings.TrimSuffix(o.Endpoint, "/")))
	}
	email := ""
	if strings.HasPrefix(o.Endpoint, "http://") {
		opts = append(opts, option.WithoutAuthentication()) // a token never travels in clear
	} else {
		found, err := credentials(ctx)
		if err != nil {
			return nil, err
		}
		if o.Project == "" {
			o.Project = found.ProjectID
		}
		opts = append(opts, option.WithTokenSource(found.TokenSource))
		email = emailIn(found.JSON)
	}
	if o.Project == "" {
		return nil, fail(providers.Invalid, "no project: name one with project or GOOGLE_CLOUD_PROJECT")
	}
	c := &clients{email: email, alone: strings.HasPrefix(o.Endpoint, "http://")}
	web, _, err := transport.NewClient(ctx, append(slices.Clone(opts), option.WithScopes(scopes()...))...)
	c.http, c.endpoint = web, "https://compute.googleapis.com"
	if o.Endpoint != "" {
		c.endpoint = strings.TrimSuffix(o.Endpoint, "/")
	}
	for _, err := range []error{
		err,
		client(ctx, &c.instances, compute.NewInstancesRESTClient, opts),
		client(ctx, &c.types, compute.NewMachineTypesRESTClient, opts),
		client(ctx, &c.images, compute.NewImagesRESTClient, opts),
		client(ctx, &c.disks, compute.NewDisksRESTClient, opts),
		client(ctx, &c.snapshots, compute.NewSnapshotsRESTClient, opts),
		client(ctx, &c.networks, compute.NewNetworksRESTClient, opts),
		client(ctx, &c.subnets, compute.NewSubnetworksRESTClient, opts),
		client(ctx, &c.firewalls, compute.NewFirewallsRESTClient, opts),
		client(ctx, &c.routers, compute.NewRoutersRESTClient, opts),
		client(ctx, &c.addresses, compute.NewAddressesRESTClient, opts),
		client(ctx, &c.rules, compute.NewForwardingRulesRESTClient, opts),
		client(ctx, &c.checks, compute.NewRegionHealthChecksRESTClient, opts),
		client(ctx, &c.services, compute.NewRegionBackendServicesRESTClient, opts),
		client(ctx, &c.groups, compute.NewNetworkEndpointGroupsRESTClient, opts),
		client(ctx, &c.zonal, compute.NewZoneOperationsRESTClient, opts),
		client(ctx, &c.regional, compute.NewRegionOperationsRESTClient, opts),
		client(ctx, &c.global, compute.NewGlobalOperationsRESTClient, opts),
		client(ctx, &c.projects, compute.NewProjectsRESTClient, opts),
		client(ctx, &c.regions, compute.NewRegionsRESTClient, opts),
		client(ctx, &c.routes, compute.NewRoutesRESTClient, opts),
	} {
		if err != nil {
			return nil, fmt.Errorf("%w: %w", providers.Invalid, err)
		}
	}
	return c, nil
}

// client makes one client.
func client[C any](ctx context.Context, c **C, make func(context.Context, ...option.ClientOption) (*C, error), opts []option.ClientOption) (err error) {
	*c, err = make(ctx, opts...)
	return err
}

// emailIn is who a service account's key is for; "" for other credentials.
func emailIn(credentials []byte) string {
	var key struct {
		Email string `json:"client_email"`
	}
	_ = json.Unmarshal(credentials, &key) // those of the metadata server are empty
	return key.Email
}

// service is where a service of Google's is that is not Compute.
func (c *clients) service(host string) string {
	if c.alone {
		return c.endpoint
	}
	return "https://" + host
}

// post makes a request that the client makes wrongly: of lists that are asked for by POST it sends the whole request as the body
// (as of compute v1.75.0), and Google knows no such fields.
func (c *clients) post(ctx context.Context, path, page string, answer proto.Message) error {
	url := c.endpoint + "/compute/v1/" + path
	if page != "" {
		url += "?pageToken=" + neturl.QueryEscape(page)
	}
	var data json.RawMessage
	if err := c.ask(ctx, url, "{}", &data); err != nil {
		return err
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true}.Unmarshal(data, answer)
}

// ask makes a request and reads the answer: a POST if there is a question, else a GET.
func (c *clients) ask(ctx context.Context, url, question string, answer any) error {
	verb := http.MethodGet
	if question != "" {
		verb = http.MethodPost
	}
	q, err := http.NewRequestWithContext(ctx, verb, url, strings.NewReader(question))
	if err != nil {
		return err
	}
	q.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := googleapi.CheckResponse(resp); err != nil {
		return err
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
