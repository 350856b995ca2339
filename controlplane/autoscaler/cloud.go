package autoscaler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/awslabs/operatorpkg/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	karpenter "sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/scheduling"
	"sigs.k8s.io/karpenter/pkg/utils/resources"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

const (
	uidTag    = "provision.sh/uid"     // the cluster's, as the command has it
	claimTag  = "provision.sh/claim"   // UID of the NodeClaim that a machine is made for
	poolLabel = "provision.sh/pool"    // the pool's name in cluster.hcl
	bundleKey = "provision.sh/bundle"  // annotation of a NodeClaim: what its node was invited to run
	problem   = "MachinesCannotBeMade" // reason of a class that is not ready
	listAge   = 5 * time.Second        // how old a list of machines may be that answers a question
)

// cloud is what Karpenter knows of the vendor.
type cloud struct {
	provider providers.Provider
	conf     templates.Cloud
	market   *market
	inviter  inviter
	broken   *troubles

	mu     sync.Mutex
	listed []providers.Machine
	at     time.Time
}

// An inviter gives a machine what it needs to join.
type inviter interface {
	invite(ctx context.Context, machine string) (userData []byte, bundle string, err error)
	revoke(ctx context.Context, machine string) error
	bundle() (string, error) // that new nodes run
}

// Name is the vendor's.
func (c *cloud) Name() string { return "provision-" + c.provider.Name() }

// GetSupportedNodeClasses returns the one there is.
func (c *cloud) GetSupportedNodeClasses() []status.Object { return []status.Object{&MachineClass{}} }

// RepairPolicies say when a node is given up: Karpenter replaces it.
func (c *cloud) RepairPolicies() []karpenter.RepairPolicy {
	return []karpenter.RepairPolicy{
		{ConditionType: corev1.NodeReady, ConditionStatus: corev1.ConditionFalse, TolerationDuration: 10 * time.Minute},
		{ConditionType: corev1.NodeReady, ConditionStatus: corev1.ConditionUnknown, TolerationDuration: 10 * time.Minute},
	}
}

// GetInstanceTypes returns the types that the pool chooses from.
func (c *cloud) GetInstanceTypes(ctx context.Context, np *karpv1.NodePool) ([]*karpenter.InstanceType, error) {
	p, ok := c.pool(np.Spec.Template.Spec.NodeClassRef.Name)
	if !ok {
		return nil, nil // about to be deleted
	}
	return c.market.instanceTypes(ctx, p)
}

func (c *cloud) pool(name string) (templates.CloudPool, bool) {
	i := slices.IndexFunc(c.conf.Pools, func(p templates.CloudPool) bool { return p.Name == name })
	if i < 0 {
		return templates.CloudPool{}, false
	}
	return c.conf.Pools[i], true
}

// machineName is the name of a claim's machine and node: the pool's in the cluster, and the letters that Kubernetes made up.
func (c *cloud) machineName(pool, claim string) string {
	return c.conf.Cluster + "-" + pool + "-" + claim[strings.LastIndexByte(claim, '-')+1:]
}

// Create makes the cheapest machine that suits the claim. What the vendor has none of is not asked for again for a while, and the next
// best is. Called again for one claim it returns the machine that there is.
func (c *cloud) Create(ctx context.Context, claim *karpv1.NodeClaim) (*karpv1.NodeClaim, error) {
	p, ok := c.pool(claim.Spec.NodeClassRef.Name)
	if !ok {
		return nil, karpenter.NewNodeClassNotReadyError(fmt.Errorf("cluster.hcl has no pool %q", claim.Spec.NodeClassRef.Name))
	}
	if why, is := c.broken.is(p.Name); is {
		return nil, karpenter.NewNodeClassNotReadyError(errors.New(why))
	}
	types, err := c.market.instanceTypes(ctx, p)
	if err != nil {
		return nil, err
	}
	spec := c.spec(p, claim)
	if m, ok, err := c.made(ctx, spec); err != nil || ok {
		return c.claim(m, types), err
	}
	data, bundle, err := c.inviter.invite(ctx, spec.Name)
	if err != nil {
		return nil, fmt.Errorf("invite %s: %w", spec.Name, err)
	}
	spec.UserData = data
	m, err := c.buy(ctx, spec, choices(types, claim), p)
	if err != nil {
		return nil, errors.Join(err, c.inviter.revoke(ctx, spec.Name))
	}
	made := c.claim(m, types)
	made.Annotations = map[string]string{bundleKey: bundle}
	return made, nil
}

// spec is what the vendor is asked for, but for type, zone and user data.
func (c *cloud) spec(p templates.CloudPool, claim *karpv1.NodeClaim) providers.MachineSpec {
	return providers.MachineSpec{
		Owner: providers.Owner(c.conf.Cluster), Name: c.machineName(p.Name, claim.Name), Pool: p.Name, Network: providers.ID(c.conf.Network),
		Image: p.Image, DiskGiB: p.DiskGiB, Spot: p.Spot, AuthorizedKeys: c.conf.AuthorizedKeys,
		Tags: map[string]string{uidTag: c.conf.UID, claimTag: string(claim.UID)},
	}
}

// made returns the machine that an earlier call made for the claim. One that is half made has a token that may have ended: it goes.
func (c *cloud) made(ctx context.Context, spec providers.MachineSpec) (providers.Machine, bool, error) {
	all, err := c.list(ctx, 0)
	if err != nil {
		return providers.Machine{}, false, err
	}
	for _, m := range all {
		switch {
		case m.Name != spec.Name:
		case m.Tags[claimTag] != spec.Tags[claimTag]:
			return m, false, karpenter.NewInsufficientCapacityError(fmt.Errorf("machine %s is another claim's", m.Name))
		case m.Partial:
			return m, false, c.delete(ctx, m)
		default:
			return m, true, nil
		}
	}
	return providers.Machine{}, false, nil
}

// choices are the offers that suit a claim and are to be had, the cheapest first.
func choices(types []*karpenter.InstanceType, claim *karpv1.NodeClaim) []priced {
	reqs := scheduling.NewNodeSelectorRequirementsWithMinValues(claim.Spec.Requirements...)
	var all []priced
	for _, it := range types {
		if !reqs.Get(corev1.LabelInstanceTypeStable).Has(it.Name) || !resources.Fits(claim.Spec.Resources.Requests, it.Allocatable()) {
			continue
		}
		for _, o := range it.Offerings.Available().Compatible(reqs) {
			all = append(all, priced{offer{it.Name, o.Zone(), o.CapacityType() == karpv1.CapacityTypeSpot}, o.Price})
		}
	}
	slices.SortFunc(all, byPrice)
	return all
}

// buy asks for one offer after the other.
func (c *cloud) buy(ctx context.Context, spec providers.MachineSpec, offers []priced, p templates.CloudPool) (providers.Machine, error) {
	defer c.forget()
	var last error
	for _, o := range offers {
		spec.Type, spec.Zone = o.machine, c.market.zone(o.zone)
		m, err := c.provider.Machines().Create(providers.WithChoice(ctx), spec)
		if err == nil || errors.Is(err, providers.Exists) {
			klog.InfoS("Made a machine", "machine", m.Name, "type", m.Type, "zone", m.Zone)
			return m, nil
		}
		last = err
		switch judge(err) {
		case again:
			return m, karpenter.NewCreateError(err, "VendorNotAnswering", err.Error())
		case broken:
			c.broken.note(p.Name, err.Error())
			return m, karpenter.NewNodeClassNotReadyError(err)
		}
		klog.InfoS("The vendor has none", "type", o.machine, "zone", o.zone, "err", err)
		c.market.sold(o.offer)
		if err := c.sweep(ctx, spec); err != nil {
			return m, err
		}
	}
	if last == nil {
		last = errors.New("the vendor has had none of all that suits, moments ago")
	}
	return providers.Machine{}, karpenter.NewInsufficientCapacityError(last)
}

// sweep removes what a refused create left, so that another type can be made by that name.
func (c *cloud) sweep(ctx context.Context, spec providers.MachineSpec) error {
	all, err := c.list(ctx, 0)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Name == spec.Name && m.Tags[claimTag] == spec.Tags[claimTag] {
			return c.delete(ctx, m)
		}
	}
	return nil
}

// Delete removes a claim's machine and says that it is gone.
func (c *cloud) Delete(ctx context.Context, claim *karpv1.NodeClaim) error {
	all, err := c.list(ctx, 0)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(m providers.Machine) bool { return m.NodeID == claim.Status.ProviderID })
	if i < 0 {
		return errNotThere(claim.Status.ProviderID)
	}
	if err := c.delete(ctx, all[i]); err != nil {
		return err
	}
	return errNotThere(all[i].Name)
}

// delete takes back a machine's invitation, so that it does not join while it goes, and removes it.
func (c *cloud) delete(ctx context.Context, m providers.Machine) error {
	defer c.forget()
	if err := c.inviter.revoke(ctx, m.Name); err != nil {
		return err
	}
	if err := c.provider.Machines().Delete(ctx, m.ID); err != nil {
		return fmt.Errorf("delete machine %s: %w", m.Name, err)
	}
	klog.InfoS("Gave a machine back", "machine", m.Name, "type", m.Type)
	return nil
}

// Get returns the machine of a provider ID.
func (c *cloud) Get(ctx context.Context, id string) (*karpv1.NodeClaim, error) {
	all, err := c.list(ctx, listAge)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.NodeID == id {
			return c.claim(m, nil), nil
		}
	}
	return nil, errNotThere(id)
}

// List returns all machines of autoscaled pools.
func (c *cloud) List(ctx context.Context) ([]*karpv1.NodeClaim, error) {
	all, err := c.list(ctx, listAge)
	if err != nil {
		return nil, err
	}
	var claims []*karpv1.NodeClaim
	for _, m := range all {
		claims = append(claims, c.claim(m, nil))
	}
	return claims, nil
}

// list returns the machines that were made for claims, as the vendor listed them no longer ago than age.
func (c *cloud) list(ctx context.Context, age time.Duration) ([]providers.Machine, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listed != nil && time.Since(c.at) < age {
		return c.listed, nil
	}
	all, err := c.provider.Machines().List(ctx, providers.Owner(c.conf.Cluster))
	if err != nil {
		return nil, err
	}
	c.at, c.listed = time.Now(), []providers.Machine{}
	for _, m := range all {
		if m.Tags[claimTag] != "" && m.Tags[uidTag] == c.conf.UID {
			c.listed = append(c.listed, m)
		}
	}
	return c.listed, nil
}

// forget makes the next list be asked for anew.
func (c *cloud) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed = nil
}

// claim is a machine in Karpenter's words.
func (c *cloud) claim(m providers.Machine, types []*karpenter.InstanceType) *karpv1.NodeClaim {
	zone := m.Zone
	if zone == "" {
		zone = c.provider.Name()
	}
	p, _ := c.pool(m.Pool)
	n := &karpv1.NodeClaim{}
	n.Name = m.Name
	n.Labels = map[string]string{
		corev1.LabelInstanceTypeStable: m.Type, corev1.LabelTopologyZone: zone, karpv1.CapacityTypeLabelKey: capacityType(p.Spot),
		poolLabel: m.Pool,
	}
	n.Status.ProviderID, n.Status.ImageID = m.NodeID, m.Image
	for _, it := range types {
		if it.Name == m.Type {
			n.Status.Capacity, n.Status.Allocatable = it.Capacity, it.Allocatable()
			n.Labels[corev1.LabelArchStable], n.Labels[corev1.LabelOSStable] = it.Requirements.Get(corev1.LabelArchStable).Any(), "linux"
		}
	}
	return n
}

// What a node has drifted by.
const (
	driftImage  karpenter.DriftReason = "Image"
	driftDisk   karpenter.DriftReason = "Disk"
	driftBundle karpenter.DriftReason = "Bundle"
)

// IsDrifted compares a claim's machine with what its pool asks for now, and what its node runs with what new nodes run.
func (c *cloud) IsDrifted(ctx context.Context, claim *karpv1.NodeClaim) (karpenter.DriftReason, error) {
	p, ok := c.pool(claim.Spec.NodeClassRef.Name)
	if !ok {
		return "", nil
	}
	if now, err := c.inviter.bundle(); err != nil {
		return "", err
	} else if was := claim.Annotations[bundleKey]; was != "" && was != now {
		return driftBundle, nil
	}
	all, err := c.list(ctx, time.Minute)
	if err != nil {
		return "", err
	}
	for _, m := range all {
		switch {
		case m.NodeID != claim.Status.ProviderID:
		case p.Image != "" && m.Image != p.Image:
			return driftImage, nil
		case p.DiskGiB != 0 && m.DiskGiB != p.DiskGiB:
			return driftDisk, nil
		}
	}
	return "", nil
}

// troubles are the pools whose machines cannot be made before somebody does something, and why.
type troubles struct {
	pause time.Duration // after which it is tried again

	mu      sync.Mutex
	why     map[string]string
	until   map[string]time.Time
	changed chan struct{} // gets a word when there is another one
}

func (t *troubles) note(pool, why string) {
	t.mu.Lock()
	t.why[pool], t.until[pool] = why, time.Now().Add(t.pause)
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// any says whether there is one, and how long it is until it is tried again.
func (t *troubles) any() (wait time.Duration, any bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, until := range t.until {
		if d := time.Until(until); d > 0 && (!any || d < wait) {
			wait, any = d, true
		}
	}
	return wait, any
}

func (t *troubles) is(pool string) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.why[pool], time.Now().Before(t.until[pool])
}
