package metal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// The least that a host of any type has.
const (
	leastMemoryMiB = 400
	leastDiskGiB   = 2
)

// sighted looks at all hosts. What somebody has to mend before anything else, a host key that is not the known one above
// all, is an error here, whichever host it is about.
func (p *Provider) sighted(ctx context.Context) (*view, error) {
	v, err := p.scans.fresh(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, s := range v.sights {
		switch {
		case s.host.Gone:
		case s.err != nil && (answered(s.err) || providers.KindOf(s.err) == providers.Invalid || providers.KindOf(s.err) == providers.Denied):
			errs = append(errs, kinded(s.err))
		case s.err == nil && !s.root:
			errs = append(errs, fail(providers.Denied, "host %s: commands do not run as root", s.host.Name))
		}
	}
	return v, distinct(errs)
}

// distinct joins errors, each once: what is wrong with a bastion is wrong with all hosts behind it.
func distinct(errs []error) error {
	var once []error
	for _, err := range errs {
		if !slices.ContainsFunc(once, func(e error) bool { return e.Error() == err.Error() }) {
			once = append(once, err)
		}
	}
	if len(once) == 0 {
		return nil
	}
	return several(once)
}

// several are errors in one line.
type several []error

func (s several) Error() string {
	var all []string
	for _, err := range s {
		all = append(all, err.Error())
	}
	return strings.Join(all, "; ")
}

func (s several) Unwrap() []error { return s }

// choose returns a free host that fits, which nobody else of this process takes meanwhile. Capacity, with the reason for
// each host, if there is none.
func (m machines) choose(v *view, n network, spec providers.MachineSpec) (*sight, func(), error) {
	t := m.p.types()[slices.IndexFunc(m.p.types(), func(t Type) bool { return t.Name == spec.Type })]
	entered := v.entry(spec.Key())
	var could []*sight
	var why []string
	for _, s := range v.sights {
		reason := m.unfit(v, s, n, t, spec)
		if reason == nil {
			could = append(could, s)
			continue
		}
		why = append(why, fmt.Sprintf("%s: %v", s.host.Name, reason))
	}
	// A host that is for the pool alone comes before one that others may need, and the one that was chosen before is kept.
	slices.SortStableFunc(could, func(a, b *sight) int { return rank(a, spec, entered) - rank(b, spec, entered) })
	if s, giveBack := m.p.held.take(could); s != nil {
		return s, giveBack, nil
	}
	for _, s := range could {
		why = append(why, s.host.Name+": it is being claimed")
	}
	return nil, nil, fail(providers.Capacity, "no free host fits type %s%s (%s)", spec.Type, in(spec.Zone), strings.Join(why, "; "))
}

func in(zone string) string {
	if zone == "" {
		return ""
	}
	return " in zone " + zone
}

func rank(s *sight, spec providers.MachineSpec, entered *claim) int {
	switch {
	case entered != nil && entered.Host == s.host.Name:
		return 0
	case s.host.Role == spec.Pool && spec.Pool != "":
		return 1
	case s.host.Role != "":
		return 2
	}
	return 3
}

// unfit returns why a host cannot become the machine; nil if it can.
func (m machines) unfit(v *view, s *sight, n network, t Type, spec providers.MachineSpec) error {
	h := s.host
	switch {
	case h.Gone:
		return errGone
	case h.Reserve:
		return errors.New("it is held in reserve")
	case spec.Zone != "" && h.Zone != spec.Zone:
		return fmt.Errorf("its zone is %q", h.Zone)
	case spec.User != "" && h.user() != spec.User:
		return fmt.Errorf("who logs in is %s, not %s", h.user(), spec.User)
	}
	for _, err := range []error{h.serves(spec.Pool), h.fits(t, m.p.declared(t.Name)), s.err} {
		if err != nil {
			return err
		}
	}
	if c := s.claim; c != nil && !v.dead(c.ID) {
		return fmt.Errorf("it is machine %s of %s", c.Name, c.Owner)
	}
	if len(s.refuse) > 0 && s.claim == nil {
		return errors.New(strings.Join(s.refuse, ", "))
	}
	return small(s, n, t, spec)
}

// small returns what a host has too little of.
func small(s *sight, n network, t Type, spec providers.MachineSpec) error {
	least := max(t.DiskGiB, spec.DiskGiB, leastDiskGiB)
	switch {
	case t.Arch != "" && s.arch != t.Arch:
		return fmt.Errorf("its architecture is %s, not %s", s.arch, t.Arch)
	case s.cpus < t.CPUs:
		return fmt.Errorf("it has %d processors, %d are needed", s.cpus, t.CPUs)
	case s.memoryMiB < max(t.MemoryMiB-t.MemoryMiB/16, leastMemoryMiB): // firmware takes its part of what was sold
		return fmt.Errorf("it has %d MiB of memory, %d are needed", s.memoryMiB, max(t.MemoryMiB, leastMemoryMiB))
	case s.freeGiB < least:
		return fmt.Errorf("its disk has %d GiB free, %d are needed", s.freeGiB, least)
	case !n.CIDR.Contains(s.private()):
		return fmt.Errorf("its address %s is not in the network's %s", s.private(), n.CIDR)
	}
	return nil
}

// dead says whether a machine was deleted while its host did not answer.
func (v *view) dead(id providers.ID) bool {
	return slices.ContainsFunc(v.sights, func(s *sight) bool { return slices.Contains(s.released, id) })
}
