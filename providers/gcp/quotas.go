package gcp

import (
	"context"
	"slices"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

// limited compares the need with the quotas of the project and of the region. Which metric counts what is from memory of
// https://cloud.google.com/compute/resource-usage, not compared yet.
func (a *audit) limited(ctx context.Context) error {
	p := a.p
	project, err := get(ctx, p, func() (*computepb.Project, error) {
		return p.api.projects.Get(ctx, &computepb.GetProjectRequest{Project: p.o.Project})
	})
	if gone(err) {
		return fail(providers.NotFound, "there is no project %s, or you may not see it: %v", p.o.Project, err)
	}
	if is(err, "accessNotConfigured", "SERVICE_DISABLED") {
		return fail(providers.Denied, "project %s has not enabled Compute Engine (gcloud services enable compute.googleapis.com --project %s): %v", p.o.Project, p.o.Project, err)
	}
	if err := a.unseen("quotas of the project", err); err != nil {
		return err
	}
	region, err := get(ctx, p, func() (*computepb.Region, error) {
		return p.api.regions.Get(ctx, &computepb.GetRegionRequest{Project: p.o.Project, Region: p.o.Region})
	})
	if gone(err) {
		return providers.BadAttribute("region", "there is no region %s for project %s: %v", p.o.Region, p.o.Project, err)
	}
	if err := a.unseen("quotas of region "+p.o.Region, err); err != nil {
		return err
	}
	a.zoned(region)
	if err := a.typed(ctx); err != nil { // processors are counted by type
		return err
	}
	max := map[string]float64{}
	for _, q := range slices.Concat(project.GetQuotas(), region.GetQuotas()) {
		max[q.GetMetric()] = q.GetLimit()
	}
	need := a.taken(a.need, max)
	a.count(project.GetQuotas(), need, "")
	a.count(region.GetQuotas(), need, " in "+p.o.Region)
	return nil
}

// zoned adds the zones of networks that the region does not have.
func (a *audit) zoned(region *computepb.Region) {
	var there []string
	for _, z := range region.GetZones() {
		there = append(there, last(z))
	}
	for _, s := range a.need.Networks {
		zones := s.Zones
		if len(zones) == 0 {
			zones = a.p.o.Zones
		}
		for _, z := range zones {
			if len(there) > 0 && !slices.Contains(there, z) {
				a.problem(providers.Invalid, providers.NetworkNoun, s.Name, "zones", "region %s has no zone %s: it has %s", a.p.o.Region, z, strings.Join(there, ", "))
			}
		}
	}
}

// count adds the quotas that the need counts against to the report.
func (a *audit) count(quotas []*computepb.Quota, need map[string]float64, where string) {
	for _, q := range quotas {
		if m := q.GetMetric(); need[m] > 0 {
			l := providers.Limit{Name: m + where, Unit: unit(m), Max: q.GetLimit(), Used: q.GetUsage(), Need: need[m], Noun: nounOf(m)}
			a.add(func(r *providers.Report) { r.Limits = append(r.Limits, l) })
		}
	}
}

// taken is how much of each quota, by Google's name of it, the need takes. Which there are decides what a machine counts against.
func (a *audit) taken(n providers.Need, quotas map[string]float64) map[string]float64 {
	m := map[string]float64{}
	for _, s := range n.Networks {
		m["FIREWALLS"] += float64(2 + len(s.Allow))
		if a.p.o.Network == "" {
			m["NETWORKS"]++
			m["SUBNETWORKS"]++
		}
		if a.p.o.NAT == NATOne {
			m["ROUTERS"]++
		}
	}
	for _, s := range n.Machines {
		a.takenBy(m, s, quotas)
	}
	for _, s := range n.LoadBalancers {
		for _, metric := range []string{"FORWARDING_RULES", "BACKEND_SERVICES", "HEALTH_CHECKS"} {
			m[metric]++
		}
		m["FIREWALLS"] += 2
		if s.Internal {
			m["INTERNAL_ADDRESSES"]++
			continue
		}
		for _, metric := range []string{"STATIC_ADDRESSES", "IN_USE_ADDRESSES", "EXTERNAL_NETWORK_LB_FORWARDING_RULES"} {
			m[metric]++
		}
	}
	for _, s := range n.Volumes {
		m[diskMetric(s.Type)] += float64(s.SizeGiB)
	}
	return m
}

// takenBy adds what a machine takes.
func (a *audit) takenBy(m map[string]float64, s providers.MachineSpec, quotas map[string]float64) {
	m["INSTANCES"]++
	if a.p.o.Addresses == Public {
		m["IN_USE_ADDRESSES"]++
	}
	m[diskMetric(diskType(s.Type))] += float64(disk(s))
	cpus := a.cpus(s.Type)
	m["CPUS_ALL_REGIONS"] += cpus
	series, _, _ := strings.Cut(s.Type, "-")
	own := strings.ToUpper(series) + "_CPUS"
	_, has := quotas[own]
	switch {
	case s.Spot && quotas["PREEMPTIBLE_CPUS"] > 0: // 0: spot machines count as others do
		m["PREEMPTIBLE_CPUS"] += cpus
	case has && series != "e2":
		m[own] += cpus
	default: // E2, N1 and the shared ones count together
		m["CPUS"] += cpus
	}
}

// diskMetric is the quota that a disk counts against; empty is the type of volumes that do not say it.
func diskMetric(kind string) string {
	switch kind {
	case "", "pd-balanced", "pd-ssd":
		return "SSD_TOTAL_GB"
	case "hyperdisk-balanced":
		return "HDB_TOTAL_GB"
	}
	return "DISKS_TOTAL_GB"
}

// nounOf is the kind of objects that alone count against a quota.
func nounOf(metric string) providers.Noun {
	switch metric {
	case "NETWORKS", "SUBNETWORKS", "ROUTERS":
		return providers.NetworkNoun
	case "FORWARDING_RULES", "BACKEND_SERVICES", "HEALTH_CHECKS", "STATIC_ADDRESSES", "INTERNAL_ADDRESSES", "EXTERNAL_NETWORK_LB_FORWARDING_RULES":
		return providers.BalancerNoun
	case "IN_USE_ADDRESSES", "FIREWALLS", "SSD_TOTAL_GB", "DISKS_TOTAL_GB", "HDB_TOTAL_GB":
		return "" // of several
	}
	return providers.MachineNoun
}

// unit is what a quota counts.
func unit(metric string) string {
	switch {
	case strings.Contains(metric, "CPUS"):
		return "vCPU"
	case strings.HasSuffix(metric, "_GB"):
		return "GB"
	}
	return ""
}
