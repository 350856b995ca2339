package ccm

import (
	cloudprovider "k8s.io/cloud-provider"
)

// cloud is what upstream's controllers ask. It has nodes and balancers; routes are the pod network's affair.
type cloud struct {
	name     string
	nodes    *instances
	balancer cloudprovider.LoadBalancer
}

var _ cloudprovider.Interface = (*cloud)(nil)

// Initialize does nothing: whoever makes a cloud gives it all that it needs.
func (*cloud) Initialize(cloudprovider.ControllerClientBuilder, <-chan struct{}) {}

// LoadBalancer returns what Services get their addresses by.
func (c *cloud) LoadBalancer() (cloudprovider.LoadBalancer, bool) {
	return c.balancer, c.balancer != nil
}

// InstancesV2 returns what is known of the nodes' machines.
func (c *cloud) InstancesV2() (cloudprovider.InstancesV2, bool) { return c.nodes, true }

// ProviderName returns the vendor's name.
func (c *cloud) ProviderName() string { return c.name }

// Instances, Zones, Clusters and Routes are not there.
func (*cloud) Instances() (cloudprovider.Instances, bool) { return nil, false }
func (*cloud) Zones() (cloudprovider.Zones, bool)         { return nil, false }
func (*cloud) Clusters() (cloudprovider.Clusters, bool)   { return nil, false }
func (*cloud) Routes() (cloudprovider.Routes, bool)       { return nil, false }

// HasClusterID says yes: the owner is in everything that is made.
func (*cloud) HasClusterID() bool { return true }
