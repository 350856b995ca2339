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
	f := &fake.ServerFactory{
		SecurityRulesServer: fake.SecurityRulesServer{BeginCreateOrUpdate: c.putRule, BeginDelete: c.dropRule, Get: c.getRule},
		SubnetsServer:       fake.SubnetsServer{Get: c.subnet},
		UsagesServer:        fake.UsagesServer{NewListPager: c.networkUsages},
	}
	v, g, r, n := &f.VirtualNetworksServer, &f.SecurityGroupsServer, &f.ApplicationSecurityGroupsServer, &f.NatGatewaysServer
	a, i, l := &f.PublicIPAddressesServer, &f.InterfacesServer, &f.LoadBalancersServer
	wire(c, vnetKind, &v.BeginCreateOrUpdate, &v.Get, &v.BeginDelete, &v.NewListPager, &v.NewListAllPager)
	wire(c, firewallKind, &g.BeginCreateOrUpdate, &g.Get, &g.BeginDelete, &g.NewListPager, &g.NewListAllPager)
	wire(c, roleKind, &r.BeginCreateOrUpdate, &r.Get, &r.BeginDelete, &r.NewListPager, &r.NewListAllPager)
	wire(c, natKind, &n.BeginCreateOrUpdate, &n.Get, &n.BeginDelete, &n.NewListPager, &n.NewListAllPager)
	wire(c, addressKind, &a.BeginCreateOrUpdate, &a.Get, &a.BeginDelete, &a.NewListPager, &a.NewListAllPager)
	wire(c, nicKind, &i.BeginCreateOrUpdate, &i.Get, &i.BeginDelete, &i.NewListPager, &i.NewListAllPager)
	wire(c, lbKind, &l.BeginCreateOrUpdate, &l.Get, &l.BeginDelete, &l.NewListPager, &l.NewListAllPager)
	return f
}

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
	i, err := c.find(firewallKind, group, name)
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
	i, err := c.find(firewallKind, group, name)
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
	i, err := c.find(vnetKind, group, vnet)
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
