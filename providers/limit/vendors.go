package limit

import (
	"slices"

	"github.com/provisionhq/provision/providers"
)

// For returns the documented limits of the vendor of that Name, for one account in one region, as a new account has
// them; nil for a vendor that documents none. A call of a provider counts as one call of the API action that it is made
// of mostly; what else a vendor package calls on the way shows up as Throttled, and empties the bucket.
func For(vendor string) []Rate {
	switch vendor {
	case "aws":
		return slices.Concat(ec2(), elb())
	case "azure":
		return slices.Concat(resourceManager(), azureCompute())
	case "gcp", "gce":
		return googleCompute()
	}
	return nil
}

// Short names, so that the tables are tables.
const (
	network, machine, balancer, volume, snapshot = providers.NetworkNoun, providers.MachineNoun, providers.BalancerNoun, providers.VolumeNoun, providers.SnapshotNoun

	create, get, list, del, update = providers.CreateVerb, providers.GetVerb, providers.ListVerb, providers.DeleteVerb, providers.UpdateVerb
	types, attach, detach, resize  = providers.TypesVerb, providers.AttachVerb, providers.DetachVerb, providers.ResizeVerb
	check                          = providers.CheckVerb
)

func nouns(n ...providers.Noun) []providers.Noun { return n }
func verbs(v ...providers.Verb) []providers.Verb { return v }

// from notes where rates are documented, and when that was read.
func from(source, read string, rates ...Rate) []Rate {
	for i := range rates {
		rates[i].Source, rates[i].Read = source, read
	}
	return rates
}

// ec2 are the buckets of requests and, where an action has them, of resources. Each action has buckets of its own.
func ec2() []Rate {
	return from("https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html", "2026-11-23",
		Rate{Name: "RunInstances, requests", Nouns: nouns(machine), Verbs: verbs(create), PerSecond: 2, Burst: 5},
		Rate{Name: "RunInstances, resources", Nouns: nouns(machine), Verbs: verbs(create), PerSecond: 2, Burst: 1000},
		Rate{Name: "TerminateInstances, requests", Nouns: nouns(machine), Verbs: verbs(del), PerSecond: 5, Burst: 100},
		Rate{Name: "TerminateInstances, resources", Nouns: nouns(machine), Verbs: verbs(del), PerSecond: 20, Burst: 1000},
		Rate{Name: "DescribeInstances", Nouns: nouns(machine), Verbs: verbs(get, list), PerSecond: 20, Burst: 100},
		Rate{Name: "DescribeInstanceTypes", Nouns: nouns(machine), Verbs: verbs(types), PerSecond: 20, Burst: 100},
		Rate{Name: "CreateTags, DeleteTags", Nouns: nouns(machine, volume, snapshot), Verbs: verbs(update), PerSecond: 10, Burst: 100},
		Rate{Name: "AuthorizeSecurityGroupIngress", Nouns: nouns(network), Verbs: verbs(create, update), PerSecond: 5, Burst: 50},
		Rate{Name: "DeleteVpc", Nouns: nouns(network), Verbs: verbs(del), PerSecond: 5, Burst: 50},
		Rate{Name: "DescribeVpcs", Nouns: nouns(network), Verbs: verbs(get, list), PerSecond: 20, Burst: 100},
		Rate{Name: "CreateVolume", Nouns: nouns(volume), Verbs: verbs(create), PerSecond: 5, Burst: 100},
		Rate{Name: "DeleteVolume", Nouns: nouns(volume), Verbs: verbs(del), PerSecond: 5, Burst: 100},
		Rate{Name: "AttachVolume", Nouns: nouns(volume), Verbs: verbs(attach), PerSecond: 5, Burst: 50},
		Rate{Name: "DetachVolume", Nouns: nouns(volume), Verbs: verbs(detach), PerSecond: 5, Burst: 50},
		Rate{Name: "ModifyVolume", Nouns: nouns(volume), Verbs: verbs(resize), PerSecond: 5, Burst: 50},
		Rate{Name: "DescribeVolumes", Nouns: nouns(volume), Verbs: verbs(get, list), PerSecond: 20, Burst: 100},
		Rate{Name: "CreateSnapshot", Nouns: nouns(snapshot), Verbs: verbs(create), PerSecond: 5, Burst: 100},
		Rate{Name: "DeleteSnapshot", Nouns: nouns(snapshot), Verbs: verbs(del), PerSecond: 5, Burst: 100},
		Rate{Name: "DescribeSnapshots", Nouns: nouns(snapshot), Verbs: verbs(get, list), PerSecond: 20, Burst: 100},
	)
}

// elb are the buckets of version 2 of the API, whose actions share them by category, and one that all share.
func elb() []Rate {
	return from("https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-api-throttling.html", "2026-11-23",
		Rate{Name: "Elastic Load Balancing, all actions", Nouns: nouns(balancer), PerSecond: 10, Burst: 40},
		Rate{Name: "CreateLoadBalancer", Nouns: nouns(balancer), Verbs: verbs(create), PerSecond: 0.2, Burst: 10},
		Rate{Name: "RegisterTargets, DeregisterTargets", Nouns: nouns(balancer), Verbs: verbs(create, update), PerSecond: 4, Burst: 20},
		Rate{Name: "Elastic Load Balancing, mutating", Nouns: nouns(balancer), Verbs: verbs(create, update, del), PerSecond: 3, Burst: 20},
		Rate{Name: "Elastic Load Balancing, non-mutating", Nouns: nouns(balancer), Verbs: verbs(get, list), PerSecond: 10, Burst: 40},
	)
}

// resourceManager are the buckets of a subscription in a region, for one service principal.
func resourceManager() []Rate {
	return from("https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling", "2026-11-23",
		Rate{Name: "Azure Resource Manager, subscription reads", Verbs: verbs(get, list, types, check), PerSecond: 25, Burst: 250},
		Rate{Name: "Azure Resource Manager, subscription writes", Verbs: verbs(create, update, attach, detach, resize), PerSecond: 10, Burst: 200},
		Rate{Name: "Azure Resource Manager, subscription deletes", Verbs: verbs(del), PerSecond: 10, Burst: 200},
	)
}

// azureCompute are the buckets of a subscription in a region, which are documented by the minute.
func azureCompute() []Rate {
	return from("https://learn.microsoft.com/azure/virtual-machines/compute-throttling-limits", "2026-11-23",
		Rate{Name: "Put VM", Nouns: nouns(machine), Verbs: verbs(create), PerSecond: 500. / 60, Burst: 1500},
		Rate{Name: "Update VM", Nouns: nouns(machine), Verbs: verbs(update), PerSecond: 500. / 60, Burst: 1500},
		Rate{Name: "Delete VM", Nouns: nouns(machine), Verbs: verbs(del), PerSecond: 500. / 60, Burst: 1500},
		Rate{Name: "Low Cost Get VM", Nouns: nouns(machine), Verbs: verbs(get), PerSecond: 8000. / 60, Burst: 24000},
		Rate{Name: "High Cost Get VM", Nouns: nouns(machine), Verbs: verbs(list), PerSecond: 300. / 60, Burst: 900},
	)
}

// googleCompute are rates of a project, which are documented as 1,500 in each minute of the clock: a bucket that never
// gives more than that in any minute holds 100 and gets 1,400 in a minute.
func googleCompute() []Rate {
	return from("https://cloud.google.com/compute/docs/api-rate-limits", "2026-11-23",
		Rate{Name: "Queries per minute", Verbs: verbs(create, update, del, attach, detach, resize), PerSecond: 1400. / 60, Burst: 100},
		Rate{Name: "Read requests per minute", Verbs: verbs(get, list, types, check), PerSecond: 1400. / 60, Burst: 100},
	)
}
