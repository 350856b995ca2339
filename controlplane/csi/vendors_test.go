package csi_test

import (
	"os"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/aws"
	"github.com/provisionhq/provision/providers/aws/awstest"
	"github.com/provisionhq/provision/providers/azure"
	"github.com/provisionhq/provision/providers/azure/azuretest"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/gcp"
	"github.com/provisionhq/provision/providers/gcp/gcptest"
)

// A vendor is one to run csi-sanity over.
type vendor struct {
	name string
	open func(t *testing.T) (p providers.Provider, machineType string)
}

func vendors() []vendor {
	return []vendor{{"fake", openFake}, {"aws", openAWS}, {"gcp", openGCP}, {"azure", openAzure}, {"local", openLocal}}
}

func openFake(*testing.T) (providers.Provider, string) { return fake.New(fake.Options{}), "small" }

// openAWS opens a provider at moto.
func openAWS(t *testing.T) (providers.Provider, string) {
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_REGION": "eu-west-1"} {
		t.Setenv(k, v)
	}
	c, err := awstest.New(t.Context(), awstest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := aws.New(t.Context(), aws.Options{Endpoint: c.URL, Pace: time.Millisecond, Patience: 20 * time.Second, Lag: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return p, "t3.small"
}

// openGCP opens a provider at this project's own server of Google's API.
func openGCP(t *testing.T) (providers.Provider, string) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent") // a person's own are not for tests
	c, err := gcptest.New(gcptest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	p, err := gcp.New(t.Context(), gcp.Options{Endpoint: c.URL, Project: gcptest.Project, Region: gcptest.Region, Pace: time.Millisecond, Patience: 20 * time.Second, Lag: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return p, "e2-small"
}

// openAzure opens a provider at this project's own server, behind Microsoft's own server side.
func openAzure(t *testing.T) (providers.Provider, string) {
	p, err := azure.New(azure.Options{Subscription: azuretest.Subscription, Location: azuretest.Location, Transport: azuretest.New(azuretest.Options{}),
		Credential: azuretest.Credential{}, Pace: time.Millisecond, Patience: 20 * time.Second, Lag: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return p, "Standard_B2s"
}
