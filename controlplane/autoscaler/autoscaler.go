// Package autoscaler makes machines for pods that fit on no node, and gives them back: Karpenter's core on package providers. What a
// pool may have is in cluster.hcl and comes with templates.Cloud; when machines are made, and consolidated, replaced or repaired, is Karpenter's
// to say. A machine joins by its invitation (templates.Invitation).
package autoscaler

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/karpenter/pkg/apis"
	"sigs.k8s.io/yaml"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// Options say what to work with.
type Options struct {
	Cloud    templates.Cloud
	Provider providers.Provider
	Config   *rest.Config // of the API server
	Elect    bool         // others may run beside this one
	Root     string       // of the control-plane node's file system; empty: /

	// Settle is how long nothing has to happen on a node before it may be given back; 0: 30 s.
	Settle time.Duration
}

// Run makes and removes machines until the context ends. An error is one that another process may not have.
func Run(ctx context.Context, o Options) error {
	register()
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Settle == 0 {
		o.Settle = settleTime
	}
	direct, err := client.New(o.Config, client.Options{})
	if err != nil {
		return err
	}
	wanted, err := needed(ctx, direct, o.Cloud)
	if err != nil || !wanted {
		<-ctx.Done()
		return nil
	}
	if err := persist(ctx, "Cannot tell the API server of Karpenter's kinds", func(ctx context.Context) error { return define(ctx, direct) }); err != nil {
		return nil // the context ended
	}
	k, err := kubernetes.NewForConfig(o.Config)
	if err != nil {
		return err
	}
	c := newCloud(o.Cloud, o.Provider, host{o.Root, k})
	c.broken.pause = 2 * o.Settle
	return start(ctx, o, c)
}

func newCloud(conf templates.Cloud, p providers.Provider, i inviter) *cloud {
	return &cloud{
		provider: p, conf: conf, inviter: i, market: &market{provider: p, missing: map[offer]time.Time{}},
		broken: &troubles{pause: 2 * settleTime, why: map[string]string{}, until: map[string]time.Time{}, changed: make(chan struct{}, 1)},
	}
}

// needed says whether there is something to do: a pool, or what is left of pools that the file had. Without Karpenter their nodes could
// not be deleted.
func needed(ctx context.Context, c client.Client, conf templates.Cloud) (bool, error) {
	if len(conf.Pools) > 0 {
		return true, nil
	}
	left := false
	err := persist(ctx, "Cannot ask for pools that the file no longer has", func(ctx context.Context) error {
		for _, kind := range []string{"NodePoolList", "NodeClaimList"} { // those of a pool outlive it
			l := list(apis.Group, kind)
			if err := c.List(ctx, l, client.Limit(1)); meta.IsNoMatchError(err) {
				return nil
			} else if err != nil {
				return err
			}
			left = left || len(l.Items) > 0
		}
		return nil
	})
	return left, err
}

// persist tries until it works; its error is the context's.
func persist(ctx context.Context, words string, f func(context.Context) error) error {
	return wait.PollUntilContextCancel(ctx, 2*time.Second, true, func(ctx context.Context) (bool, error) {
		err := f(ctx)
		if err != nil && ctx.Err() == nil {
			klog.ErrorS(err, words)
		}
		return err == nil, nil
	})
}

// define tells the API server of the kinds that are used here, and waits until it knows them. Kinds of what Karpenter has switched off are not.
func define(ctx context.Context, c client.Client) error {
	for _, crd := range [][]byte{apis.NodePoolCRD, apis.NodeClaimCRD, classCRD} {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(crd, &u.Object); err != nil {
			return err
		}
		labels := u.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[templates.ManagedByLabel] = templates.ManagedBy
		u.SetLabels(labels)
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), fieldOwner, client.ForceOwnership); err != nil {
			return fmt.Errorf("apply %s: %w", u.GetName(), err)
		}
	}
	for _, l := range []*unstructured.UnstructuredList{list(apis.Group, "NodePoolList"), list(apis.Group, "NodeClaimList"), list(classGroup.Group, "MachineClassList")} {
		if err := c.List(ctx, l, client.Limit(1)); err != nil {
			return err
		}
	}
	return nil
}

func list(group, kind string) *unstructured.UnstructuredList {
	l := &unstructured.UnstructuredList{}
	l.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind})
	return l
}
