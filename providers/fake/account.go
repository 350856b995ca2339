package fake

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// An Account is who the vendor says that one is, and what stands in the way of plans. Beside what is here, the limits of
// Options.Quota are told, and zones that there are not.
type Account struct {
	Identity string   `json:"identity,omitempty"`
	Place    string   `json:"place,omitempty"`
	Missing  []string `json:"missing,omitempty"` // permissions, whatever is needed
	Unseen   []string `json:"unseen,omitempty"`
	// CPUs is how many processors all machines may have; nil: as many as one likes.
	CPUs *float64 `json:"cpus,omitempty"`
	// Problems are told of the objects that are needed: those of the noun and name, or of the noun if there is no name.
	Problems []providers.Problem `json:"problems,omitempty"`
}

// validate refuses an account that no plan could meet.
func (a *Account) validate() error {
	if a == nil {
		return nil
	}
	if a.CPUs != nil && *a.CPUs < 0 {
		return fmt.Errorf("account: %v processors", *a.CPUs)
	}
	for i, p := range a.Problems {
		if !slices.Contains(providers.Kinds(), p.Kind) || !slices.Contains(providers.Nouns(), p.Noun) || p.Text == "" {
			return fmt.Errorf("account: problem %d is of kind %q with a %q: %q", i, p.Kind, p.Noun, p.Text)
		}
	}
	return nil
}

// Account returns the account that the options have; NoAccount if they have none.
func (f *Fake) Account() providers.Account {
	if f.options.Account == nil {
		return providers.NoAccount{}
	}
	return account{f, *f.options.Account}
}

type account struct {
	fake *Fake
	Account
}

// Check holds what is needed against what is planted in the options, and against what is there.
func (a account) Check(ctx context.Context, n providers.Need) (r providers.Report, err error) {
	c := providers.Call{Noun: providers.AccountNoun, Verb: providers.CheckVerb, Owner: n.Owner}
	err = a.fake.call(ctx, c, 1, func() (bool, error) {
		return false, a.fake.store.read(ctx, func(s *state) error {
			r = a.report(s, n)
			return nil
		})
	})
	if err != nil {
		return providers.Report{}, err
	}
	return r, nil
}

func (a account) report(s *state, n providers.Need) providers.Report {
	r := providers.Report{Identity: a.Identity, Place: a.Place, Unseen: slices.Clone(a.Unseen)}
	needed := namesOf(n)
	if len(needed) == 0 {
		return r
	}
	r.Missing = slices.Sorted(slices.Values(a.Missing))
	r.Limits = a.limits(s, n, needed)
	for _, p := range a.Problems {
		names := needed[p.Noun]
		if len(names) > 0 && p.Name == "" || slices.Contains(names, p.Name) {
			r.Problems = append(r.Problems, p)
		}
	}
	for _, m := range n.Machines {
		if m.Zone != "" && !slices.Contains(zones(), m.Zone) {
			r.Problems = append(r.Problems, providers.Problem{
				Kind: providers.Invalid, Noun: providers.MachineNoun, Name: m.Name, Field: "zone",
				Text: fmt.Sprintf("there is no zone %q; there are %v", m.Zone, zones()),
			})
		}
	}
	return r
}

// namesOf are the names of what is needed, by kind.
func namesOf(n providers.Need) map[providers.Noun][]string {
	by := map[providers.Noun][]string{}
	add := func(noun providers.Noun, k providers.Key) { by[noun] = append(by[noun], k.Name) }
	for _, s := range n.Networks {
		add(providers.NetworkNoun, s.Key())
	}
	for _, s := range n.Machines {
		add(providers.MachineNoun, s.Key())
	}
	for _, s := range n.LoadBalancers {
		add(providers.BalancerNoun, s.Key())
	}
	for _, s := range n.Volumes {
		add(providers.VolumeNoun, s.Key())
	}
	return by
}

// limits are those that the need counts against, by name.
func (a account) limits(s *state, n providers.Need, needed map[providers.Noun][]string) (ls []providers.Limit) {
	if a.CPUs != nil && len(n.Machines) > 0 {
		l := providers.Limit{Name: "CPUs", Unit: "vCPU", Max: *a.CPUs, Noun: providers.MachineNoun}
		for _, m := range s.machines.rows {
			l.Used += cpus(m.Object.Type)
		}
		for _, m := range n.Machines {
			l.Need += cpus(m.Type)
		}
		ls = append(ls, l)
	}
	there := map[providers.Noun]int{
		providers.NetworkNoun: len(s.networks.rows), providers.MachineNoun: len(s.machines.rows),
		providers.BalancerNoun: len(s.balancers.rows), providers.VolumeNoun: len(s.volumes.rows),
	}
	for _, noun := range providers.Nouns() {
		limit, has := a.fake.options.Quota[noun]
		if need := len(needed[noun]); has && need > 0 {
			ls = append(ls, providers.Limit{Name: string(noun) + "s", Max: float64(limit), Used: float64(there[noun]), Need: float64(need), Noun: noun})
		}
	}
	slices.SortFunc(ls, func(a, b providers.Limit) int { return strings.Compare(a.Name, b.Name) })
	return ls
}

// cpus are the processors of a machine of that type.
func cpus(name string) float64 {
	for _, t := range machineTypes() {
		if t.Name == name {
			return float64(t.CPUs) / 1000
		}
	}
	return 0
}
