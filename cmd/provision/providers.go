package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/all"
	"github.com/provisionhq/provision/providers/metal"
	"github.com/provisionhq/provision/providers/remote/plugins"
	"github.com/spf13/cobra"
)

// provider opens the vendor that the file names: one that is built in, or a plug-in. It is closed when the command ends.
func (a *app) provider(ctx context.Context, c *config.Cluster) (providers.Provider, error) {
	var p providers.Provider
	var err error
	if ofOurs(c) {
		p, err = all.Open(c.Provider.Name, placed(c.Provider))
	} else {
		p, err = all.OpenPlugin(ctx, a.plugin(c.Provider))
	}
	if err != nil {
		return nil, a.notOpened(c, err)
	}
	a.opened = append(a.opened, p)
	return p, nil
}

// offline is what is known of the vendor's offer without asking the vendor. A plug-in is started, and asked for nothing but what it is like.
func (a *app) offline(ctx context.Context, c *config.Cluster) (engine.Offer, error) {
	if ofOurs(c) {
		o, err := all.Offline(ctx, c.Provider.Name, placed(c.Provider))
		if err != nil {
			return engine.Offer{}, a.notOpened(c, err)
		}
		return engine.Offer(o), nil
	}
	p, err := a.provider(ctx, c)
	if err != nil {
		return engine.Offer{}, err
	}
	return engine.Offer{Caps: p.Caps()}, nil
}

// ofOurs says whether the file's vendor is one of the program's own.
func ofOurs(c *config.Cluster) bool {
	return slices.ContainsFunc(all.Vendors(), func(v all.Vendor) bool { return v.Name == c.Provider.Name })
}

// notOpened says why a provider could not be opened, with the line of the file.
func (a *app) notOpened(c *config.Cluster, err error) error {
	in := fmt.Sprintf("provider %q", c.Provider.Name)
	var unknown *providers.UnknownAttributeError
	var coded diag.Coded
	var inventory *metal.InventoryError
	var bad *providers.AttributeError
	switch {
	case errors.As(err, &inventory):
		return inventoryProblems(c, inventory)
	case errors.As(err, &bad):
		return config.BadProviderAttribute(c, bad.Attribute, bad.Text)
	case errors.As(err, &unknown):
		return config.UnknownProviderAttribute(c, unknown.Attribute, unknown.Known)
	case errors.As(err, &coded):
		ds := diag.AsDiagnostics(err)
		for i := range ds {
			ds[i] = ds[i].At(&c.Provider.Range, in)
		}
		return ds
	case !ofOurs(c) && errors.Is(err, providers.NotFound):
		return a.unknownProvider(c)
	case providers.KindOf(err) == "":
		return err
	}
	d := diag.Wrap(err, diag.KindID(string(providers.KindOf(err))), "%s.", sentence(err.Error())).At(&c.Provider.Range, in)
	if d.ID == diag.PermissionMissing { // nothing was asked yet: there are no credentials
		d.ID = diag.VendorDenied
		d = d.Next("Log in with the vendor's own tool, or give the credentials where that has them, and run the same command again.")
	}
	if d.ID == diag.NotAccepted { // the vendor was not asked either
		d.ID = diag.BadValue
		d = d.Next("Mend the block, or what the vendor's own tools read in its place, and run the same command again.")
	}
	return d
}

// plugin is the provider's block as that of a plug-in.
func (a *app) plugin(p config.Provider) all.Plugin {
	return all.Plugin{
		Name: p.Name, Attributes: p.Attributes, Sensitive: p.Sensitive,
		Place: a.pluginPlace(), Environ: a.environ, Logs: a.xdg("XDG_CACHE_HOME", ".cache", "plugins"),
	}
}

// placed are the provider's attributes, with paths that start where the file is. What a file says is not changed: a saved plan
// holds a digest of it.
func placed(p config.Provider) map[string]any {
	as := maps.Clone(p.Attributes)
	for _, v := range all.Vendors() {
		for _, name := range v.Paths {
			if path, ok := p.Path(name); ok && v.Name == p.Name {
				as[name] = path
			}
		}
	}
	return as
}

// unknownProvider names those that there are, and where a plug-in would be found.
func (a *app) unknownProvider(c *config.Cluster) error {
	place := a.pluginPlace()
	var known []string
	for _, v := range all.Vendors() {
		known = append(known, v.Name)
	}
	for _, f := range place.List() {
		if !slices.Contains(known, f.Name) { // one that is built in comes first
			known = append(known, f.Name)
		}
	}
	d := config.UnknownProvider(c, known)
	if plugins.ValidName(c.Provider.Name) && d.Advice == "" {
		d = d.Next(fmt.Sprintf("A provider that is not built in is a program of the name %s%s in one of the folders %s.",
			plugins.Prefix, c.Provider.Name, strings.Join(place.Folders, ", ")))
	}
	return d
}

// close ends what the command has opened.
func (a *app) close() {
	for _, p := range a.opened {
		_ = all.Close(p)
	}
	a.opened = nil
}

// pluginPlace is where plug-ins are: in the folders of PROVISION_PLUGINS or, without it, beside this program and in the
// person's own folder for them.
func (a *app) pluginPlace() plugins.Place {
	p := plugins.Place{Trust: a.xdg("XDG_CONFIG_HOME", ".config", "plugins.json")}
	if v := a.getenv("PROVISION_PLUGINS"); v != "" {
		p.Folders = slices.DeleteFunc(filepath.SplitList(v), func(f string) bool { return f == "" })
		return p
	}
	p.Folders = []string{filepath.Dir(beside("x")), a.xdg("XDG_DATA_HOME", filepath.Join(".local", "share"), "plugins")}
	return p
}

// xdg is a path in this program's part of one of the person's folders.
func (a *app) xdg(variable, otherwise, name string) string {
	base := a.getenv(variable)
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			home = string(filepath.Separator)
		}
		base = filepath.Join(home, otherwise)
	}
	return filepath.Join(base, "provision", name)
}

// getenv is a variable of the command's environment.
func (a *app) getenv(name string) string {
	for _, e := range slices.Backward(a.environ) {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// vendorRow is a line of the verb providers.
type vendorRow struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
	Plugin  bool   `json:"plugin,omitempty"`
	Path    string `json:"path,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	Trusted bool   `json:"trusted,omitempty"`
}

func (a *app) providersCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "providers", Short: "List the vendors that a file may name", Args: cobra.NoArgs,
		Long: `List the vendors that a file may name: those that are built in, and the plug-ins that are found.

A plug-in is a program named provision-provider-NAME, beside this one or in ~/.local/share/provision/plugins; the variable
PROVISION_PLUGINS names other folders. It runs only if it is trusted: by its SHA-256 in the provider block, or by the verb
trust on this machine.`,
	}
	c.RunE = func(*cobra.Command, []string) error {
		rows := a.vendorRows()
		if a.flags.json {
			return a.printJSON(rows)
		}
		for _, r := range rows {
			fmt.Fprintf(a.out, "%-8s %s\n", r.Name, r.Summary)
		}
		return nil
	}
	c.Flags().BoolVar(&a.flags.json, "json", false, "write JSON")
	c.AddCommand(a.trustCommand(), a.forgetCommand())
	return c
}

// vendorRows lists what is built in, then the plug-ins.
func (a *app) vendorRows() (rows []vendorRow) {
	builtIn := map[string]bool{}
	for _, v := range all.Vendors() {
		builtIn[v.Name] = true
		rows = append(rows, vendorRow{Name: v.Name, Summary: v.Summary})
	}
	place := a.pluginPlace()
	for _, f := range place.List() {
		r := vendorRow{Name: f.Name, Plugin: true, Path: f.Path}
		sum, trusted, err := place.Trusted(f)
		r.SHA256, r.Trusted = sum, trusted
		word := "not trusted on this machine"
		switch {
		case builtIn[f.Name]:
			word = "never used, as the name is a built-in one's"
		case err != nil:
			word = err.Error()
		case trusted:
			word = "trusted"
		}
		r.Summary = fmt.Sprintf("plug-in, %s: %s", word, f.Path)
		rows = append(rows, r)
	}
	return rows
}

func (a *app) trustCommand() *cobra.Command {
	return &cobra.Command{
		Use: "trust NAME", Short: "Let a plug-in run: exactly the program that is there now", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			place := a.pluginPlace()
			f, err := place.Find(args[0])
			if err != nil {
				return diag.Wrap(err, diag.UnknownProvider, "There is no plug-in %q: no program %s in %s.", args[0], plugins.Prefix+args[0], strings.Join(place.Folders, ", ")).
					Next("See what there is:", "provision providers")
			}
			sum, err := place.TrustIt(f)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "Plug-in %s is trusted on this machine until it changes:\n  %s\n  SHA-256 %s\n", f.Name, f.Path, sum)
			return err
		},
	}
}

func (a *app) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "forget NAME", Short: "Take the trust in a plug-in away", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			had, err := a.pluginPlace().Forget(args[0])
			if err != nil {
				return err
			}
			if !had {
				return diag.New(diag.UnknownProvider, "No plug-in %q is trusted on this machine.", args[0]).Next("See what there is:", "provision providers")
			}
			_, err = fmt.Fprintf(a.out, "Plug-in %s is not trusted any more.\n", args[0])
			return err
		},
	}
}
