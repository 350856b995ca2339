package nodeagent

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/nodeagent/api"
)

const (
	nodeFirst = 200 * time.Millisecond // between the first looks at a node that is not Ready
	nodeLater = 2 * time.Second        // and between the later ones
	nodeReady = 10 * time.Second       // between looks at one that is
)

// followNode asks the cluster whether it holds this node for Ready, until ctx ends.
func (a *agent) followNode(ctx context.Context, name string) {
	var client *api.Client
	pause := nodeFirst
	for ctx.Err() == nil {
		a.settleIdentity()
		reason := joined()
		if reason == "" && client == nil {
			var err error
			if client, err = api.New(controlplane.LocalServer, pki.ClusterCA.File(), kubeletClient, kubeletClient); err != nil {
				reason = err.Error()
			}
		}
		if reason == "" {
			reason = notReady(ctx, client, name)
		}
		if ctx.Err() != nil {
			return
		}
		a.update(func() { a.joined = reason })
		switch {
		case reason == "":
			pause = nodeReady
		case pause == nodeReady:
			pause = nodeFirst
		default:
			pause = min(pause*11/10, nodeLater)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// notReady says why the cluster does not hold the node for Ready, or "" if it does.
func notReady(ctx context.Context, client *api.Client, name string) string {
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status, Message string }
		}
	}
	err := client.Do(ctx, http.MethodGet, "/api/v1/nodes/"+url.PathEscape(name), nil, &node)
	if api.IsStatus(err, http.StatusNotFound) {
		return "the kubelet to register the node"
	} else if err != nil {
		return "the cluster's API"
	}
	for _, c := range node.Status.Conditions {
		if c.Type != "Ready" {
			continue
		}
		if c.Status == "True" {
			return ""
		}
		return fmt.Sprintf("the node to be Ready: %s", c.Message)
	}
	return "the kubelet to say that the node is Ready"
}
