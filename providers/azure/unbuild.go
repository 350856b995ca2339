package azure

import (
	"context"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"

	"github.com/provisionhq/provision/providers"
)

// Delete removes what is in the resource group and then the group. To delete a group is to delete whatever is in it, so first it
// is made sure that nothing is but parts of ours, and the virtual network and the security group go one by one: Azure refuses
// that while a machine of anybody stands on them.
func (w networks) Delete(ctx context.Context, of providers.ID) (err error) {
	defer about(providers.DeleteVerb, providers.NetworkNoun, string(of), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	i, err := parse(providers.NetworkNoun, of)
	if gone(err) {
		return nil
	}
	n, err := w.p.head(ctx, i)
	if ignoring(err) != nil {
		return err
	}
	if err == nil {
		if err := w.unbuild(ctx, n); err != nil {
			return err
		}
		w.p.made.drop(providers.NetworkNoun, providers.Key{Owner: providers.Owner(n.tags[providers.OwnerTag]), Name: n.tags[providers.NameTag]})
	}
	// The owner's name is in the group's; a long one is not, and keeps an empty group for storage.
	if words := strings.Split(i.group, "_"); len(words) == 3 {
		return w.p.tidy(ctx, providers.Owner(words[1]))
	}
	return nil
}

func (w networks) unbuild(ctx context.Context, n *network) error {
	g := n.id.group
	if !n.deleting {
		if err := w.vacated(ctx, g); err != nil {
			return err
		}
		if n.own() {
			if err := w.p.settled(ctx, func() error {
				poller, err := w.p.vnets.BeginDelete(ctx, g, vnetPart, nil)
				_, err = done(ctx, w.p, poller, err)
				return ignoring(err)
			}); err != nil {
				return err
			}
		}
		if err := w.p.settled(ctx, func() error {
			poller, err := w.p.firewalls.BeginDelete(ctx, g, nodesPart, nil)
			_, err = done(ctx, w.p, poller, err)
			return ignoring(err)
		}); err != nil {
			return err
		}
	}
	return w.p.dropGroup(ctx, g)
}

// dropGroup deletes a resource group and waits until it is gone.
func (p *Provider) dropGroup(ctx context.Context, name string) error {
	err := p.settled(ctx, func() error {
		poller, err := p.groups.BeginDelete(ctx, name, nil)
		_, err = done(ctx, p, poller, err)
		return ignoring(err)
	})
	if err != nil {
		return err
	}
	return p.groupGone(ctx, name)
}

func (p *Provider) groupGone(ctx context.Context, name string) error {
	return p.wait(ctx, "resource group "+name+" is still there", func() (bool, error) {
		_, _, err := p.group(ctx, name)
		return gone(err), ignoring(err)
	})
}

// vacated returns Conflict if something is in the network's group that is no part of it.
func (w networks) vacated(ctx context.Context, group string) error {
	parts := []string{vnetPart, natPart, nodesPart, controlPart}
	all, err := w.p.contents(ctx, group)
	if err != nil {
		return err
	}
	for _, r := range all {
		if slices.Contains(parts, last(r)) {
			continue
		}
		there, err := w.p.there(ctx, r)
		if err != nil {
			return err
		}
		if there {
			return fail(providers.Conflict, "%s is in it", r)
		}
	}
	lbs, err := collect(ctx, w.p.lbs.NewListPager(group, nil), func(o armnetwork.LoadBalancersClientListResponse) []*armnetwork.LoadBalancer { return o.Value })
	if err == nil && len(lbs) > 0 {
		return fail(providers.Conflict, "%s is in it", val(lbs[0].ID))
	}
	return ignoring(err)
}

// contents returns the resource IDs of what is in a group, as the general list has it, which lags behind.
func (p *Provider) contents(ctx context.Context, group string) (ids []string, err error) {
	all, err := collect(ctx, p.resources.NewListByResourceGroupPager(group, nil),
		func(o armresources.ClientListByResourceGroupResponse) []*armresources.GenericResourceExpanded {
			return o.Value
		})
	for _, r := range all {
		ids = append(ids, val(r.ID))
	}
	return ids, ignoring(err)
}

// there asks who knows whether something that the general list has is there. What is of another type than ours is.
func (p *Provider) there(ctx context.Context, resource string) (bool, error) {
	group, name, low := part(resource, "resourceGroups"), last(resource), strings.ToLower(resource)
	var err error
	switch {
	case strings.Contains(low, strings.ToLower("/"+vmKind+"/")):
		_, err = p.vms.Get(ctx, group, name, nil)
	case strings.Contains(low, strings.ToLower("/"+nicKind+"/")):
		_, err = p.nics.Get(ctx, group, name, nil)
	case strings.Contains(low, strings.ToLower("/"+addressKind+"/")):
		_, err = p.addresses.Get(ctx, group, name, nil)
	case strings.Contains(low, strings.ToLower("/"+lbKind+"/")):
		_, err = p.lbs.Get(ctx, group, name, nil)
	case strings.Contains(low, strings.ToLower("/"+diskKind+"/")):
		_, err = p.disks.Get(ctx, group, name, nil)
	case strings.Contains(low, strings.ToLower("/"+snapshotKind+"/")):
		_, err = p.copies.Get(ctx, group, name, nil)
	}
	if gone(err) {
		return false, nil
	}
	return err == nil, err
}
