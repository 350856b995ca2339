package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap/doctor"
	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/ui"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/metal"
	"github.com/provisionhq/provision/providers/metal/power"
	"github.com/provisionhq/provision/templates"
	"github.com/spf13/cobra"
)

// inventoryProblems are what is wrong with an inventory, each at its place.
func inventoryProblems(c *config.Cluster, e *metal.InventoryError) diag.Diagnostics {
	var ds diag.Diagnostics
	for _, p := range e.Problems {
		place, ok := c.Ranges["provider."+p.Path]
		for path := p.Path; !ok && strings.Contains(path, "."); {
			path = path[:strings.LastIndexByte(path, '.')]
			place, ok = c.Ranges["provider."+path]
		}
		words := sentence(p.What) + "."
		if !ok {
			place = c.Provider.Range
			if p.Where != "" {
				words = "In " + p.Where + ": " + words
			}
		}
		ds = append(ds, diag.Wrap(e, diag.BadValue, "%s", words).At(&place, `provider "`+c.Provider.Name+`"`))
	}
	return ds
}

// metalProvider opens the inventory that the file has.
func (a *app) metalProvider(file string) (*config.Cluster, *metal.Provider, error) {
	c, err := a.load(file)
	if err != nil {
		return nil, nil, err
	}
	if c.Provider.Name != "metal" {
		return nil, nil, diag.New(diag.KindID(string(providers.Unsupported)), "This is for hosts of an inventory. The file's provider is %q, which has none.", c.Provider.Name).
			At(&c.Provider.Range, `provider "`+c.Provider.Name+`"`)
	}
	p, err := metal.Open(c.Provider.Attributes)
	var inventory *metal.InventoryError
	if errors.As(err, &inventory) {
		return nil, nil, inventoryProblems(c, inventory)
	}
	return c, p, err
}

// hosts are those of the inventory that are machines of the cluster, or may become some: with the roles that are left to them.
// Hosts of other clusters are only examined if they would be needed.
func (a *app) hosts(ctx context.Context, s *session) ([]doctor.Host, func(), error) {
	p, err := metal.Open(s.cluster.Provider.Attributes)
	if err != nil {
		return nil, nil, err // a.provider has opened it before
	}
	done := func() { p.Close() }
	pools := append([]config.Pool{s.cluster.ControlPlane}, s.cluster.Pools...)
	var uses []metal.Use
	for _, pool := range pools {
		uses = append(uses, metal.Use{Pool: pool.Name, Type: pool.Machine})
	}
	all, err := p.Candidates(ctx, providers.Owner(s.cluster.Name), uses)
	if err != nil {
		done()
		return nil, nil, err
	}
	uid := s.state.UID()
	if uid == "" && slices.ContainsFunc(all, func(c metal.Candidate) bool { return c.Machine != "" }) {
		_, _ = s.engine.Ways(ctx) // a state that was lost is found again; what keeps it from that, the findings say
		uid = s.engine.UID()
	}
	spare := enough(all, pools)
	var hosts []doctor.Host
	for _, c := range all {
		if c.Taken != "" && spare {
			continue
		}
		h := doctor.Host{Name: cmp.Or(c.Machine, c.Host), Role: roleOf(c.Pools), Address: c.Address, UID: uid, Dial: c.Dial}
		hosts = append(hosts, h)
	}
	if len(hosts) == 0 {
		done()
		return nil, nil, diag.New(diag.BadValue, "No host of the inventory is of a type and role that the cluster asks for, so there is nothing to examine.").
			At(&s.cluster.Provider.Range, `provider "metal"`)
	}
	return hosts, done, nil
}

// roleOf is the role that all the pools have; empty if they differ.
func roleOf(pools []string) templates.Role {
	var workers, control bool
	for _, p := range pools {
		control = control || p == metal.ControlPlane
		workers = workers || p != metal.ControlPlane
	}
	switch {
	case control && !workers:
		return templates.ControlPlane
	case workers && !control:
		return templates.Worker
	}
	return ""
}

// enough says whether the hosts that no other cluster has are enough for each pool by itself, and for all together.
func enough(all []metal.Candidate, pools []config.Pool) bool {
	free := slices.DeleteFunc(slices.Clone(all), func(c metal.Candidate) bool { return c.Taken != "" })
	total := 0
	for _, p := range pools {
		total += p.Count
		n := 0
		for _, c := range free {
			if slices.Contains(c.Pools, p.Name) {
				n++
			}
		}
		if n < p.Count {
			return false
		}
	}
	return len(free) >= total
}

func (a *app) hostsCommand() *cobra.Command {
	c := &cobra.Command{Use: "hosts", Short: "Work on the inventory of provider metal"}
	keys := a.command("keys [FILE]", "Ask hosts for the keys that the inventory does not have yet", a.hostKeys)
	keys.Long = `Asks each host and bastion whose key the inventory does not have which key it shows, and prints the fingerprints. Compare them
with what the hosts themselves say (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub): a key that was shown proves nothing.

On a terminal it asks, and after a yes writes the keys into the inventory, if that is HCL; else it prints the lines to add.
Hosts behind a bastion are asked once the bastion's own key is known.`
	keys.Flags().BoolVar(&a.flags.json, "json", false, "write JSON to stdout, and no file")
	c.AddCommand(keys)
	return c
}

func (a *app) hostKeys(ctx context.Context, c *cobra.Command, file string, rest []string) error {
	if err := noArgs(c, rest); err != nil {
		return err
	}
	_, p, err := a.metalProvider(file)
	if err != nil {
		return err
	}
	defer p.Close()
	keys := p.FirstKeys(ctx)
	if a.flags.json {
		return a.printJSON(keyList(keys))
	}
	if len(keys) == 0 {
		_, err := fmt.Fprintln(a.out, "The inventory has a key for every host that can be asked.")
		return err
	}
	rows, silent := [][]string{}, 0
	for _, k := range keys {
		shown := k.Fingerprint
		if k.Err != nil {
			shown = k.Err.Error()
			silent++
		}
		rows = append(rows, []string{k.Host, k.Address, shown})
	}
	fmt.Fprint(a.out, ui.Table([]string{"HOST", "ADDRESS", "FINGERPRINT"}, rows, a.style(a.out)))
	if err := a.keepKeys(ctx, keys); err != nil {
		return err
	}
	if silent > 0 {
		return exitError(diag.ExitFailed)
	}
	return nil
}

// keepKeys writes keys into the inventory if a person says so, or prints the lines.
func (a *app) keepKeys(ctx context.Context, keys []metal.FirstKey) error {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k metal.FirstKey) bool { return k.Err != nil })
	if len(keys) == 0 {
		return nil
	}
	if _, terminal := size(a.in); terminal {
		ok, err := ui.Confirm(ctx, a.in, a.err, "Are these the hosts' own fingerprints? The keys will be written into the inventory.")
		if err != nil || !ok {
			return err
		}
		var left []metal.FirstKey
		for _, k := range keys {
			if err := keepKey(k); err != nil {
				fmt.Fprintf(a.err, "%s: %v\n", k.Host, err)
				left = append(left, k)
			}
		}
		if keys = left; len(keys) == 0 {
			return nil
		}
	}
	fmt.Fprintln(a.out, "\nIf these are the hosts' own fingerprints, add to the inventory:")
	for _, k := range keys {
		fmt.Fprintf(a.out, "  %s: host_key = %q\n", k.Host, k.Line)
	}
	return nil
}

// keepKey writes a key into the block of its host.
func keepKey(k metal.FirstKey) error {
	i := strings.LastIndexByte(k.Where, ':')
	if k.Path == "" || i < 0 {
		return errors.New("the inventory is not HCL")
	}
	block := config.BlockName{Type: "host", Label: k.Host}
	if k.Bastion {
		block.Type = "jump"
	}
	path := k.Where[:i]
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if src, err = config.SetText(src, block, "host_key", k.Line); err != nil {
		return err
	}
	return os.WriteFile(path, src, info.Mode().Perm())
}

// keyList is the keys as JSON has them.
func keyList(keys []metal.FirstKey) []map[string]string {
	list := []map[string]string{}
	for _, k := range keys {
		m := map[string]string{"host": k.Host, "address": k.Address, "where": k.Where}
		if k.Err != nil {
			m["error"] = k.Err.Error()
		} else {
			m["host_key"], m["fingerprint"] = k.Line, k.Fingerprint
		}
		list = append(list, m)
	}
	return list
}

// powerTime is how long a BMC may take.
const powerTime = 2 * time.Minute

func (a *app) powerCommand() *cobra.Command {
	c := a.command("power [FILE] NODE on|off|cycle|status|pxe|disk", "Switch a host on or off through its BMC", a.power)
	c.Long = `Switches a host of provider metal on or off, at once, without asking its operating system; it is named by its name in the
inventory or by that of the machine on it. status only asks. pxe and disk choose what the next boot, and only that, starts from.`
	return c
}

func (a *app) power(ctx context.Context, c *cobra.Command, file string, rest []string) error {
	file, rest = oneNode(file, rest)
	verbs := []string{"on", "off", "cycle", "status", "pxe", "disk"}
	if len(rest) != 2 || !slices.Contains(verbs, rest[1]) {
		return diag.New(diag.BadFlags, "power needs the name of a host or node, and one of %s.", diag.List(verbs)).Next("See what it takes:", c.CommandPath()+" --help")
	}
	cl, p, err := a.metalProvider(file)
	if err != nil {
		return err
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(ctx, powerTime)
	defer cancel()
	name, state := rest[0], power.State("")
	switch verb := rest[1]; verb {
	case "pxe", "disk":
		err = p.NextBoot(ctx, providers.Owner(cl.Name), name, power.Device(verb))
		state = power.State("boots from " + verb + " next time")
	case "status":
		state, err = p.Power(ctx, providers.Owner(cl.Name), name, "")
	default:
		state, err = p.Power(ctx, providers.Owner(cl.Name), name, power.Action(verb))
	}
	if err != nil {
		return diag.Wrap(err, diag.KindID(string(providers.KindOf(err))), "%s.", sentence(err.Error())).At(&cl.Provider.Range, `provider "metal"`)
	}
	_, err = fmt.Fprintf(a.out, "%s: %s\n", name, state)
	return err
}
