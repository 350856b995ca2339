package nodeagent

import (
	"context"
	"net/http"
	"net/url"
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
	zone, ok := a.zone(ctx, node)
	for ok && ctx.Err() == nil {
		half := mount.New(mount.Options{Driver: templates.CSIDriver(node.Cloud.Vendor), Version: Version(), Node: node.Name, Zone: zone, Kubelet: kubeletRoot, Log: a.log})
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

// zone returns where the node is, as soon as the cloud agent has said so: the kubelet asks once, when it learns of the driver, and
// a volume of a zone would never be attached to a node of none. False if ctx ended.
func (a *agent) zone(ctx context.Context, node templates.Node) (string, bool) {
	if !node.Cloud.External {
		return "", true // nobody says so, as there is just one place
	}
	for ctx.Err() == nil {
		if joined() == "" {
			if zone, known := askZone(ctx, node.Name); known {
				return zone, true
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPeriod):
		}
	}
	return "", false
}

// uninitialized is the taint of a node of which the cloud agent has not said what it is.
const uninitialized = "node.cloudprovider.kubernetes.io/uninitialized"

func askZone(ctx context.Context, name string) (string, bool) {
	client, err := api.New(controlplane.LocalServer, pki.ClusterCA.File(), kubeletClient, kubeletClient)
	if err != nil {
		return "", false
	}
	var node nodePlace
	if err := client.Do(ctx, http.MethodGet, "/api/v1/nodes/"+url.PathEscape(name), nil, &node); err != nil {
		return "", false
	}
	return node.zone()
}

// A nodePlace is what a node object says of where the node is.
type nodePlace struct {
	Metadata struct{ Labels map[string]string }
	Spec     struct{ Taints []templates.Taint }
}

// zone returns the node's zone, and whether that is known by now.
func (n nodePlace) zone() (string, bool) {
	for _, t := range n.Spec.Taints {
		if t.Key == uninitialized {
			return "", false
		}
	}
	return n.Metadata.Labels[templates.VolumeZone], true
}
