package azuretest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v7/fake"
)

// A sku is a machine type of the cloud.
type sku struct {
	name, arch    string
	family        string // that its processors are counted in
	cpus          int
	memory        string // GB
	zones         []string
	noTrust, nvme bool
}

// skus are the machine types on offer. The last cannot be had by this subscription.
func skus() []sku {
	all := []string{"1", "2", "3"}
	return []sku{
		{"Standard_B2s", "x64", "standardBSFamily", 2, "4", all, false, false},
		{"Standard_B2ms", "x64", "standardBSFamily", 2, "8", all, false, false},
		{"Standard_B4ms", "x64", "standardBSFamily", 4, "16", all, false, false},
		{"Standard_D2as_v5", "x64", "standardDASv5Family", 2, "8", all, false, false},
		{"Standard_D4as_v5", "x64", "standardDASv5Family", 4, "16", all, false, false},
		{"Standard_D2ps_v5", "Arm64", "standardDPSv5Family", 2, "8", []string{"1", "2"}, true, false},
		{"Standard_D2s_v3", "x64", "standardDSv3Family", 2, "8", all, false, false},
		{"Standard_D4s_v3", "x64", "standardDSv3Family", 4, "16", all, false, false},
		{"Standard_D2s_v5", "x64", "standardDSv5Family", 2, "8", all, false, false},
		{"Standard_D4s_v5", "x64", "standardDSv5Family", 4, "16", all, false, false},
		{"Standard_D8s_v5", "x64", "standardDSv5Family", 8, "32", all, false, false},
		{"Standard_D4s_v6", "x64", "StandardDsv6Family", 4, "16", []string{"1", "3"}, false, true},
		{"Standard_E2s_v5", "x64", "standardESv5Family", 2, "16", all, false, false},
		{"Standard_E4s_v5", "x64", "standardESv5Family", 4, "32", all, false, false},
		{"Standard_F2s_v2", "x64", "standardFSv2Family", 2, "4", all, false, false},
		{"Standard_F4s_v2", "x64", "standardFSv2Family", 4, "8", all, false, false},
		{"Standard_M416ms_v2", "x64", "standardMSv2Family", 416, "11400", nil, false, false},
	}
}

// images are those that can be had, as URNs without versions.
func images() []string {
	return []string{"Debian:debian-12:12-gen2", "Debian:debian-12:12-arm64", "Debian:debian-13:13-gen2", "Debian:debian-13:13-arm64",
		"Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2", "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-arm64",
		"Canonical:ubuntu-24_04-lts:server", "Canonical:ubuntu-24_04-lts:server-arm64"}
}

// compute is the part of the cloud that Microsoft.Compute is.
func (c *Cloud) compute() *fake.ServerFactory {
	f := &fake.ServerFactory{UsageServer: fake.UsageServer{NewListPager: c.computeUsages}}
	v, d, s := &f.VirtualMachinesServer, &f.DisksServer, &f.SnapshotsServer
	wire(c, vmKind, &v.BeginCreateOrUpdate, &v.Get, &v.BeginDelete, &v.NewListPager, &v.NewListAllPager)
	wire(c, diskKind, &d.BeginCreateOrUpdate, &d.Get, &d.BeginDelete, &d.NewListByResourceGroupPager, &d.NewListPager)
	wire(c, snapshotKind, &s.BeginCreateOrUpdate, &s.Get, &s.BeginDelete, &s.NewListByResourceGroupPager, &s.NewListPager)
	v.Get, v.NewListPager = c.getVM(v.Get), c.listVMs(v.NewListPager)
	v.BeginStart, v.BeginAttachDetachDataDisks, d.BeginUpdate = c.start, c.change, c.grow
	f.ResourceSKUsServer.NewListPager = c.sizes
	f.VirtualMachineImagesServer.List = versions
	return f
}

type vmGet = func(context.Context, string, string, *armcompute.VirtualMachinesClientGetOptions) (azfake.Responder[armcompute.VirtualMachinesClientGetResponse], azfake.ErrorResponder)

// getVM shows how a virtual machine does only to who asks for it.
func (c *Cloud) getVM(get vmGet) vmGet {
	return func(ctx context.Context, group, name string, o *armcompute.VirtualMachinesClientGetOptions) (azfake.Responder[armcompute.VirtualMachinesClientGetResponse], azfake.ErrorResponder) {
		i := c.items[low(c.idOf(vmKind, group, name))]
		if i == nil || o != nil && o.Expand != nil {
			return get(ctx, group, name, o)
		}
		was := properties(i.doc)["instanceView"]
		delete(properties(i.doc), "instanceView")
		resp, refused := get(ctx, group, name, o)
		if was != nil {
			properties(i.doc)["instanceView"] = was
		}
		return resp, refused
	}
}

type vmList = func(string, *armcompute.VirtualMachinesClientListOptions) azfake.PagerResponder[armcompute.VirtualMachinesClientListResponse]

// listVMs shows of a group's virtual machines not how they do: the list of all is asked for that, with statusOnly.
func (c *Cloud) listVMs(list vmList) vmList {
	return func(group string, o *armcompute.VirtualMachinesClientListOptions) azfake.PagerResponder[armcompute.VirtualMachinesClientListResponse] {
		was := map[*item]any{}
		for _, i := range c.items {
			if p := properties(i.doc); i.kind == vmKind && p["instanceView"] != nil {
				was[i] = p["instanceView"]
				delete(p, "instanceView")
			}
		}
		defer func() {
			for i, view := range was {
				properties(i.doc)["instanceView"] = view
			}
		}()
		return list(group, o)
	}
}

// start turns a virtual machine on.
func (c *Cloud) start(_ context.Context, group, name string, _ *armcompute.VirtualMachinesClientBeginStartOptions) (resp azfake.PollerResponder[armcompute.VirtualMachinesClientStartResponse], refused azfake.ErrorResponder) {
	i, err := c.find(vmKind, group, name)
	if err != nil {
		refused.SetError(err)
		return resp, refused
	}
	c.begin(c.starts(i), func(err *fault) {
		if err == nil {
			power(i.doc, "running")
		}
	}, nil)
	resp.SetTerminalResponse(http.StatusOK, armcompute.VirtualMachinesClientStartResponse{}, nil)
	return resp, refused
}

// change attaches and detaches disks.
func (c *Cloud) change(_ context.Context, group, name string, in armcompute.AttachDetachDataDisksRequest, _ *armcompute.VirtualMachinesClientBeginAttachDetachDataDisksOptions) (resp azfake.PollerResponder[armcompute.VirtualMachinesClientAttachDetachDataDisksResponse], refused azfake.ErrorResponder) {
	i, err := c.find(vmKind, group, name)
	if err == nil && i.busy {
		err = refuse(409, "AnotherOperationInProgress", "Another operation on this or dependent resource is in progress.")
	}
	if err == nil {
		err = c.attach(i, document(in))
	}
	if err != nil {
		refused.SetError(err)
		return resp, refused
	}
	i.busy = true
	c.later(func() { i.busy = false }, nil)
	resp.SetTerminalResponse(http.StatusOK, armcompute.VirtualMachinesClientAttachDetachDataDisksResponse{}, nil)
	return resp, refused
}

// grow changes the size of a disk.
func (c *Cloud) grow(_ context.Context, group, name string, in armcompute.DiskUpdate, _ *armcompute.DisksClientBeginUpdateOptions) (resp azfake.PollerResponder[armcompute.DisksClientUpdateResponse], refused azfake.ErrorResponder) {
	i, err := c.find(diskKind, group, name)
	if err != nil {
		refused.SetError(err)
		return resp, refused
	}
	doc := document(in)
	have, _ := dig(i.doc, "properties", "diskSizeGB").(float64)
	want, _ := dig(doc, "properties", "diskSizeGB").(float64)
	if want < have {
		refused.SetError(refuse(409, "OperationNotAllowed", "Disk %s cannot shrink from %v to %v.", name, have, want))
		return resp, refused
	}
	c.later(func() { properties(i.doc)["diskSizeGB"] = want }, nil)
	v, _ := typed[armcompute.Disk](i.doc)
	resp.SetTerminalResponse(http.StatusOK, armcompute.DisksClientUpdateResponse{Disk: v}, nil)
	return resp, refused
}

// versions lists the versions of an image, not in order.
func versions(_ context.Context, _, publisher, offer, name string, _ *armcompute.VirtualMachineImagesClientListOptions) (resp azfake.Responder[armcompute.VirtualMachineImagesClientListResponse], refused azfake.ErrorResponder) {
	if !slices.Contains(images(), publisher+":"+offer+":"+name) {
		refused.SetError(refuse(404, "NotFound", "Artifact: VMImage was not found."))
		return resp, refused
	}
	var out armcompute.VirtualMachineImagesClientListResponse
	for _, v := range []string{"0.20260930.9", "0.20261101.2286", "0.20261101.98"} {
		out.VirtualMachineImageResourceArray = append(out.VirtualMachineImageResourceArray, &armcompute.VirtualMachineImageResource{Name: &v})
	}
	resp.SetResponse(http.StatusOK, out, nil)
	return resp, refused
}

// sizes lists the machine types, with others that are sold here, and one that is not sold to this subscription.
func (c *Cloud) sizes(o *armcompute.ResourceSKUsClientListOptions) (resp azfake.PagerResponder[armcompute.ResourceSKUsClientListResponse]) {
	str := func(s string) *string { return &s }
	here := c.o.Location
	if o != nil && o.Filter != nil && c.o.Anywhere {
		here = strings.Split(*o.Filter+"''", "'")[1] // location eq 'westeurope'
	}
	var all []*armcompute.ResourceSKU
	for _, s := range skus() {
		r := &armcompute.ResourceSKU{Name: str(s.name), Family: str(s.family), ResourceType: str("virtualMachines"), Locations: []*string{str(here)}}
		for k, v := range map[string]string{"vCPUs": fmt.Sprint(s.cpus), "MemoryGB": s.memory, "CpuArchitectureType": s.arch, "HyperVGenerations": "V1,V2", "LowPriorityCapable": "True", "MaxDataDiskCount": fmt.Sprint(2 * s.cpus),
			"TrustedLaunchDisabled": map[bool]string{true: "True", false: "False"}[s.noTrust], "DiskControllerTypes": map[bool]string{true: "NVMe", false: "SCSI"}[s.nvme]} {
			r.Capabilities = append(r.Capabilities, &armcompute.ResourceSKUCapabilities{Name: str(k), Value: str(v)})
		}
		info := &armcompute.ResourceSKULocationInfo{Location: str(here)}
		for _, z := range s.zones {
			info.Zones = append(info.Zones, str(z))
		}
		r.LocationInfo = []*armcompute.ResourceSKULocationInfo{info}
		if len(s.zones) == 0 {
			kind, why := armcompute.ResourceSKURestrictionsTypeLocation, armcompute.ResourceSKURestrictionsReasonCodeNotAvailableForSubscription
			r.Restrictions = []*armcompute.ResourceSKURestrictions{{Type: &kind, ReasonCode: &why}}
		}
		all = append(all, r)
	}
	all = append(all, &armcompute.ResourceSKU{Name: str("Premium_LRS"), ResourceType: str("disks"), Locations: []*string{str(here)}})
	resp.AddPage(http.StatusOK, armcompute.ResourceSKUsClientListResponse{ResourceSKUsResult: armcompute.ResourceSKUsResult{Value: all}}, nil)
	return resp
}
