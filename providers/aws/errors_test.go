package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/provisionhq/provision/providers"
)

// refused is an error as the SDK returns it.
func refused(code string, status int) error {
	return &smithy.OperationError{ServiceID: "EC2", OperationName: "RunInstances", Err: &awshttp.ResponseError{RequestID: "req-1",
		ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
			Err: &smithy.GenericAPIError{Code: code, Message: "so it is"}}}}
}

func TestEveryCodeHasAKindAndASource(t *testing.T) {
	seen := map[string]providers.Kind{}
	used := map[providers.Kind]bool{}
	for _, c := range Codes() {
		if was, twice := seen[c.Code]; twice && was != c.Kind {
			t.Errorf("%s is %s and %s", c.Code, was, c.Kind)
		}
		seen[c.Code], used[c.Kind] = c.Kind, true
		if !strings.HasPrefix(c.Source, "https://docs.aws.amazon.com/") {
			t.Errorf("%s has no source: %q", c.Code, c.Source)
		}
		if strings.HasPrefix(c.Code, "*") {
			continue
		}
		err := kinded(fmt.Errorf("x: %w", refused(c.Code, http.StatusBadRequest)))
		if got := providers.KindOf(err); got != seen[c.Code] {
			t.Errorf("%s: kind %q, want %q", c.Code, got, c.Kind)
		}
	}
	for _, k := range providers.Kinds() {
		if !used[k] {
			t.Errorf("no code is %q", k)
		}
	}
}

func TestKindsOfOtherErrors(t *testing.T) {
	for _, c := range []struct {
		what string
		err  error
		want providers.Kind
	}{
		{"a code that nobody documents, refused", refused("Brand.New", http.StatusBadRequest), providers.Invalid},
		{"a code that nobody documents, forbidden", refused("Brand.New", http.StatusForbidden), providers.Denied},
		{"a code that nobody documents, failed", refused("Brand.New", http.StatusInternalServerError), providers.Unavailable},
		{"a thing that nobody documents", refused("InvalidThing.NotFound", http.StatusBadRequest), providers.NotFound},
		{"a limit that nobody documents", refused("ThingLimitExceeded", http.StatusBadRequest), providers.Quota},
		{"a malformed thing", refused("InvalidThing.Malformed", http.StatusBadRequest), providers.Invalid},
		{"a connection that broke", errors.New("read: connection reset by peer"), providers.Unavailable},
		{"no credentials", &smithy.OperationError{Err: errors.New("get identity: get credentials: failed to refresh cached credentials")}, providers.Denied},
	} {
		if got := providers.KindOf(kinded(c.err)); got != c.want {
			t.Errorf("%s: kind %q, want %q", c.what, got, c.want)
		}
	}
	if err := kinded(context.Canceled); !errors.Is(err, context.Canceled) || providers.KindOf(err) != "" {
		t.Errorf("a context's error became %v", err)
	}
	if kinded(nil) != nil {
		t.Error("nothing became an error")
	}
}

func TestErrorsKeepTheRequest(t *testing.T) {
	err := kinded(refused("InsufficientInstanceCapacity", http.StatusInternalServerError))
	about(providers.CreateVerb, providers.MachineNoun, "demo/demo-cp-0", &err)
	want := "create machine demo/demo-cp-0: capacity: RunInstances: InsufficientInstanceCapacity: so it is (request req-1)"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
	var r *Refusal
	if !errors.As(err, &r) || r.Code != "InsufficientInstanceCapacity" || codeOf(err) != r.Code {
		t.Errorf("AWS's words are lost: %#v", r)
	}
}

// A deaf is a network that knows no names until it hears.
type deaf struct{ hears bool }

func (d *deaf) Do(r *http.Request) (*http.Response, error) {
	if !d.hears {
		return nil, &url.Error{Op: "Post", URL: r.URL.String(), Err: &net.DNSError{Err: "no such host", Name: r.URL.Host, IsNotFound: true}}
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`<DescribeVpcsResponse/>`)), Header: http.Header{}, Request: r}, nil
}

// TestNoSuchRegion: a region that there is not is told at once, and a network that fails later is something else.
func TestNoSuchRegion(t *testing.T) {
	p, err := New(t.Context(), Options{Region: "eu-nowhere-1"})
	if err != nil {
		t.Fatal(err)
	}
	network := &deaf{}
	client := &plain{HTTPClient: network, region: "eu-nowhere-1"}
	p.ec2 = ec2.New(p.ec2.Options(), func(o *ec2.Options) {
		o.HTTPClient, o.Credentials = client, credentials.NewStaticCredentialsProvider("id", "key", "")
	})
	_, err = p.Networks().List(t.Context(), "demo")
	if want := "list network demo: invalid: DescribeVpcs: there is no server ec2.eu-nowhere-1.amazonaws.com: AWS has no region eu-nowhere-1, or this host cannot look up names of the internet"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	var bad *providers.AttributeError
	if !errors.As(err, &bad) || bad.Attribute != "region" {
		t.Errorf("the attribute that is wrong: %+v", bad)
	}
	network.hears = true
	if _, err := p.Networks().List(t.Context(), "demo"); err != nil {
		t.Error(err)
	}
	network.hears = false
	if _, err := p.Networks().List(t.Context(), "demo"); providers.KindOf(err) != providers.Unavailable {
		t.Errorf("after AWS has answered: %v", err)
	}
}

// TestBalancerCodesAreComplete holds the table to the errors that AWS's own model of Elastic Load Balancing has for the
// actions of this package (botocore, elbv2 of 2015-12-01, read 2026-11-23). EC2's model has none.
func TestBalancerCodesAreComplete(t *testing.T) {
	for _, code := range strings.Fields(`ALPNPolicyNotFound AllocationIdNotFound AvailabilityZoneNotSupported CertificateNotFound
		DuplicateListener DuplicateLoadBalancerName DuplicateTagKeys DuplicateTargetGroupName HealthUnavailable
		IncompatibleProtocols InvalidConfigurationRequest InvalidLoadBalancerAction InvalidScheme InvalidSecurityGroup
		InvalidSubnet InvalidTarget ListenerNotFound LoadBalancerNotFound OperationNotPermitted ResourceInUse RuleNotFound
		SSLPolicyNotFound SubnetNotFound TargetGroupAssociationLimit TargetGroupNotFound TooManyActions TooManyCertificates
		TooManyListeners TooManyLoadBalancers TooManyRegistrationsForTargetId TooManyTags TooManyTargetGroups TooManyTargets
		TooManyUniqueTargetGroupsPerLoadBalancer TrustStoreNotFound TrustStoreNotReady UnsupportedProtocol`) {
		if !slices.ContainsFunc(Codes(), func(c Code) bool { return c.Code == code }) {
			t.Errorf("%s is not in the table", code)
		}
	}
}

// TestSDKIsSilent: the SDK does not write to stderr, where plans and progress are shown.
func TestSDKIsSilent(t *testing.T) {
	p, err := New(t.Context(), Options{Region: "eu-west-1"})
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]logging.Logger{"ec2": p.ec2.Options().Logger, "elb": p.elb.Options().Logger, "sts": p.sts.Options().Logger, "quotas": p.quo.Options().Logger, "iam": p.iam.Options().Logger} {
		if _, silent := l.(logging.Nop); !silent {
			t.Errorf("%s logs to %T", name, l)
		}
	}
}
