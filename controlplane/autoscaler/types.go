package autoscaler

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	karpenter "sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/scheduling"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

const (
	typesAge = time.Hour       // how long what the vendor offers is believed
	soldOut  = 3 * time.Minute // how long a type is not asked for that the vendor had none of

	podsEach = 110 // the kubelet's default

	// What a machine's firmware and kernel keep of its memory for themselves, in percent, and what the kubelet keeps free.
	memoryKept  = 6
	memoryFree  = 100 << 20
	storageFree = 2 << 30
)

// An offer is what can be bought: a type in a zone.
type offer struct {
	machine, zone string
	spot          bool
}

// A market is what the vendor offers, and what it has run out of.
type market struct {
	provider providers.Provider

	mu      sync.Mutex
	types   []providers.MachineType
	asked   time.Time
	missing map[offer]time.Time // until when
}

// offered returns the vendor's machine types. A list that is old serves while the vendor does not answer.
func (m *market) offered(ctx context.Context) ([]providers.MachineType, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.types != nil && time.Since(m.asked) < typesAge {
		return m.types, nil
	}
	types, err := m.provider.Machines().Types(ctx)
	if err != nil && m.types == nil {
		return nil, err
	}
	if err == nil {
		m.types, m.asked = types, time.Now()
	}
	return m.types, nil
}

// sold notes that the vendor has none of an offer.
func (m *market) sold(o offer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.missing[o] = time.Now().Add(soldOut)
}

func (m *market) has(o offer) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().After(m.missing[o])
}

// instanceTypes are the pool's types as Karpenter wants them.
func (m *market) instanceTypes(ctx context.Context, p templates.CloudPool) ([]*karpenter.InstanceType, error) {
	all, err := m.offered(ctx)
	if err != nil {
		return nil, err
	}
	var list []*karpenter.InstanceType
	for _, t := range all {
		if slices.Contains(p.Types, t.Name) {
			list = append(list, m.instanceType(p, t))
		}
	}
	return list, nil
}

func (m *market) instanceType(p templates.CloudPool, t providers.MachineType) *karpenter.InstanceType {
	zones := m.zones(p, t)
	it := &karpenter.InstanceType{
		Name: t.Name, Capacity: capacity(p, t),
		Overhead: &karpenter.InstanceTypeOverhead{
			SystemReserved: corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(int64(t.MemoryMiB)<<20*memoryKept/100, resource.BinarySI)},
			EvictionThreshold: corev1.ResourceList{
				corev1.ResourceMemory:           *resource.NewQuantity(memoryFree, resource.BinarySI),
				corev1.ResourceEphemeralStorage: *resource.NewQuantity(storageFree, resource.BinarySI),
			},
		},
		Requirements: scheduling.NewRequirements(
			in(corev1.LabelInstanceTypeStable, t.Name), in(corev1.LabelArchStable, t.Arch), in(corev1.LabelOSStable, "linux"),
			in(corev1.LabelTopologyZone, zones...), in(karpv1.CapacityTypeLabelKey, capacityType(p.Spot)),
			scheduling.NewRequirement(corev1.LabelTopologyRegion, corev1.NodeSelectorOpDoesNotExist),
			scheduling.NewRequirement(corev1.LabelWindowsBuild, corev1.NodeSelectorOpDoesNotExist),
		),
	}
	for _, z := range zones {
		it.Offerings = append(it.Offerings, &karpenter.Offering{
			Requirements: scheduling.NewRequirements(in(corev1.LabelTopologyZone, z), in(karpv1.CapacityTypeLabelKey, capacityType(p.Spot))),
			Price:        price(t), Available: m.has(offer{t.Name, z, p.Spot}),
		})
	}
	return it
}

// zones are where machines of the type can be. A vendor without zones is one place, which bears its name: Karpenter has no
// machine that is nowhere.
func (m *market) zones(p templates.CloudPool, t providers.MachineType) []string {
	all := t.Zones
	if len(all) == 0 {
		all = m.provider.Caps().Zones
	}
	if len(all) == 0 {
		return []string{m.provider.Name()}
	}
	var zones []string
	for _, z := range all {
		if len(p.Zones) == 0 || slices.Contains(p.Zones, z) {
			zones = append(zones, z)
		}
	}
	return zones
}

// zone is what the vendor is asked for, of a zone as Karpenter knows it.
func (m *market) zone(z string) string {
	if len(m.provider.Caps().Zones) == 0 && z == m.provider.Name() {
		return ""
	}
	return z
}

func capacity(p templates.CloudPool, t providers.MachineType) corev1.ResourceList {
	disk := max(p.DiskGiB, t.DiskGiB)
	if p.DiskGiB > 0 {
		disk = p.DiskGiB
	}
	if disk == 0 {
		disk = 20 // nobody knows: the image's
	}
	return corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewMilliQuantity(int64(t.CPUs), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(int64(t.MemoryMiB)<<20, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(int64(disk)<<30, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(podsEach, resource.DecimalSI),
	}
}

// price is what an hour costs; where nobody says, something that grows with the machine, so that the smallest that fits is taken.
func price(t providers.MachineType) float64 {
	if t.PriceUSD > 0 {
		return t.PriceUSD
	}
	return 0.03*float64(t.CPUs)/1000 + 0.004*float64(t.MemoryMiB)/1024
}

func capacityType(spot bool) string {
	if spot {
		return karpv1.CapacityTypeSpot
	}
	return karpv1.CapacityTypeOnDemand
}

func in(key string, values ...string) *scheduling.Requirement {
	return scheduling.NewRequirement(key, corev1.NodeSelectorOpIn, values...)
}

// byPrice sorts what can be bought, the cheapest first.
func byPrice(as, bs priced) int {
	switch {
	case as.price < bs.price:
		return -1
	case as.price > bs.price:
		return 1
	}
	return strings.Compare(as.machine+"/"+as.zone, bs.machine+"/"+bs.zone)
}

// A priced offer is one with its price.
type priced struct {
	offer
	price float64
}
