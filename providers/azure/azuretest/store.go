package azuretest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// An item is a resource or a resource group.
type item struct {
	id, kind, group, name string
	label                 string // the hardware's name for it
	doc                   map[string]any
	visible               int // from which request on GET shows it
	listed                int // from which request on general lists show it
	doomed                bool
	busy                  bool
}

// Kinds of what there is.
const (
	groupKind    = "Microsoft.Resources/resourceGroups"
	vmKind       = "Microsoft.Compute/virtualMachines"
	diskKind     = "Microsoft.Compute/disks"
	snapshotKind = "Microsoft.Compute/snapshots"
	vnetKind     = "Microsoft.Network/virtualNetworks"
	firewallKind = "Microsoft.Network/networkSecurityGroups"
	roleKind     = "Microsoft.Network/applicationSecurityGroups"
	natKind      = "Microsoft.Network/natGateways"
	addressKind  = "Microsoft.Network/publicIPAddresses"
	nicKind      = "Microsoft.Network/networkInterfaces"
	lbKind       = "Microsoft.Network/loadBalancers"
)

func (c *Cloud) groupID(name string) string {
	return "/subscriptions/" + c.o.Subscription + "/resourceGroups/" + name
}

func (c *Cloud) idOf(kind, group, name string) string {
	if kind == groupKind {
		return c.groupID(name)
	}
	return c.groupID(group) + "/providers/" + kind + "/" + name
}

// dig goes into a document; nil if there is nothing.
func dig(doc any, path ...string) any {
	for _, p := range path {
		m, ok := doc.(map[string]any)
		if !ok {
			return nil
		}
		doc = m[p]
	}
	return doc
}

func text(doc any, path ...string) string { s, _ := dig(doc, path...).(string); return s }
func list(doc any, path ...string) []any  { l, _ := dig(doc, path...).([]any); return l }
func number(doc any, path ...string) int  { n, _ := dig(doc, path...).(float64); return int(n) }

// properties of a document; they are made if it has none.
func properties(doc map[string]any) map[string]any {
	p, ok := doc["properties"].(map[string]any)
	if !ok {
		p = map[string]any{}
		doc["properties"] = p
	}
	return p
}

func document(v any) (doc map[string]any) {
	t, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(t, &doc)
	}
	if err != nil {
		panic(err) // it came as JSON
	}
	return doc
}

func typed[T any](doc map[string]any) (v T, err error) {
	t, err := json.Marshal(doc)
	if err == nil {
		err = json.Unmarshal(t, &v)
	}
	return v, err
}

// references returns the resources that a document stands on: whatever it has under "id", without what is within those.
func references(self string, doc any) (all []string) {
	switch d := doc.(type) {
	case map[string]any:
		for k, v := range d {
			s, ok := v.(string)
			if !ok || k != "id" || !strings.HasPrefix(s, "/subscriptions/") {
				all = append(all, references(self, v)...)
				continue
			}
			words := strings.Split(low(s), "/")
			if base := strings.Join(words[:min(9, len(words))], "/"); base != low(self) {
				all = append(all, base)
			}
		}
	case []any:
		for _, v := range d {
			all = append(all, references(self, v)...)
		}
	}
	return all
}

// find returns what is there, as a reader sees it.
func (c *Cloud) find(kind, group, name string) (*item, error) {
	if kind != groupKind && c.items[low(c.groupID(group))] == nil {
		return nil, refuse(404, "ResourceGroupNotFound", "Resource group '%s' could not be found.", group)
	}
	i := c.items[low(c.idOf(kind, group, name))]
	if i == nil || i.visible > c.now {
		if kind == groupKind {
			return nil, refuse(404, "ResourceGroupNotFound", "Resource group '%s' could not be found.", name)
		}
		return nil, refuse(404, "ResourceNotFound", "The Resource '%s/%s' under resource group '%s' was not found.", kind, name, group)
	}
	return i, nil
}

// put makes or changes a resource.
func (c *Cloud) put(kind, group, name string, v any) (*item, error) {
	g := c.items[low(c.groupID(group))]
	switch {
	case g == nil:
		return nil, refuse(404, "ResourceGroupNotFound", "Resource group '%s' could not be found.", group)
	case g.doomed:
		return nil, refuse(409, "ResourceGroupBeingDeleted", "The resource group '%s' is in deprovisioning state and cannot perform this operation.", group)
	}
	doc := document(v)
	if err := c.checked(doc); err != nil {
		return nil, err
	}
	id := c.idOf(kind, group, name)
	if err := c.stands(id, kind, doc); err != nil {
		return nil, err
	}
	i := c.items[low(id)]
	if i != nil && (i.busy || i.doomed) {
		return nil, refuse(409, "AnotherOperationInProgress", "Another operation on this or dependent resource is in progress.")
	}
	var have map[string]any
	if i != nil {
		have = i.doc
	} else if err := c.exceeds(kind, doc); err != nil {
		return nil, err
	}
	doc["id"], doc["name"], doc["type"] = id, name, kind
	properties(doc)
	failure, err := c.prepare(kind, group, name, have, doc)
	if err != nil {
		return nil, err
	}
	state := "Updating"
	if i == nil {
		state = "Creating"
		i = &item{id: id, kind: kind, group: group, name: name, visible: c.now + c.o.Late, listed: c.now + c.o.Slow + c.o.Late}
		if c.o.Late > 0 {
			i.visible++
		}
		c.serial++
		i.label = fmt.Sprintf("%s-%d", labels()[kind], c.serial)
		c.items[low(id)] = i
	}
	i.doc, i.busy = doc, true
	properties(doc)["provisioningState"] = state
	var do errand
	if failure == nil {
		do = c.brings(i, have == nil)
	}
	c.begin(do, func(err *fault) {
		i.busy = false
		properties(i.doc)["provisioningState"] = "Succeeded"
		if err != nil {
			properties(i.doc)["provisioningState"] = "Failed"
		} else if kind == vmKind && have == nil {
			power(i.doc, "running")
		}
	}, failure)
	return i, nil
}

// labels are how labels of the kinds that the hardware knows begin.
func labels() map[string]string {
	return map[string]string{vmKind: "vm", vnetKind: "vnet", lbKind: "lb"}
}

// stands says whether what a document refers to is there and complete.
func (c *Cloud) stands(id, kind string, doc map[string]any) error {
	for _, r := range references(id, map[string]any{"properties": doc["properties"]}) {
		if strings.Contains(r, "/images/") || strings.Contains(r, "/galleries/") {
			continue
		}
		on := c.items[r]
		switch {
		case on == nil && strings.HasPrefix(kind, "Microsoft.Compute"):
			return refuse(404, "NotFound", "Resource %s not found.", r)
		case on == nil:
			return refuse(400, "InvalidResourceReference", "Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", r, id)
		case on.doomed || on.busy && text(on.doc, "properties", "provisioningState") == "Creating":
			f := refuse(429, "ReferencedResourceNotProvisioned", "Cannot proceed with operation because resource %s used by resource %s is not in Succeeded state.", r, id)
			f.header.Set("Retry-After", "0")
			f.header.Set("x-ms-retry-after-ms", "1")
			return f
		}
	}
	return nil
}

// checked says whether Azure would have the tags and the location.
func (c *Cloud) checked(doc map[string]any) error {
	tags, _ := doc["tags"].(map[string]any)
	for k, v := range tags {
		if strings.ContainsAny(k, `<>%&\?/`) {
			return refuse(400, "InvalidTagNameCharacters", `The tag names '%s' have reserved characters '<,>,%%,&,\,?,/' or control characters.`, k)
		}
		if s, _ := v.(string); len(k) > 512 || len(s) > 256 {
			return refuse(400, "InvalidTagValueLength", "Tag value too long.")
		}
	}
	if len(tags) > 50 {
		return refuse(400, "InvalidTagName", "The maximum number of tags is 50.")
	}
	if l, ok := doc["location"].(string); !ok || l != c.o.Location && !c.o.Anywhere {
		return refuse(400, "LocationNotAvailableForResourceType", "The provided location '%s' is not available.", l)
	}
	return nil
}

// remove begins to delete a resource, unless something stands on it.
func (c *Cloud) remove(kind, group, name string) (there bool, err error) {
	if kind != groupKind && c.items[low(c.groupID(group))] == nil {
		return false, refuse(404, "ResourceGroupNotFound", "Resource group '%s' could not be found.", group)
	}
	i := c.items[low(c.idOf(kind, group, name))]
	if i == nil {
		return false, nil
	}
	if kind != groupKind {
		if err := c.inUse(i); err != nil {
			return false, err
		}
		if i.busy && !i.doomed {
			return false, refuse(409, "AnotherOperationInProgress", "Another operation on this or dependent resource is in progress.")
		}
	}
	i.doomed, i.busy = true, true
	properties(i.doc)["provisioningState"] = "Deleting"
	c.begin(c.drops(i), func(err *fault) {
		if err != nil {
			i.doomed, i.busy = false, false
			properties(i.doc)["provisioningState"] = "Failed"
			return
		}
		c.gone(i)
	}, nil)
	return true, nil
}

// gone is the end of a resource, and of what goes with it.
func (c *Cloud) gone(i *item) {
	if c.items[low(i.id)] != i {
		return
	}
	delete(c.items, low(i.id))
	c.ghosts[i.id] = c.now + c.o.Late
	for _, o := range c.items {
		switch {
		case i.kind == groupKind && strings.EqualFold(o.group, i.name) && o.kind != groupKind:
			delete(c.items, low(o.id))
		case i.kind == vmKind && strings.EqualFold(text(o.doc, "managedBy"), i.id):
			delete(o.doc, "managedBy")
			if text(i.doc, "properties", "storageProfile", "osDisk", "name") == o.name && o.group == i.group {
				delete(c.items, low(o.id))
			}
		}
	}
}

// inUse is the table of what may not be deleted while something stands on it, with the words that Azure has for it.
func (c *Cloud) inUse(i *item) error {
	if at := text(i.doc, "managedBy"); at != "" {
		return refuse(409, "OperationNotAllowed", "Disk %s is attached to VM %s.", i.name, at)
	}
	code := map[string]string{
		vnetKind:     "InUseSubnetCannotBeDeleted",
		firewallKind: "InUseNetworkSecurityGroupCannotBeDeleted",
		roleKind:     "InUseApplicationSecurityGroupCannotBeDeleted",
		natKind:      "InUseNatGatewayCannotBeDeleted",
		addressKind:  "PublicIPAddressCannotBeDeleted",
		nicKind:      "NicInUse",
	}[i.kind]
	if code == "" {
		return nil
	}
	for _, o := range c.items {
		if o != i && slices.Contains(references(o.id, map[string]any{"properties": o.doc["properties"]}), low(i.id)) {
			return refuse(400, code, "%s is in use by %s and cannot be deleted.", i.id, o.id)
		}
	}
	return nil
}

// sorted returns the items of a kind, in one group or in all.
func (c *Cloud) sorted(kind, group string) (all []*item) {
	for _, i := range c.items {
		if i.kind == kind && i.visible <= c.now && (group == "" || strings.EqualFold(i.group, group)) {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b *item) int { return strings.Compare(a.id, b.id) })
	return all
}

// power sets whether a virtual machine runs.
func power(doc map[string]any, state string) {
	properties(doc)["instanceView"] = map[string]any{"statuses": []any{
		map[string]any{"code": "ProvisioningState/succeeded"}, map[string]any{"code": "PowerState/" + state, "displayStatus": fmt.Sprintf("VM %s", state)}}}
}
