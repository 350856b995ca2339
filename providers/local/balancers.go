package local

import "github.com/provisionhq/provision/providers"

// LoadBalancers returns a value whose methods return Unsupported.
func (*Provider) LoadBalancers() providers.LoadBalancers { return providers.NoLoadBalancers{} }
