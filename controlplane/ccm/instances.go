package ccm

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"
	cloudapi "k8s.io/cloud-provider/api"
	"k8s.io/klog/v2"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// strange is how long a node of which nothing is known is asked about. Later it is another vendor's.
const strange = 15 * time.Minute

// instances tells what is known of nodes' machines.
type instances struct {
	scheme   string // of the vendor's node IDs
	region   string // label of all nodes; empty: none
	lag      time.Duration
	machines *lister
	get      func(context.Context, providers.ID) (providers.Machine, error) // nil: the list is the truth
	types    func(context.Context) ([]providers.MachineType, error)         // nil: nobody asks how many volumes a machine takes

	mu   sync.Mutex
	seen map[string]providers.ID // machines by node ID, those that are gone too
}

var _ cloudprovider.InstancesV2 = (*instances)(nil)

// foreign says whether the node is another vendor's.
func (i *instances) foreign(n *v1.Node) bool {
	scheme, _, ok := strings.Cut(n.Spec.ProviderID, "://")
	return ok && scheme != i.scheme
}

// find returns the node's machine from a list that was read no earlier than since.
func (i *instances) find(ctx context.Context, n *v1.Node, since time.Time) (m providers.Machine, found bool, at time.Time, err error) {
	l, err := i.machines.newer(ctx, since)
	if err != nil {
		return m, false, time.Time{}, fmt.Errorf("node %s: machines could not be listed: %w", n.Name, err)
	}
	if n.Spec.ProviderID == "" {
		m, found = l.byName[n.Name]
	} else {
		m, found = l.byID[n.Spec.ProviderID]
	}
	if found {
		i.note(m)
	}
	return m, found, l.at, nil
}

// note remembers the machine's ID, so that it can be asked for when it is in the list no more.
func (i *instances) note(m providers.Machine) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.seen == nil {
		i.seen = map[string]providers.ID{}
	}
	i.seen[m.NodeID] = m.ID
}

// InstanceExists says no only if the vendor is sure: the node is the vendor's, and its machine is in no list that is new
// enough to have it. It is asked for nodes that are not ready.
func (i *instances) InstanceExists(ctx context.Context, n *v1.Node) (bool, error) {
	if i.foreign(n) || n.Spec.ProviderID == "" {
		return true, nil
	}
	lost := unreadySince(n)
	_, found, at, err := i.find(ctx, n, patient(lost, time.Now()))
	if err != nil || found {
		return true, err
	}
	if at.Before(lost) || at.Before(n.CreationTimestamp.Add(i.lag)) {
		return true, nil // it says nothing of now
	}
	return i.there(ctx, n)
}

// there asks for the machine itself, if its ID is known: one that lost the tag of its owner is in no list.
func (i *instances) there(ctx context.Context, n *v1.Node) (bool, error) {
	i.mu.Lock()
	id, known := i.seen[n.Spec.ProviderID]
	i.mu.Unlock()
	if !known || i.get == nil {
		return false, nil
	}
	_, err := i.get(ctx, id)
	if errors.Is(err, providers.NotFound) {
		return false, nil
	}
	return true, err
}

// InstanceShutdown says whether the machine is stopped.
func (i *instances) InstanceShutdown(ctx context.Context, n *v1.Node) (bool, error) {
	if i.foreign(n) {
		return false, nil
	}
	m, found, _, err := i.find(ctx, n, patient(unreadySince(n), time.Now()))
	return found && m.State == providers.Stopped, err
}

// InstanceMetadata returns what the node's machine is. Of a node that is not known it says nothing, so that it is left
// alone; as long as its machine may show up yet, it returns an error and is asked again.
func (i *instances) InstanceMetadata(ctx context.Context, n *v1.Node) (*cloudprovider.InstanceMetadata, error) {
	if i.foreign(n) {
		return nothing(n), nil
	}
	now := time.Now()
	since := now.Add(-maxAge)
	if uninitialized(n) {
		since = n.CreationTimestamp.Time // a list of before may have the machine that had this name before
	}
	m, found, _, err := i.find(ctx, n, since)
	if err == nil && !found {
		m, found, _, err = i.find(ctx, n, patient(n.CreationTimestamp.Time, now))
	}
	switch {
	case err != nil:
		return nil, err
	case found:
		d := i.metadata(m)
		if uninitialized(n) {
			d.AdditionalLabels = i.limits(ctx, m)
		}
		return d, nil
	case now.Sub(n.CreationTimestamp.Time) > strange+i.lag:
		return nothing(n), nil
	}
	return nil, fmt.Errorf("node %s: no machine of the cluster has its name or its ID %q yet", n.Name, n.Spec.ProviderID)
}

// limits are the labels of a new node that say what its machine's type allows. A node without them serves, so what the vendor does not
// tell now is left out.
func (i *instances) limits(ctx context.Context, m providers.Machine) map[string]string {
	if i.types == nil {
		return nil
	}
	all, err := i.types(ctx)
	if err != nil {
		klog.ErrorS(err, "Nobody says how many volumes a node takes", "node", m.Name, "type", m.Type)
	}
	for _, t := range all {
		if t.Name == m.Type && t.Volumes > 0 {
			return map[string]string{templates.VolumeCount: strconv.Itoa(t.Volumes)}
		}
	}
	return nil
}

func (i *instances) metadata(m providers.Machine) *cloudprovider.InstanceMetadata {
	d := &cloudprovider.InstanceMetadata{ProviderID: m.NodeID, InstanceType: m.Type, Zone: m.Zone, Region: i.region}
	if m.Private.IsValid() {
		d.NodeAddresses = append(d.NodeAddresses, v1.NodeAddress{Type: v1.NodeInternalIP, Address: m.Private.String()})
	}
	if m.Public.IsValid() {
		d.NodeAddresses = append(d.NodeAddresses, v1.NodeAddress{Type: v1.NodeExternalIP, Address: m.Public.String()})
	}
	d.NodeAddresses = append(d.NodeAddresses, v1.NodeAddress{Type: v1.NodeHostName, Address: m.Name})
	return d
}

// nothing is the answer for a node that is to be left alone: nil where it waits to be completed, else, as upstream looks
// into the answer without a check, one without addresses.
func nothing(n *v1.Node) *cloudprovider.InstanceMetadata {
	if uninitialized(n) {
		return nil
	}
	return &cloudprovider.InstanceMetadata{}
}

// uninitialized says whether the node waits to be completed.
func uninitialized(n *v1.Node) bool {
	for _, t := range n.Spec.Taints {
		if t.Key == cloudapi.TaintExternalCloudProvider {
			return true
		}
	}
	return false
}

// unreadySince returns since when the node is not ready; when it was made if it never said.
func unreadySince(n *v1.Node) time.Time {
	for _, c := range n.Status.Conditions {
		if c.Type == v1.NodeReady && !c.LastTransitionTime.IsZero() {
			return c.LastTransitionTime.Time
		}
	}
	return n.CreationTimestamp.Time
}

// machine returns the ID of the node's machine; none if it is not the vendor's or is gone.
func (i *instances) machine(ctx context.Context, n *v1.Node) (providers.ID, error) {
	if i.foreign(n) {
		return "", nil
	}
	m, found, _, err := i.find(ctx, n, time.Now().Add(-maxAge))
	if err == nil && !found {
		m, _, _, err = i.find(ctx, n, patient(n.CreationTimestamp.Time, time.Now()))
	}
	return m.ID, err
}
