package nodeagent

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/nodeagent/api"
	"github.com/provisionhq/provision/nodeagent/mount"
	"github.com/provisionhq/provision/templates"
)

// mountVolumes serves the kubelet the node half of the CSI driver until ctx ends, and lets it forget the driver if the node mounts
// no volumes any more.
func (a *agent) mountVolumes(ctx context.Context, node templates.Node) {
	if node.Cloud == nil || !node.Cloud.Volumes {
		if err := mount.Retire(kubeletRoot); err != nil {
			a.log.Error("the kubelet still knows a storage driver", "err", err)
		}
		return
	}
	at, ok := a.place(ctx, node)
	for ok && ctx.Err() == nil {
		half := mount.New(mount.Options{Driver: templates.CSIDriver(node.Cloud.Vendor), Version: Version(), Node: node.Name, Zone: at.zone, Most: at.volumes, Kubelet: kubeletRoot, Log: a.log})
		err := half.Serve(ctx)
		if ctx.Err() != nil {
			return
		}
		a.problem("volumes", err)
		a.log.Error("cannot serve volumes", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(retryPeriod):
		}
	}
}

// A place is what the cloud agent has said of a node's machine.
type place struct {
	zone    string // "": there is just one
	volumes int    // how many can be attached; 0: nobody knows
}

// place returns where the node is, as soon as the cloud agent has said so: the kubelet asks once, when it learns of the driver, and
// a volume of a zone would never be attached to a node of none. False if ctx ended.
func (a *agent) place(ctx context.Context, node templates.Node) (place, bool) {
	if !node.Cloud.External {
		return place{}, true // nobody says so, as there is just one place
	}
	for ctx.Err() == nil {
		if joined() == "" {
			if p, known := askPlace(ctx, node.Name); known {
				return p, true
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPeriod):
		}
	}
	return place{}, false
}

// uninitialized is the taint of a node of which the cloud agent has not said what it is.
const uninitialized = "node.cloudprovider.kubernetes.io/uninitialized"

func askPlace(ctx context.Context, name string) (place, bool) {
	client, err := api.New(controlplane.LocalServer, pki.ClusterCA.File(), kubeletClient, kubeletClient)
	if err != nil {
		return place{}, false
	}
	var node nodePlace
	if err := client.Do(ctx, http.MethodGet, "/api/v1/nodes/"+url.PathEscape(name), nil, &node); err != nil {
		return place{}, false
	}
	return node.place()
}

// A nodePlace is what a node object says of where the node is.
type nodePlace struct {
	Metadata struct{ Labels map[string]string }
	Spec     struct{ Taints []templates.Taint }
}

// place returns the node's place, and whether that is known by now.
func (n nodePlace) place() (place, bool) {
	for _, t := range n.Spec.Taints {
		if t.Key == uninitialized {
			return place{}, false
		}
	}
	most, _ := strconv.Atoi(n.Metadata.Labels[templates.VolumeCount]) // what is no number says nothing
	return place{n.Metadata.Labels[templates.VolumeZone], max(0, most)}, true
}
