package azuretest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// prepare fills in what Azure fills in, and refuses what Azure refuses. failure is how the operation ends, if it is an error.
func (c *Cloud) prepare(kind, group, name string, have, doc map[string]any) (failure *fault, err error) {
	p := properties(doc)
	switch kind {
	case addressKind:
		p["ipAddress"] = text(have, "properties", "ipAddress")
		if p["ipAddress"] == "" {
			c.serial++
			p["ipAddress"] = fmt.Sprintf("203.0.%d.%d", 113+c.serial/250, 1+c.serial%250)
		}
	case vnetKind:
		for _, s := range list(doc, "properties", "subnets") {
			m := s.(map[string]any)
			m["id"] = c.idOf(kind, group, name) + "/subnets/" + text(m, "name")
			properties(m)["provisioningState"] = "Succeeded"
		}
	case nicKind:
		if len(list(doc, "properties", "ipConfigurations")) == 0 {
			return nil, refuse(400, "InvalidRequestFormat", "A network interface needs an IP configuration.")
		}
		return nil, c.address(doc, list(doc, "properties", "ipConfigurations")[0])
	case lbKind:
		return nil, c.balance(doc)
	case firewallKind:
		for i, r := range list(doc, "properties", "securityRules") {
			for _, o := range list(doc, "properties", "securityRules")[:i] {
				if err := clash(r, o); err != nil {
					return nil, err
				}
			}
		}
	case vmKind:
		return c.machine(group, name, have, doc)
	case diskKind, snapshotKind:
		return nil, c.disk(have, doc)
	}
	return nil, nil
}

// clash says whether two rules have one priority.
func clash(a, b any) error {
	if text(a, "name") != text(b, "name") && dig(a, "properties", "priority") == dig(b, "properties", "priority") && text(a, "properties", "direction") == text(b, "properties", "direction") {
		return refuse(400, "SecurityRuleConflict", "Security rule %s conflicts with rule %s. Rules cannot have the same Priority and Direction.", text(a, "name"), text(b, "name"))
	}
	return nil
}

// address gives an IP configuration a private address of its subnet, unless it has one.
func (c *Cloud) address(doc map[string]any, config any) error {
	m, ok := config.(map[string]any)
	if !ok {
		return refuse(400, "InvalidRequestFormat", "no IP configuration")
	}
	p := properties(m)
	subnet := low(text(p, "subnet", "id"))
	vnet, within, ok := strings.Cut(subnet, "/subnets/")
	v := c.items[vnet]
	if !ok || v == nil {
		return refuse(400, "InvalidResourceReference", "Resource %s referenced by resource %s was not found.", subnet, doc["id"])
	}
	cidr := ""
	for _, s := range list(v.doc, "properties", "subnets") {
		if low(text(s, "name")) == within {
			cidr = text(s, "properties", "addressPrefix")
		}
	}
	network, err := netip.ParsePrefix(cidr)
	if err != nil {
		return refuse(400, "InvalidResourceReference", "Resource %s referenced by resource %s was not found.", subnet, doc["id"])
	}
	taken := c.taken(text(doc, "id"))
	if want := text(p, "privateIPAddress"); want != "" {
		a, err := netip.ParseAddr(want)
		if err != nil || !network.Contains(a) {
			return refuse(400, "PrivateIPAddressNotInSubnet", "Private static IP address %s does not belong to the range of subnet prefix %s.", want, cidr)
		}
		if slices.Contains(taken, want) {
			return refuse(400, "PrivateIPAddressInUse", "IP address %s is in use.", want)
		}
		return nil
	}
	if i := c.items[low(text(doc, "id"))]; i != nil { // what it has it keeps
		if l := slices.Concat(list(i.doc, "properties", "ipConfigurations"), list(i.doc, "properties", "frontendIPConfigurations")); len(l) > 0 {
			p["privateIPAddress"] = text(l[0], "properties", "privateIPAddress")
			return nil
		}
	}
	a := network.Addr()
	for range 4 {
		a = a.Next()
	}
	for slices.Contains(taken, a.String()) {
		a = a.Next()
	}
	p["privateIPAddress"] = a.String()
	return nil
}

// taken are all private addresses but one thing's.
func (c *Cloud) taken(but string) (all []string) {
	for _, i := range c.items {
		if i.id == but {
			continue
		}
		for _, l := range slices.Concat(list(i.doc, "properties", "ipConfigurations"), list(i.doc, "properties", "frontendIPConfigurations")) {
			if a := text(l, "properties", "privateIPAddress"); a != "" {
				all = append(all, a)
			}
		}
	}
	return all
}

// balance completes a load balancer.
func (c *Cloud) balance(doc map[string]any) error {
	fronts := list(doc, "properties", "frontendIPConfigurations")
	if len(fronts) == 0 {
		return refuse(400, "InvalidRequestFormat", "A load balancer needs a frontend.")
	}
	rules := list(doc, "properties", "loadBalancingRules")
	for i, r := range rules {
		for _, o := range rules[:i] {
			if dig(r, "properties", "protocol") != dig(o, "properties", "protocol") {
				continue
			}
			if dig(r, "properties", "frontendPort") == dig(o, "properties", "frontendPort") {
				return refuse(400, "RulesUseSameFrontendPortProtocolAndIPConfig", "Load balancing rules %s and %s are ambiguous.", text(r, "name"), text(o, "name"))
			}
			if dig(r, "properties", "backendPort") == dig(o, "properties", "backendPort") {
				return refuse(400, "RulesUseSameBackendPortProtocolAndPool", "Load balancing rules %s and %s use the same backend port.", text(r, "name"), text(o, "name"))
			}
		}
		if probe := text(r, "properties", "probe", "id"); probe != "" && !slices.ContainsFunc(list(doc, "properties", "probes"), func(p any) bool {
			return strings.HasSuffix(probe, "/probes/"+text(p, "name"))
		}) {
			return refuse(400, "InvalidResourceReference", "Probe %s was not found.", probe)
		}
	}
	if dig(fronts[0], "properties", "subnet") != nil {
		return c.address(doc, fronts[0])
	}
	return nil
}

// machine completes a virtual machine, with the disk that is made with it.
func (c *Cloud) machine(group, name string, have, doc map[string]any) (failure *fault, err error) {
	p, id := properties(doc), c.idOf(vmKind, group, name)
	if have != nil {
		return nil, refuse(409, "PropertyChangeNotAllowed", "Changing property 'osProfile' is not allowed.")
	}
	if !slices.ContainsFunc(skus(), func(s sku) bool { return s.name == text(p, "hardwareProfile", "vmSize") }) {
		return nil, refuse(400, "InvalidParameter", "The value %s provided for the VM size is not valid.", text(p, "hardwareProfile", "vmSize"))
	}
	image := strings.Join([]string{text(p, "storageProfile", "imageReference", "publisher"), text(p, "storageProfile", "imageReference", "offer"), text(p, "storageProfile", "imageReference", "sku")}, ":")
	if text(p, "storageProfile", "imageReference", "id") == "" && !slices.Contains(images(), image) {
		return nil, refuse(404, "PlatformImageNotFound", "The platform image '%s' is not available.", image)
	}
	if u := text(p, "osProfile", "adminUsername"); u == "" || slices.Contains([]string{"root", "admin", "user", "test"}, u) {
		return nil, refuse(400, "InvalidParameter", "The Admin Username specified is not allowed.")
	}
	if len(list(p, "osProfile", "linuxConfiguration", "ssh", "publicKeys")) == 0 {
		return nil, refuse(400, "InvalidParameter", "Authentication using either SSH or by user name and password must be enabled in Linux profile.")
	}
	nics := list(p, "networkProfile", "networkInterfaces")
	if len(nics) != 1 {
		return nil, refuse(400, "InvalidParameter", "one network interface is needed")
	}
	for _, o := range c.items {
		if o.kind == vmKind && slices.Contains(references(o.id, o.doc["properties"]), low(text(nics[0], "id"))) {
			return nil, refuse(400, "NicInUse", "Network Interface %s is used by existing resource %s.", text(nics[0], "id"), o.id)
		}
	}
	c.custom[low(id)] = text(p, "osProfile", "customData")
	delete(p["osProfile"].(map[string]any), "customData")
	c.serial++
	p["vmId"] = fmt.Sprintf("vm-%d", c.serial)
	if c.full > 0 {
		c.full--
		return refuse(409, "ZonalAllocationFailed", "Allocation failed. We do not have sufficient capacity for the requested VM size in this zone."), nil
	}
	disk := text(p, "storageProfile", "osDisk", "name")
	c.items[low(c.idOf(diskKind, group, disk))] = &item{id: c.idOf(diskKind, group, disk), kind: diskKind, group: group, name: disk, doc: map[string]any{
		"id": c.idOf(diskKind, group, disk), "name": disk, "location": c.o.Location, "managedBy": id, "properties": map[string]any{"provisioningState": "Succeeded"}}}
	return nil, nil
}

// disk completes a disk or a snapshot.
func (c *Cloud) disk(have, doc map[string]any) error {
	p := properties(doc)
	p["timeCreated"] = time.Now().UTC().Format(time.RFC3339Nano)
	if have != nil {
		p["timeCreated"] = dig(have, "properties", "timeCreated")
		doc["managedBy"] = have["managedBy"]
	}
	from := text(p, "creationData", "sourceResourceId")
	if from == "" {
		return nil
	}
	source := c.items[low(from)]
	if source == nil {
		return refuse(404, "NotFound", "Resource %s not found.", from)
	}
	size, _ := dig(source.doc, "properties", "diskSizeGB").(float64)
	if asked, ok := p["diskSizeGB"].(float64); ok && asked < size {
		return refuse(400, "InvalidParameter", "The disk size is smaller than that of its source.")
	} else if !ok {
		p["diskSizeGB"] = size
	}
	return nil
}

// attach changes the data disks of a virtual machine.
func (c *Cloud) attach(v *item, doc map[string]any) error {
	storage := properties(v.doc)["storageProfile"].(map[string]any)
	disks, _ := storage["dataDisks"].([]any)
	for _, d := range list(doc, "dataDisksToDetach") {
		id := text(d, "diskId")
		disks = slices.DeleteFunc(disks, func(o any) bool { return low(text(o, "managedDisk", "id")) == low(id) })
		if i := c.items[low(id)]; i != nil && low(text(i.doc, "managedBy")) == low(v.id) {
			delete(i.doc, "managedBy")
			properties(i.doc)["diskState"] = "Unattached"
		}
	}
	for _, d := range list(doc, "dataDisksToAttach") {
		i := c.items[low(text(d, "diskId"))]
		switch {
		case i == nil:
			return refuse(404, "NotFound", "Disk %s is not found.", text(d, "diskId"))
		case text(i.doc, "managedBy") != "" && low(text(i.doc, "managedBy")) != low(v.id):
			return refuse(409, "ConflictingUserInput", "Disk %s cannot be attached as it is already owned by VM %s.", i.name, text(i.doc, "managedBy"))
		case slices.ContainsFunc(disks, func(o any) bool { return dig(o, "lun") == dig(d, "lun") }):
			return refuse(409, "OperationNotAllowed", "A disk at LUN %v already exists.", dig(d, "lun"))
		case !zoneFits(v.doc, i.doc):
			return refuse(400, "BadRequest", "Disk %s cannot be attached to the VM because it is not in the same zone as the VM.", i.name)
		}
		i.doc["managedBy"] = v.id
		disks = append(disks, map[string]any{"lun": dig(d, "lun"), "createOption": "Attach", "managedDisk": map[string]any{"id": i.id}})
	}
	storage["dataDisks"] = disks
	return nil
}

func zoneFits(a, b map[string]any) bool {
	return fmt.Sprint(a["zones"]) == fmt.Sprint(b["zones"])
}
