package azuretest

import (
	"context"
	"net/http"
	"slices"
	"strings"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	compute "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7/fake"
	network "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/fake"
)

// serve returns the server for each of the SDK's clients.
func (c *Cloud) serve() map[string]policy.Transporter {
	all := map[string]policy.Transporter{}
	n, m := network.NewServerFactoryTransport(c.network()), compute.NewServerFactoryTransport(c.compute())
	for _, k := range kinds() {
		if all[k.client] = policy.Transporter(n); k.compute {
			all[k.client] = m
		}
	}
	all["SecurityRulesClient"], all["SubnetsClient"] = n, n
	all["ResourceSKUsClient"], all["VirtualMachineImagesClient"] = m, m
	all["UsageClient"], all["UsagesClient"] = m, n
	all["ResourceGroupsClient"] = fake.NewResourceGroupsServerTransport(&fake.ResourceGroupsServer{
		CreateOrUpdate: c.putGroup, Get: c.getGroup, BeginDelete: c.dropGroup})
	all["TagsClient"] = fake.NewTagsServerTransport(&fake.TagsServer{UpdateAtScope: c.retag})
	all["Client"] = fake.NewServerTransport(&fake.Server{NewListByResourceGroupPager: c.contents})
	return all
}

// putGroup makes or changes a resource group, at once.
func (c *Cloud) putGroup(_ context.Context, name string, in armresources.ResourceGroup, _ *armresources.ResourceGroupsClientCreateOrUpdateOptions) (resp azfake.Responder[armresources.ResourceGroupsClientCreateOrUpdateResponse], refused azfake.ErrorResponder) {
	doc := document(in)
	err := c.checked(doc)
	i := c.items[low(c.groupID(name))]
	if err == nil && i != nil && i.doomed {
		err = refuse(409, "ResourceGroupBeingDeleted", "The resource group '%s' is in deprovisioning state and cannot perform this operation.", name)
	}
	if err != nil {
		refused.SetError(err)
		return resp, refused
	}
	if i == nil {
		i = &item{id: c.groupID(name), kind: groupKind, group: name, name: name, listed: c.now + 2*c.o.Late}
		if c.o.Late > 0 {
			i.visible = c.now + c.o.Late + 1
		}
		c.items[low(i.id)] = i
	}
	doc["id"], doc["name"], doc["type"] = i.id, name, groupKind
	properties(doc)["provisioningState"] = "Succeeded"
	i.doc = doc
	g, _ := typed[armresources.ResourceGroup](doc)
	resp.SetResponse(http.StatusCreated, armresources.ResourceGroupsClientCreateOrUpdateResponse{ResourceGroup: g}, nil)
	return resp, refused
}

func (c *Cloud) getGroup(_ context.Context, name string, _ *armresources.ResourceGroupsClientGetOptions) (resp azfake.Responder[armresources.ResourceGroupsClientGetResponse], refused azfake.ErrorResponder) {
	i, err := c.find(groupKind, name, name)
	if err != nil {
		refused.SetError(err)
		return resp, refused
	}
	g, _ := typed[armresources.ResourceGroup](i.doc)
	resp.SetResponse(http.StatusOK, armresources.ResourceGroupsClientGetResponse{ResourceGroup: g}, nil)
	return resp, refused
}

// dropGroup deletes a group with all that is in it.
func (c *Cloud) dropGroup(_ context.Context, name string, _ *armresources.ResourceGroupsClientBeginDeleteOptions) (resp azfake.PollerResponder[armresources.ResourceGroupsClientDeleteResponse], refused azfake.ErrorResponder) {
	there, err := c.remove(groupKind, name, name)
	if err == nil && !there {
		err = refuse(404, "ResourceGroupNotFound", "Resource group '%s' could not be found.", name)
	}
	if err != nil {
		refused.SetError(err)
		return resp, refused
	}
	resp.SetTerminalResponse(http.StatusOK, armresources.ResourceGroupsClientDeleteResponse{}, nil)
	return resp, refused
}

// listGroups answers the list of groups by a tag, as a reader sees it who is behind. Microsoft's fake server does not hand the
// filter on.
func (c *Cloud) listGroups(filter string) (all []map[string]any) {
	words := strings.Split(filter, "'")
	all = []map[string]any{}
	for _, i := range c.items {
		if i.kind != groupKind || i.listed > c.now || len(words) == 5 && text(i.doc, "tags", words[1]) != words[3] {
			continue
		}
		all = append(all, i.doc)
	}
	slices.SortFunc(all, func(a, b map[string]any) int { return strings.Compare(text(a, "id"), text(b, "id")) })
	return all
}

// contents lists what is in a group, and what was there a moment ago.
func (c *Cloud) contents(group string, _ *armresources.ClientListByResourceGroupOptions) (resp azfake.PagerResponder[armresources.ClientListByResourceGroupResponse]) {
	out := armresources.ClientListByResourceGroupResponse{}
	add := func(id string) {
		out.Value = append(out.Value, &armresources.GenericResourceExpanded{ID: &id})
	}
	for _, i := range c.items {
		if i.kind != groupKind && strings.EqualFold(i.group, group) && i.listed <= c.now {
			add(i.id)
		}
	}
	for id, until := range c.ghosts {
		if until > c.now && strings.HasPrefix(low(id), low(c.groupID(group))+"/") && c.items[low(id)] == nil {
			add(id)
		}
	}
	resp.AddPage(http.StatusOK, out, nil)
	return resp
}

// retag sets the tags of anything.
func (c *Cloud) retag(_ context.Context, scope string, in armresources.TagsPatchResource, _ *armresources.TagsClientUpdateAtScopeOptions) (resp azfake.Responder[armresources.TagsClientUpdateAtScopeResponse], refused azfake.ErrorResponder) {
	i := c.items["/"+strings.TrimPrefix(low(scope), "/")]
	doc := document(in)
	var err error
	switch {
	case i == nil || i.visible > c.now:
		err = refuse(404, "ResourceNotFound", "The resource '%s' could not be found.", scope)
	case text(doc, "operation") != "Replace":
		err = refuse(400, "InvalidTagPatchOperation", "The tag patch operation '%s' is invalid.", text(doc, "operation"))
	default:
		err = c.checked(map[string]any{"tags": dig(doc, "properties", "tags"), "location": c.o.Location})
	}
	if err != nil {
		refused.SetError(err)
		return resp, refused
	}
	i.doc["tags"] = dig(doc, "properties", "tags")
	resp.SetResponse(http.StatusOK, armresources.TagsClientUpdateAtScopeResponse{TagsResource: armresources.TagsResource{Properties: in.Properties}}, nil)
	return resp, refused
}
