package azuretest

import (
	"context"
	"net/http"
	"slices"
	"strings"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7/fake"
)

// network is the part of the cloud that Microsoft.Network is.
func (c *Cloud) network() *fake.ServerFactory {
	return &fake.ServerFactory{
		VirtualNetworksServer: c.vnets(), SecurityGroupsServer: c.firewalls(), ApplicationSecurityGroupsServer: c.roles(), NatGatewaysServer: c.nats(),
		PublicIPAddressesServer: c.addresses(), InterfacesServer: c.nics(), LoadBalancersServer: c.lbs(),
		SecurityRulesServer: fake.SecurityRulesServer{BeginCreateOrUpdate: c.putRule, BeginDelete: c.dropRule, Get: c.getRule},
		SubnetsServer:       fake.SubnetsServer{Get: c.subnet},
	}
}

func (c *Cloud) vnets() fake.VirtualNetworksServer {
	const kind = "Microsoft.Network/virtualNetworks"
	return fake.VirtualNetworksServer{
		BeginCreateOrUpdate: putter[armnetwork.VirtualNetwork, *armnetwork.VirtualNetworksClientBeginCreateOrUpdateOptions](c, kind, func(v armnetwork.VirtualNetwork) armnetwork.VirtualNetworksClientCreateOrUpdateResponse {
			return armnetwork.VirtualNetworksClientCreateOrUpdateResponse{VirtualNetwork: v}
		}),
		Get: getter[armnetwork.VirtualNetwork, *armnetwork.VirtualNetworksClientGetOptions](c, kind, func(v armnetwork.VirtualNetwork) armnetwork.VirtualNetworksClientGetResponse {
			return armnetwork.VirtualNetworksClientGetResponse{VirtualNetwork: v}
		}),
		BeginDelete: deleter[*armnetwork.VirtualNetworksClientBeginDeleteOptions, armnetwork.VirtualNetworksClientDeleteResponse](c, kind),
		NewListPager: lister[armnetwork.VirtualNetwork, *armnetwork.VirtualNetworksClientListOptions](c, kind, func(all []*armnetwork.VirtualNetwork) armnetwork.VirtualNetworksClientListResponse {
			return armnetwork.VirtualNetworksClientListResponse{VirtualNetworkListResult: armnetwork.VirtualNetworkListResult{Value: all}}
		}),
		NewListAllPager: everyone[armnetwork.VirtualNetwork, *armnetwork.VirtualNetworksClientListAllOptions](c, kind, func(all []*armnetwork.VirtualNetwork) armnetwork.VirtualNetworksClientListAllResponse {
			return armnetwork.VirtualNetworksClientListAllResponse{VirtualNetworkListResult: armnetwork.VirtualNetworkListResult{Value: all}}
		}),
	}
}

func (c *Cloud) firewalls() fake.SecurityGroupsServer {
	const kind = "Microsoft.Network/networkSecurityGroups"
	return fake.SecurityGroupsServer{
		BeginCreateOrUpdate: putter[armnetwork.SecurityGroup, *armnetwork.SecurityGroupsClientBeginCreateOrUpdateOptions](c, kind, func(v armnetwork.SecurityGroup) armnetwork.SecurityGroupsClientCreateOrUpdateResponse {
			return armnetwork.SecurityGroupsClientCreateOrUpdateResponse{SecurityGroup: v}
		}),
		Get: getter[armnetwork.SecurityGroup, *armnetwork.SecurityGroupsClientGetOptions](c, kind, func(v armnetwork.SecurityGroup) armnetwork.SecurityGroupsClientGetResponse {
			return armnetwork.SecurityGroupsClientGetResponse{SecurityGroup: v}
		}),
		BeginDelete: deleter[*armnetwork.SecurityGroupsClientBeginDeleteOptions, armnetwork.SecurityGroupsClientDeleteResponse](c, kind),
		NewListPager: lister[armnetwork.SecurityGroup, *armnetwork.SecurityGroupsClientListOptions](c, kind, func(all []*armnetwork.SecurityGroup) armnetwork.SecurityGroupsClientListResponse {
			return armnetwork.SecurityGroupsClientListResponse{SecurityGroupListResult: armnetwork.SecurityGroupListResult{Value: all}}
		}),
		NewListAllPager: everyone[armnetwork.SecurityGroup, *armnetwork.SecurityGroupsClientListAllOptions](c, kind, func(all []*armnetwork.SecurityGroup) armnetwork.SecurityGroupsClientListAllResponse {
			return armnetwork.SecurityGroupsClientListAllResponse{SecurityGroupListResult: armnetwork.SecurityGroupListResult{Value: all}}
		}),
	}
}

func (c *Cloud) roles() fake.ApplicationSecurityGroupsServer {
	const kind = "Microsoft.Network/applicationSecurityGroups"
	return fake.ApplicationSecurityGroupsServer{
		BeginCreateOrUpdate: putter[armnetwork.ApplicationSecurityGroup, *armnetwork.ApplicationSecurityGroupsClientBeginCreateOrUpdateOptions](c, kind, func(v armnetwork.ApplicationSecurityGroup) armnetwork.ApplicationSecurityGroupsClientCreateOrUpdateResponse {
			return armnetwork.ApplicationSecurityGroupsClientCreateOrUpdateResponse{ApplicationSecurityGroup: v}
		}),
		Get: getter[armnetwork.ApplicationSecurityGroup, *armnetwork.ApplicationSecurityGroupsClientGetOptions](c, kind, func(v armnetwork.ApplicationSecurityGroup) armnetwork.ApplicationSecurityGroupsClientGetResponse {
			return armnetwork.ApplicationSecurityGroupsClientGetResponse{ApplicationSecurityGroup: v}
		}),
		BeginDelete: deleter[*armnetwork.ApplicationSecurityGroupsClientBeginDeleteOptions, armnetwork.ApplicationSecurityGroupsClientDeleteResponse](c, kind),
		NewListPager: lister[armnetwork.ApplicationSecurityGroup, *armnetwork.ApplicationSecurityGroupsClientListOptions](c, kind, func(all []*armnetwork.ApplicationSecurityGroup) armnetwork.ApplicationSecurityGroupsClientListResponse {
			return armnetwork.ApplicationSecurityGroupsClientListResponse{ApplicationSecurityGroupListResult: armnetwork.ApplicationSecurityGroupListResult{Value: all}}
		}),
		NewListAllPager: everyone[armnetwork.ApplicationSecurityGroup, *armnetwork.ApplicationSecurityGroupsClientListAllOptions](c, kind, func(all []*armnetwork.ApplicationSecurityGroup) armnetwork.ApplicationSecurityGroupsClientListAllResponse {
			return armnetwork.ApplicationSecurityGroupsClientListAllResponse{ApplicationSecurityGroupListResult: armnetwork.ApplicationSecurityGroupListResult{Value: all}}
		}),
	}
}

func (c *Cloud) nats() fake.NatGatewaysServer {
	const kind = "Microsoft.Network/natGateways"
	return fake.NatGatewaysServer{
		BeginCreateOrUpdate: putter[armnetwork.NatGateway, *armnetwork.NatGatewaysClientBeginCreateOrUpdateOptions](c, kind, func(v armnetwork.NatGateway) armnetwork.NatGatewaysClientCreateOrUpdateResponse {
			return armnetwork.NatGatewaysClientCreateOrUpdateResponse{NatGateway: v}
		}),
		Get: getter[armnetwork.NatGateway, *armnetwork.NatGatewaysClientGetOptions](c, kind, func(v armnetwork.NatGateway) armnetwork.NatGatewaysClientGetResponse {
			return armnetwork.NatGatewaysClientGetResponse{NatGateway: v}
		}),
		BeginDelete: deleter[*armnetwork.NatGatewaysClientBeginDeleteOptions, armnetwork.NatGatewaysClientDeleteResponse](c, kind),
		NewListPager: lister[armnetwork.NatGateway, *armnetwork.NatGatewaysClientListOptions](c, kind, func(all []*armnetwork.NatGateway) armnetwork.NatGatewaysClientListResponse {
			return armnetwork.NatGatewaysClientListResponse{NatGatewayListResult: armnetwork.NatGatewayListResult{Value: all}}
		}),
		NewListAllPager: everyone[armnetwork.NatGateway, *armnetwork.NatGatewaysClientListAllOptions](c, kind, func(all []*armnetwork.NatGateway) armnetwork.NatGatewaysClientListAllResponse {
			return armnetwork.NatGatewaysClientListAllResponse{NatGatewayListResult: armnetwork.NatGatewayListResult{Value: all}}
		}),
	}
}

func (c *Cloud) addresses() fake.PublicIPAddressesServer {
	const kind = "Microsoft.Network/publicIPAddresses"
	return fake.PublicIPAddressesServer{
		BeginCreateOrUpdate: putter[armnetwork.PublicIPAddress, *armnetwork.PublicIPAddressesClientBeginCreateOrUpdateOptions](c, kind, func(v armnetwork.PublicIPAddress) armnetwork.PublicIPAddressesClientCreateOrUpdateResponse {
			return armnetwork.PublicIPAddressesClientCreateOrUpdateResponse{PublicIPAddress: v}
		}),
		Get: getter[armnetwork.PublicIPAddress, *armnetwork.PublicIPAddressesClientGetOptions](c, kind, func(v armnetwork.PublicIPAddress) armnetwork.PublicIPAddressesClientGetResponse {
			return armnetwork.PublicIPAddressesClientGetResponse{PublicIPAddress: v}
		}),
		BeginDelete: deleter[*armnetwork.PublicIPAddressesClientBeginDeleteOptions, armnetwork.PublicIPAddressesClientDeleteResponse](c, kind),
		NewListPager: lister[armnetwork.PublicIPAddress, *armnetwork.PublicIPAddressesClientListOptions](c, kind, func(all []*armnetwork.PublicIPAddress) armnetwork.PublicIPAddressesClientListResponse {
			return armnetwork.PublicIPAddressesClientListResponse{PublicIPAddressListResult: armnetwork.PublicIPAddressListResult{Value: all}}
		}),
		NewListAllPager: everyone[armnetwork.PublicIPAddress, *armnetwork.PublicIPAddressesClientListAllOptions](c, kind, func(all []*armnetwork.PublicIPAddress) armnetwork.PublicIPAddressesClientListAllResponse {
			return armnetwork.PublicIPAddressesClientListAllResponse{PublicIPAddressListResult: armnetwork.PublicIPAddressListResult{Value: all}}
		}),
	}
}

func (c *Cloud) nics() fake.InterfacesServer {
	const kind = "Microsoft.Network/networkInterfaces"
	return fake.InterfacesServer{
		BeginCreateOrUpdate: putter[armnetwork.Interface, *armnetwork.InterfacesClientBeginCreateOrUpdateOptions](c, kind, func(v armnetwork.Interface) armnetwork.InterfacesClientCreateOrUpdateResponse {
			return armnetwork.InterfacesClientCreateOrUpdateResponse{Interface: v}
		}),
		Get: getter[armnetwork.Interface, *armnetwork.InterfacesClientGetOptions](c, kind, func(v armnetwork.Interface) armnetwork.InterfacesClientGetResponse {
			return armnetwork.InterfacesClientGetResponse{Interface: v}
		}),
		BeginDelete: deleter[*armnetwork.InterfacesClientBeginDeleteOptions, armnetwork.InterfacesClientDeleteResponse](c, kind),
		NewListPager: lister[armnetwork.Interface, *armnetwork.InterfacesClientListOptions](c, kind, func(all []*armnetwork.Interface) armnetwork.InterfacesClientListResponse {
			return armnetwork.InterfacesClientListResponse{InterfaceListResult: armnetwork.InterfaceListResult{Value: all}}
		}),
		NewListAllPager: everyone[armnetwork.Interface, *armnetwork.InterfacesClientListAllOptions](c, kind, func(all []*armnetwork.Interface) armnetwork.InterfacesClientListAllResponse {
			return armnetwork.InterfacesClientListAllResponse{InterfaceListResult: armnetwork.InterfaceListResult{Value: all}}
		}),
	}
}

func (c *Cloud) lbs() fake.LoadBalancersServer {
	const kind = "Microsoft.Network/loadBalancers"
	return fake.LoadBalancersServer{
		BeginCreateOrUpdate: putter[armnetwork.LoadBalancer, *armnetwork.LoadBalancersClientBeginCreateOrUpdateOptions](c, kind, func(v armnetwork.LoadBalancer) armnetwork.LoadBalancersClientCreateOrUpdateResponse {
			return armnetwork.LoadBalancersClientCreateOrUpdateResponse{LoadBalancer: v}
		}),
		Get: getter[armnetwork.LoadBalancer, *armnetwork.LoadBalancersClientGetOptions](c, kind, func(v armnetwork.LoadBalancer) armnetwork.LoadBalancersClientGetResponse {
			return armnetwork.LoadBalancersClientGetResponse{LoadBalancer: v}
		}),
		BeginDelete: deleter[*armnetwork.LoadBalancersClientBeginDeleteOptions, armnetwork.LoadBalancersClientDeleteResponse](c, kind),
		NewListPager: lister[armnetwork.LoadBalancer, *armnetwork.LoadBalancersClientListOptions](c, kind, func(all []*armnetwork.LoadBalancer) armnetwork.LoadBalancersClientListResponse {
			return armnetwork.LoadBalancersClientListResponse{LoadBalancerListResult: armnetwork.LoadBalancerListResult{Value: all}}
		}),
		NewListAllPager: everyone[armnetwork.LoadBalancer, *armnetwork.LoadBalancersClientListAllOptions](c, kind, func(all []*armnetwork.LoadBalancer) armnetwork.LoadBalancersClientListAllResponse {
			return armnetwork.LoadBalancersClientListAllResponse{LoadBalancerListResult: armnetwork.LoadBalancerListResult{Value: all}}
		}),
	}
}

const firewall = "Microsoft.Network/networkSecurityGroups"

// putRule makes or changes one rule of a security group.
func (c *Cloud) putRule(_ context.Context, group, name, rule string, in armnetwork.SecurityRule, _ *armnetwork.SecurityRulesClientBeginCreateOrUpdateOptions) (resp azfake.PollerResponder[armnetwork.SecurityRulesClientCreateOrUpdateResponse], refused azfake.ErrorResponder) {
	doc := document(in)
	doc["name"] = rule
	err := c.rule(group, name, func(rules []any) ([]any, error) {
		rules = slices.DeleteFunc(slices.Clone(rules), func(r any) bool { return text(r, "name") == rule })
		for _, o := range rules {
			if err := clash(doc, o); err != nil {
				return nil, err
			}
		}
		return append(rules, doc), nil
	})
	if err != nil {
		refused.SetError(err)
		return resp, refused
	}
	resp.SetTerminalResponse(http.StatusOK, armnetwork.SecurityRulesClientCreateOrUpdateResponse{SecurityRule: in}, nil)
	return resp, refused
}

// getRule returns one rule.
func (c *Cloud) getRule(_ context.Context, group, name, rule string, _ *armnetwork.SecurityRulesClientGetOptions) (resp azfake.Responder[armnetwork.SecurityRulesClientGetResponse], refused azfake.ErrorResponder) {
	i, err := c.find(firewall, group, name)
	if err == nil {
		err = refuse(404, "NotFound", "Resource %s not found.", rule)
		for _, r := range list(i.doc, "properties", "securityRules") {
			if text(r, "name") != rule {
				continue
			}
			v, e := typed[armnetwork.SecurityRule](r.(map[string]any))
			if e == nil {
				resp.SetResponse(http.StatusOK, armnetwork.SecurityRulesClientGetResponse{SecurityRule: v}, nil)
				return resp, refused
			}
			err = e
		}
	}
	refused.SetError(err)
	return resp, refused
}

// dropRule takes one rule away.
func (c *Cloud) dropRule(_ context.Context, group, name, rule string, _ *armnetwork.SecurityRulesClientBeginDeleteOptions) (resp azfake.PollerResponder[armnetwork.SecurityRulesClientDeleteResponse], refused azfake.ErrorResponder) {
	err := c.rule(group, name, func(rules []any) ([]any, error) {
		return slices.DeleteFunc(slices.Clone(rules), func(r any) bool { return text(r, "name") == rule }), nil
	})
	if err != nil {
		refused.SetError(err)
		return resp, refused
	}
	resp.SetTerminalResponse(http.StatusOK, armnetwork.SecurityRulesClientDeleteResponse{}, nil)
	return resp, refused
}

// rule changes the rules of a security group.
func (c *Cloud) rule(group, name string, edit func([]any) ([]any, error)) error {
	i, err := c.find(firewall, group, name)
	if err != nil {
		return err
	}
	if i.busy || i.doomed {
		return refuse(409, "AnotherOperationInProgress", "Another operation on this or dependent resource is in progress.")
	}
	rules, err := edit(list(i.doc, "properties", "securityRules"))
	if err != nil {
		return err
	}
	i.busy = true
	properties(i.doc)["securityRules"] = rules
	c.later(func() { i.busy = false }, nil)
	return nil
}

// subnet returns one of a virtual network.
func (c *Cloud) subnet(_ context.Context, group, vnet, name string, _ *armnetwork.SubnetsClientGetOptions) (resp azfake.Responder[armnetwork.SubnetsClientGetResponse], refused azfake.ErrorResponder) {
	i, err := c.find("Microsoft.Network/virtualNetworks", group, vnet)
	if err == nil {
		err = refuse(404, "NotFound", "Resource %s not found.", name)
		for _, s := range list(i.doc, "properties", "subnets") {
			if strings.EqualFold(text(s, "name"), name) {
				v, e := typed[armnetwork.Subnet](s.(map[string]any))
				if e == nil {
					resp.SetResponse(http.StatusOK, armnetwork.SubnetsClientGetResponse{Subnet: v}, nil)
					return resp, refused
				}
				err = e
			}
		}
	}
	refused.SetError(err)
	return resp, refused
}
