package azure

import (
	"context"
	"encoding/base64"
	"net/netip"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// endpointVariable is the variable that names an endpoint at home, where the block names none. It may name no other: who sets
// variables is not to be told tokens.
const endpointVariable = "AZURE_RESOURCE_MANAGER_ENDPOINT"

// cloud is where Azure is.
func (o *Options) cloud() cloud.Configuration {
	c := map[string]cloud.Configuration{"china": cloud.AzureChina, "government": cloud.AzureGovernment}[o.Cloud]
	if c.Services == nil {
		c = cloud.AzurePublic
	}
	if o.Endpoint == "" {
		return c
	}
	arm := c.Services[cloud.ResourceManager]
	arm.Endpoint = o.Endpoint
	return cloud.Configuration{ActiveDirectoryAuthorityHost: c.ActiveDirectoryAuthorityHost,
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: arm}}
}

// credential is who asks: who the options name, nobody where nobody is asked for it, or whom the SDK's chain finds.
func (o *Options) credential() (azcore.TokenCredential, error) {
	if o.Credential != nil {
		return o.Credential, nil
	}
	if atHome(o.Endpoint) {
		return nobody{}, nil
	}
	return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: policy.ClientOptions{Cloud: o.cloud()}, TenantID: o.Tenant})
}

// atHome says whether an endpoint is a program on this host, which is asked without TLS: one that stands in for Azure. A name
// could lead elsewhere, so it is none.
func atHome(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return err == nil && a.IsLoopback()
}

// nobody is the credential for an endpoint at home: a token that says so, is not signed, and opens nothing anywhere.
type nobody struct{}

// GetToken returns the token.
func (nobody) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	encode := base64.RawURLEncoding.EncodeToString
	return azcore.AccessToken{Token: encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(`{"upn":"nobody"}`)) + ".", ExpiresOn: time.Now().Add(time.Hour)}, nil
}
