package metal

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/provisionhq/provision/providers"
)

// A sight is what one host said when it was looked at, or why it said nothing.
type sight struct {
	host *Host
	err  error // then the rest is empty

	arch, hostname, machine, os, init string
	keys                              []string // of its SSH server
	root                              bool
	selinux                           string // "1": enforcing, "0": permissive, "": none
	cpus, memoryMiB, diskGiB, freeGiB int
	freeKiB                           int
	reached                           netip.Addr // where SSH arrived
	refuse                            []string   // why it cannot become a node
	claim                             *claim
	networks                          []network
	entries                           []claim
	released                          []providers.ID
}

// look looks at every host at once, at most Options.Width at a time. Hosts that are gone are left out.
func (p *Provider) look(ctx context.Context) (*view, error) {
	v := &view{p: p, sights: make([]*sight, len(p.o.Hosts))}
	var g errgroup.Group
	g.SetLimit(p.o.Width)
	for i := range p.o.Hosts {
		h := &p.o.Hosts[i]
		if h.Gone {
			v.sights[i] = &sight{host: h, err: errGone}
			continue
		}
		g.Go(func() error {
			v.sights[i] = p.lookAt(ctx, h)
			return nil
		})
	}
	g.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v.twins()
	return v, nil
}

var errGone = errors.New("the inventory says that it is gone")

func (p *Provider) lookAt(ctx context.Context, h *Host) *sight {
	s := &sight{host: h}
	var out, reached string
	var g errgroup.Group
	g.Go(func() (err error) { out, err = p.run(ctx, h, "look"); return err })
	g.Go(func() (err error) { reached, err = p.reached(ctx, h); return err })
	if s.err = g.Wait(); s.err != nil {
		return s
	}
	s.reached, _ = netip.ParseAddr(reached)
	if err := s.read(out); err != nil {
		s.err = fail(providers.Unavailable, "host %s: %w", h.Name, err)
	}
	return s
}

// read reads what look of host.sh wrote.
func (s *sight) read(out string) error {
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), "=")
		if !ok {
			continue // what a login shell says of its own
		}
		if err := s.set(key, strings.TrimSpace(value)); err != nil {
			return fmt.Errorf("it says %s: %w", key, err)
		}
	}
	if s.arch == "" || s.memoryMiB == 0 {
		return errors.New("what it says of itself is cut short")
	}
	return lines.Err()
}

func (s *sight) set(key, value string) (err error) {
	switch key {
	case "uid":
		s.root = value == "0"
	case "uname":
		s.hostname, s.arch, _ = strings.Cut(value, " ")
		s.arch = strings.NewReplacer("x86_64", "amd64", "aarch64", "arm64").Replace(s.arch)
	case "machine":
		s.machine = value
	case "key":
		if f := strings.Fields(value); len(f) > 1 {
			s.keys = append(s.keys, f[0]+" "+f[1])
		}
	case "os":
		s.os = value
	case "init":
		s.init = value
	case "selinux":
		s.selinux = value
	case "refuse":
		s.refuse = append(s.refuse, value)
	case "released":
		s.released = append(s.released, providers.ID(value))
	default:
		return s.parse(key, value)
	}
	return nil
}

func (s *sight) parse(key, value string) (err error) {
	switch key {
	case "cpus":
		s.cpus, err = strconv.Atoi(value)
	case "memory":
		s.memoryMiB, err = strconv.Atoi(value)
		s.memoryMiB >>= 10
	case "disk":
		total, free, _ := strings.Cut(value, " ")
		s.diskGiB, err = strconv.Atoi(total)
		s.freeKiB, _ = strconv.Atoi(free)
		s.diskGiB, s.freeGiB = s.diskGiB>>20, s.freeKiB>>20
	case "claim":
		s.claim = new(claim)
		err = json.Unmarshal([]byte(value), s.claim)
	case "entry":
		var e claim
		err = json.Unmarshal([]byte(value), &e)
		s.entries = append(s.entries, e)
	case "network":
		var n network
		err = json.Unmarshal([]byte(value), &n)
		s.networks = append(s.networks, n)
	}
	return err
}

// What host.sh says of a root that nothing can be written to, and how much must be free for a ledger, which is a few KiB.
const (
	readOnlyRoot  = "its root is read-only"
	ledgerFreeKiB = 1 << 10
)

// writable says whether the host answers and can be written to.
func (s *sight) writable() bool {
	return s.err == nil && !slices.Contains(s.refuse, readOnlyRoot) && s.freeKiB >= ledgerFreeKiB
}

// private is the address by which nodes reach the host.
func (s *sight) private() netip.Addr {
	if s.host.Private.IsValid() {
		return s.host.Private
	}
	return s.reached.Unmap()
}

// ssh is where the host's SSH server is for whoever goes the way that the inventory says.
func (s *sight) ssh() netip.AddrPort {
	if a, err := netip.ParseAddr(s.host.Address); err == nil {
		return netip.AddrPortFrom(a.Unmap(), uint16(s.host.port()))
	}
	if s.host.Jump == nil {
		ctx, cancel := context.WithTimeout(context.Background(), resolving)
		defer cancel()
		if all := lookUp(ctx, s.host.Address); len(all) > 0 {
			return netip.AddrPortFrom(all[0], uint16(s.host.port()))
		}
	}
	return netip.AddrPortFrom(s.reached.Unmap(), uint16(s.host.port()))
}

// A view is what all hosts said at one time.
type view struct {
	p      *Provider
	sights []*sight // in the inventory's order
}

// of returns what the host of that name said; nil if the inventory has none.
func (v *view) of(name string) *sight {
	for _, s := range v.sights {
		if s.host.Name == name {
			return s
		}
	}
	return nil
}

// silent are the hosts that did not answer and are not known to be gone.
func (v *view) silent() []*sight {
	return slices.DeleteFunc(slices.Clone(v.sights), func(s *sight) bool { return s.err == nil || s.host.Gone })
}

// twins refuses hosts that are the same machine under two names: SSH server and operating system say so.
func (v *view) twins() {
	first := map[string]*sight{}
	for _, s := range v.sights {
		if s.err != nil || len(s.keys) == 0 || s.machine == "" {
			continue
		}
		keys := slices.Sorted(slices.Values(s.keys))
		id := s.machine + " " + strings.Join(keys, " ")
		f := first[id]
		if f == nil {
			first[id] = s
			continue
		}
		words := fmt.Sprintf("hosts %s and %s are the same machine, or one is a copy of the other: they have the same host key and machine ID", f.host.Name, s.host.Name)
		f.refuse, s.refuse = append(f.refuse, words), append(s.refuse, words)
	}
}

// claims returns the owner's claims by ID, each once, those of hosts that are gone or do not answer by the ledger's word.
// With an empty owner it returns everybody's.
func (v *view) claims(o providers.Owner) map[providers.ID]sighted {
	dead := map[providers.ID]bool{}
	for _, s := range v.sights {
		for _, id := range s.released {
			dead[id] = true
		}
	}
	all := map[providers.ID]sighted{}
	for _, e := range v.entries(o) {
		if at := v.of(e.Host); !dead[e.ID] && (at == nil || at.err != nil) {
			all[e.ID] = sighted{claim: e, host: e.Host, at: at}
		}
	}
	for _, s := range v.sights {
		c := s.claim
		if c == nil || o != "" && c.Owner != o || dead[c.ID] {
			continue
		}
		if before, twice := all[c.ID]; !twice || before.at == nil || before.at.err != nil || c.Host == s.host.Name {
			all[c.ID] = sighted{claim: c, host: s.host.Name, at: s, here: true}
		}
	}
	return all
}

// entries returns what the ledgers of the owner say of its machines, by the word of those who are their keepers now; with an
// empty owner, of everybody's.
func (v *view) entries(o providers.Owner) []*claim {
	var all []*claim
	for _, n := range v.networksOf(o) {
		for _, s := range v.sights {
			if !slices.Contains(n.Keepers, s.host.Name) {
				continue
			}
			for i := range s.entries {
				if e := &s.entries[i]; e.Network == n.ID {
					all = append(all, e)
				}
			}
		}
	}
	return all
}

// has says whether the host has that very version of a network's record.
func (s *sight) has(n network) bool {
	return slices.ContainsFunc(s.networks, func(o network) bool { return o.ID == n.ID && o.Version == n.Version })
}

// A sighted is a claim and where it was found.
type sighted struct {
	*claim
	host string // name of the host that it is on, or was when it last answered
	at   *sight // what that host says; nil if the inventory has no such host
	here bool   // the host itself showed it
}

// lost says whether the machine counts as deleted: the inventory says that its host is gone for good.
func (c sighted) lost() bool { return !c.here && c.at != nil && c.at.host.Gone }

// find returns the claim of that owner and name; nil if there is none. Of several, which only hosts that do not answer can
// bring about, a complete one comes first.
func (v *view) find(k providers.Key) *sighted {
	var found []sighted
	for _, c := range v.claims(k.Owner) {
		if c.Name == k.Name {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		return nil
	}
	rank := func(c sighted) int {
		n := 0
		if !c.here {
			n += 2
		}
		if !c.Complete {
			n++
		}
		return n
	}
	slices.SortFunc(found, func(a, b sighted) int { return cmp.Or(rank(a)-rank(b), cmp.Compare(a.ID, b.ID)) })
	return &found[0]
}

// known returns an error if hosts do not answer and those that do cannot tell for sure what of the owner is on them: for that,
// most keepers of each of its networks have to answer, not counting those that are gone for good.
func (v *view) known(o providers.Owner) error {
	silent := v.silent()
	if len(silent) == 0 {
		return nil
	}
	networks := v.networksOf(o)
	sure := len(networks) > 0
	for _, n := range networks {
		answer, all := 0, 0
		for _, name := range n.Keepers {
			s := v.of(name)
			if s == nil || s.host.Gone {
				continue
			}
			all++
			if s.err == nil {
				answer++
			}
		}
		sure = sure && 2*answer > all
	}
	if sure {
		return nil
	}
	var errs []error
	for _, s := range silent {
		errs = append(errs, s.err)
	}
	err := distinct(errs)
	kind := providers.KindOf(err)
	if kind == "" {
		kind = kindOf(silent[0].err)
	}
	return fail(kind, "whether anything of %s is on %d of %d hosts cannot be seen: %w (mend it, take it out of the inventory, or write gone = true in its block)",
		o, len(silent), len(v.sights), err)
}
