//go:build e2e

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/all"
	"github.com/provisionhq/provision/providers/aws/awstest"
	"github.com/provisionhq/provision/providers/azure/azuretest"
	"github.com/provisionhq/provision/providers/gcp/gcptest"
)

// What can be wrong at a vendor, and which test has it told:
//
//	no, wrong, expired credentials      here; TestWrongCredentials, TestAccountIsRefused, TestCredentials of the providers; TestBrokenKey, TestTokenRefused of GCP
//	a service that is not registered    TestUnregistered of Azure
//	a zone, a profile that is not there TestCheckFindsProblems of AWS, TestAccountFindsProblems of GCP
//	too few permissions                 TestE2EGCPAccount, TestE2EAzureAccount; TestOperatorPolicy, TestEachPermissionIsMissed, TestMissingPermissions
//	a region that does not exist        here; TestNoSuchRegion of AWS
//	a type that is not offered          here; TestCheckFindsProblems, TestAccountFindsProblems, TestProblems for a zone's
//	a quota of 0, an image that is gone here
//	a subnet that overlaps              TestCheckFindsProblems, TestRangeThatOverlaps
//	a name that is taken                here for Azure; TestCheckFindsProblems for AWS
//	a network that lacks a route        here for AWS; for the others none
//	changed by hand                     drift.txtar; TestGcloud deletes a machine behind our back
//	an instance that ends while it boots TestInstanceEndsWhileItStarts of AWS
//	what blocks a delete                here, for Azure a lock; TestStrangersBlockADelete of AWS

// A mishap is something that is wrong with a file, an account or what is there at a vendor. What is said of it has the file's line, the
// next step, the vendor's ID of the request if it was a request that was refused, and words of its own.
type mishap struct {
	what    string
	edit    []string // old and new, of the example's file
	environ []string
	spoil   func()
	verb    string // "apply" unless said
	code    int
	line    string // what the file's line has
	request bool
	says    string
}

// requestID is how the vendors' IDs are told: AWS and Azure have one for a request, Google for an operation, and none for a request
// that it refuses.
var requestID = regexp.MustCompile(`\((request|operation)\s+[A-Za-z0-9-]+\)`)

// nextStep is advice in words, or what can be written in a value's place.
var nextStep = regexp.MustCompile(`run the same command again|It has [A-Za-z0-9]|Did you mean`)

// check lets the command meet the mishap.
func (m mishap) check(r *rig, example string) {
	r.t.Helper()
	text := strings.NewReplacer(m.edit...).Replace(example)
	if len(m.edit) > 0 && text == example {
		r.t.Fatalf("the example has no %q", m.edit)
	}
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if m.spoil != nil {
		m.spoil()
	}
	before := r.environ
	r.environ = append(slices.Clone(before), m.environ...)
	defer func() { r.environ = before }()
	verb := m.verb
	if verb == "" {
		verb = "apply"
	}
	_, said, err := r.try(time.Minute, verb, r.file, "--auto-approve")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != m.code {
		r.t.Errorf("%v, want exit code %d", err, m.code)
	}
	flat := strings.Join(strings.Fields(said), " ") // lines are broken to the width of a page
	for what, ok := range map[string]bool{
		"its own words, " + m.says: strings.Contains(flat, m.says),
		"the line with " + m.line:  regexp.MustCompile(`(?m)^ +\d+: .*` + regexp.QuoteMeta(m.line)).MatchString(said),
		"the next step":            strings.Contains(said, "\n    provision ") || nextStep.MatchString(flat),
		"the vendor's request":     !m.request || requestID.MatchString(flat),
	} {
		if !ok {
			r.t.Errorf("%s lacks %s:\n%s", verb, what, said)
		}
	}
}

// mishaps has a file's mishaps at a cloud, one after another.
func mishaps(t *testing.T, vendor string, open func(*rig) []mishap) {
	r := newRig(t)
	dir := t.TempDir()
	example := map[string]string{"aws": "aws-ha", "gcp": "gcp", "azure": "azure"}[vendor]
	r.copyExample("../../examples/"+example+"/cluster.hcl", dir)
	r.file = filepath.Join(dir, "cluster.hcl")
	text, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range open(r) {
		t.Run(m.what, func(t *testing.T) {
			outer := r.t
			r.t = t
			defer func() { r.t = outer }()
			m.check(r, string(text))
		})
	}
}

// send asks a vendor's API by plain HTTP.
func send(t *testing.T, method, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode > 299 {
		t.Fatalf("%s %s: %s, %v\n%s", method, url, resp.Status, err, text)
	}
	return string(text)
}

// standingNetwork makes the network of a cluster without the command.
func standingNetwork(t *testing.T, vendor string, attributes map[string]any, owner string) providers.Network {
	t.Helper()
	p, err := all.Open(vendor, attributes)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := p.Networks().Create(ctx, providers.NetworkSpec{Owner: providers.Owner(owner), Name: "main"})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestE2EBadInputAzure has what can be wrong at Azure told.
func TestE2EBadInputAzure(t *testing.T) {
	mishaps(t, "azure", func(r *rig) []mishap {
		c := azuretest.New(azuretest.Options{})
		s := httptest.NewServer(c)
		r.t.Cleanup(func() { s.Close(); c.Close(); r.file += ".gone" })
		r.environ = append(r.environ, "AZURE_RESOURCE_MANAGER_ENDPOINT="+s.URL, "AZURE_SUBSCRIPTION_ID="+azuretest.Subscription)
		group := s.URL + "/subscriptions/" + azuretest.Subscription + "/resourcegroups/provision_azure_main?api-version=2021-04-01"
		return []mishap{
			{what: "no credentials", environ: []string{"AZURE_RESOURCE_MANAGER_ENDPOINT=", "AZURE_CONFIG_DIR=/nowhere", "AZURE_TOKEN_CREDENTIALS=EnvironmentCredential"}, code: 2, line: `provider "azure"`, says: "run az login"},
			{what: "expired", spoil: func() {
				c.Fail("ResourceSKUsClient.NewListPager", 1, 401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than now.")
			}, code: 2, line: `provider "azure"`, request: true, says: "whether the credentials still hold"},
			{what: "no such region", edit: []string{"westeurope", "marsnorth"}, code: 2, line: "location = ", says: "no machine types in the location marsnorth"},
			{what: "no such type", edit: []string{"Standard_D2s_v5", "Standard_D2s_v99"}, code: 2, line: "machine = ", says: "Standard_D2s_v99"},
			{what: "an image that is gone", edit: []string{"  location =", "  image = \"Debian:debian-9:9:latest\"\n  location ="}, code: 2, line: "image = ", says: "Debian:debian-9"},
			{what: "a quota of 0", spoil: func() { c.Limit("cores", 0) }, code: 2, line: "count", says: "Total Regional vCPUs: 0 of 0"},
			{what: "a name that is taken", spoil: func() {
				c.Limit("cores", 100)
				send(r.t, "PUT", group, `{"location":"westeurope","tags":{"team":"finance"}}`)
			}, code: 2, line: `cluster "azure"`, says: "provision_azure_main"},
			{what: "what is locked", verb: "destroy", spoil: func() {
				send(r.t, "DELETE", group, "")
				r.t.Setenv("AZURE_RESOURCE_MANAGER_ENDPOINT", s.URL)
				standingNetwork(r.t, "azure", map[string]any{"location": "westeurope", "subscription": azuretest.Subscription}, "azure")
				c.Fail("ResourceGroupsClient.BeginDelete", 1, 409, "ResourceGroupDeletionBlocked", "Deletion of resource group failed as a resource is locked.")
			}, code: 1, line: "machines = ", request: true, says: "with the vendor's own tools"},
		}
	})
}

// TestE2EBadInputGCP has what can be wrong at Google Cloud told.
func TestE2EBadInputGCP(t *testing.T) {
	mishaps(t, "gcp", func(r *rig) []mishap {
		c := r.googleCloud()
		return []mishap{
			{what: "no credentials", environ: []string{"CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE=", "GOOGLE_APPLICATION_CREDENTIALS=/nowhere/account.json"}, code: 2, line: `provider "gcp"`, says: "/nowhere/account.json"},
			{what: "expired", spoil: func() { c.Fail("", 1, 401, "authError", "Invalid Credentials", 0) }, code: 2, line: `provider "gcp"`, says: "whether the credentials still hold"},
			{what: "no such region", edit: []string{"europe-west1", "mars-north1"}, code: 2, line: "region ", says: "no machine types in the region mars-north1"},
			{what: "no such type", edit: []string{"e2-standard-2", "e9-huge-2"}, code: 2, line: "machine = ", says: "e9-huge-2"},
			{what: "a quota of 0", spoil: func() { c.Reset(gcptest.Options{}); c.Quota("CPUS", 0) }, code: 2, line: "count", says: "CPUS in europe-west1: 0 of 0"},
			{what: "an image that is gone", edit: []string{"  region =", "  image = \"projects/debian-cloud/global/images/debian-9\"\n  region ="}, spoil: func() { c.Reset(gcptest.Options{}) }, code: 2, line: "image = ", says: "debian-9"},
			{what: "what is in the way of a delete", verb: "destroy", spoil: func() {
				r.t.Setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", c.URL+"/compute/v1/")
				standingNetwork(r.t, "gcp", map[string]any{"region": "europe-west1", "project": gcptest.Project}, "gcp")
				vpcs := send(r.t, "GET", c.URL+"/compute/v1/projects/"+gcptest.Project+"/global/networks", "")
				link := regexp.MustCompile(`"selfLink": *"([^"]*/networks/provision-[^"]*|[^"]*/networks/[^"]*gcp[^"]*)"`).FindStringSubmatch(vpcs)
				if link == nil {
					r.t.Fatalf("networks: %s", vpcs)
				}
				send(r.t, "POST", c.URL+"/compute/v1/projects/"+gcptest.Project+"/global/firewalls", fmt.Sprintf(`{"name":"theirs","network":%q,"allowed":[{"IPProtocol":"tcp"}],"sourceRanges":["192.0.2.0/24"]}`, link[1]))
			}, code: 1, line: "machines = ", says: "with the vendor's own tools"},
		}
	})
}

// TestE2EBadInputAWS has what can be wrong at AWS told.
func TestE2EBadInputAWS(t *testing.T) {
	mishaps(t, "aws", func(r *rig) []mishap {
		c, err := awstest.New(r.t.Context(), awstest.Options{})
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { _ = c.Close(); r.file += ".gone" })
		r.environ = append(r.environ, "AWS_ENDPOINT_URL="+c.URL, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/nowhere", "AWS_SHARED_CREDENTIALS_FILE=/nowhere")
		aws := func(args ...string) string { // AWS's own command line
			r.t.Helper()
			cmd := exec.Command("aws", append([]string{"--region", "eu-west-1", "--endpoint-url", c.URL, "--output", "text", "ec2"}, args...)...)
			cmd.Env = r.environ
			out, err := cmd.CombinedOutput()
			if err != nil {
				r.t.Fatalf("aws %v: %v\n%s", args, err, out)
			}
			return strings.TrimSpace(string(out))
		}
		bare := aws("create-vpc", "--cidr-block", "10.20.0.0/16", "--query", "Vpc.VpcId")
		for i, zone := range []string{"eu-west-1a", "eu-west-1b", "eu-west-1c"} {
			aws("create-subnet", "--vpc-id", bare, "--cidr-block", fmt.Sprintf("10.20.%d.0/24", i), "--availability-zone", zone)
		}
		return []mishap{
			{what: "no credentials", environ: []string{"AWS_ACCESS_KEY_ID="}, code: 2, line: `provider "aws"`, says: "aws sso login"},
			{what: "expired", spoil: func() { c.Fail("DescribeInstanceTypes", 1, 400, "RequestExpired", "Request has expired.") }, code: 2, line: `provider "aws"`, request: true, says: "whether the credentials still hold"},
			{what: "no such region", edit: []string{`"eu-west-1"`, `"mars"`}, code: 2, line: "region ", says: "it has the form eu-west-1"},
			{what: "no such type", edit: []string{"t3.medium", "m99.huge"}, code: 2, line: "machine = ", says: "m99.huge"},
			{what: "an image that is gone", edit: []string{"  region =", "  image = \"ami-0123456789abcdef0\"\n  region ="}, code: 2, line: "image = ", says: "ami-0123456789abcdef0"},
			{what: "a network without a route", edit: []string{"  region =", "  network = \"" + bare + "\"\n  region ="}, code: 2, line: "network = ", says: "0.0.0.0/0"},
			{what: "a quota of 0", spoil: func() { c.SetQuota("L-1216C47A", 0) }, code: 2, line: "count", says: "0 of 0"},
			{what: "what is in the way of a delete", verb: "destroy", spoil: func() {
				c.SetQuota("L-1216C47A", 1000)
				for _, e := range r.environ {
					if k, v, ok := strings.Cut(e, "="); ok && strings.HasPrefix(k, "AWS_") {
						r.t.Setenv(k, v)
					}
				}
				n := standingNetwork(r.t, "aws", map[string]any{"region": "eu-west-1", "endpoint": c.URL}, "aws-ha")
				aws("create-security-group", "--group-name", "theirs", "--description", "x", "--vpc-id", string(n.ID))
			}, code: 1, line: "machines = ", request: true, says: "with the vendor's own tools"},
		}
	})
}
