package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/providers"
	"github.com/spf13/cobra"
)

// A rehearsal is a cluster at its vendor in a box: the program cloud-box serves the vendor's API on this host, with real machines behind it.
// The cluster has a state of its own, and no credentials of the vendor's are read.
type rehearsal struct {
	program string // cloud-box
	folder  string // of the box and the state
	fresh   bool   // this command started the box
}

// rehearsals is the folder that they are kept in, beside the states of clusters.
const rehearsals = ".rehearsals"

// rehearseFlag gives a verb the flag.
func (a *app) rehearseFlag(c *cobra.Command) {
	c.Flags().BoolVar(&a.flags.rehearse, "rehearse", false, "work on a rehearsal of the cluster: its vendor in a box on this host, and no account (docs/rehearse.md)")
}

// rehearsed are the vendors that there are boxes of, and what the names of their variables begin with.
func rehearsed() map[string][]string {
	return map[string][]string{"aws": {"AWS_"}, "azure": {"AZURE_", "ARM_"}, "gcp": {"GOOGLE_", "CLOUDSDK_"}}
}

func (r *rehearsal) box() string   { return filepath.Join(r.folder, "box") }
func (r *rehearsal) state() string { return filepath.Join(r.folder, "state") }

// seen is where it is kept what was seen of the state: apart from what is remembered of the cluster itself, which has the same name.
func (r *rehearsal) seen() string { return filepath.Join(r.folder, "seen") }

// rehearse makes the command one on the rehearsal of the cluster: from here on its vendor is the box. Verbs that make something start a
// box if none serves.
func (a *app) rehearse(ctx context.Context, c *config.Cluster) error {
	if err := a.mayRehearse(c); err != nil {
		return err
	}
	a.rehearsal = &rehearsal{program: beside("cloud-box"), folder: a.xdg("XDG_STATE_HOME", filepath.Join(".local", "state"), filepath.Join(rehearsals, c.Provider.Name, c.Name))}
	r := a.rehearsal
	environment, err := r.serving(ctx)
	if err == nil && environment == nil {
		if verb := a.verb.Name(); verb != "apply" && verb != "plan" {
			return diag.New(diag.Rehearsal, "No rehearsal of the cluster %q is under way.", c.Name).Next("Begin one:", "provision apply --rehearse")
		}
		environment, err = r.begin(ctx, c.Provider.Name)
	}
	if err != nil {
		return diag.Wrap(err, diag.Rehearsal, "The box of %s cannot be used: %s. Nothing was changed.", c.Provider.Name, strings.TrimSpace(err.Error()))
	}
	if r.fresh {
		fmt.Fprintf(a.err, "Rehearsal: provider %s in a box on this host. Nothing is asked of the vendor itself.\n", c.Provider.Name)
	}
	a.become(rehearsed()[c.Provider.Name], environment)
	a.flags.state.dir = r.state()
	// Keys and passphrases of the cluster's own state are not asked for.
	c.State = config.State{}
	for _, name := range []string{"profile", "endpoint", "project", "subscription", "tenant"} { // they lead to the vendor, or say whose it is
		delete(c.Provider.Attributes, name)
	}
	return nil
}

// mayRehearse refuses what is not for rehearsals.
func (a *app) mayRehearse(c *config.Cluster) error {
	if _, ok := rehearsed()[c.Provider.Name]; !ok {
		return diag.New(diag.Rehearsal, "There is no box of provider %q: it is for vendors whose machines cost money. Nothing was changed.", c.Provider.Name).At(&c.Provider.Range, fmt.Sprintf("provider %q", c.Provider.Name))
	}
	for _, name := range []string{"state", "state-dir", "out"} {
		if f := a.verb.Flags().Lookup(name); f != nil && f.Changed {
			return diag.New(diag.BadFlags, "--rehearse and --%s do not go together: a rehearsal has a state of its own, and its plans are nobody else's. Nothing was changed.", name)
		}
	}
	return nil
}

// become puts the box's variables in place of all of the vendor's.
func (a *app) become(prefixes []string, environment map[string]string) {
	foreign := func(e string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(e, p) })
	}
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); foreign(e) {
			os.Unsetenv(name)
		}
	}
	a.environ = slices.DeleteFunc(slices.Clone(a.environ), foreign)
	for k, v := range environment {
		os.Setenv(k, v)
		a.environ = append(a.environ, k+"="+v)
	}
}

// A box is what cloud-box says of itself.
type box struct {
	Environment map[string]string `json:"environment"`
}

// serving returns the variables of the box that serves; nil if none does.
func (r *rehearsal) serving(ctx context.Context) (map[string]string, error) {
	if _, err := os.Stat(r.program); err != nil {
		return nil, fmt.Errorf("there is no program cloud-box beside this one: %w", err)
	}
	out, err := r.ask(ctx, "status")
	if err != nil || len(out) == 0 {
		return nil, err
	}
	return read(out)
}

func read(line []byte) (map[string]string, error) {
	var b box
	if err := json.Unmarshal(line, &b); err != nil || len(b.Environment) == 0 {
		return nil, fmt.Errorf("it says %q", line)
	}
	return b.Environment, nil
}

// ask runs a verb of the box's on its folder.
func (r *rehearsal) ask(ctx context.Context, verb string) ([]byte, error) {
	c := exec.CommandContext(ctx, r.program, verb, "--folder", r.box())
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err != nil && said.Len() > 0 {
		err = errors.New(strings.TrimPrefix(strings.TrimSpace(said.String()), "cloud-box: "))
	}
	return bytes.TrimSpace(out), err
}

// begin starts a box, which outlives this command. What there was of an earlier one is gone, so its state goes too.
func (r *rehearsal) begin(ctx context.Context, vendor string) (map[string]string, error) {
	if err := errors.Join(os.RemoveAll(r.state()), os.RemoveAll(r.seen()), os.MkdirAll(r.box(), 0o700)); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(r.folder, "box.log"), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c := exec.Command(r.program, vendor, "--folder", r.box())
	c.Stderr, c.SysProcAttr = log, detached()
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Process.Signal(os.Interrupt) })()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		_ = c.Wait()
		said, _ := os.ReadFile(log.Name())
		return nil, errors.Join(ctx.Err(), errors.New(strings.TrimPrefix(strings.TrimSpace(string(said)), "cloud-box: ")))
	}
	r.fresh = true
	return read(bytes.TrimSpace(line))
}

// endRehearsal ends the box if it has nothing of the cluster any more.
func (a *app) endRehearsal(ctx context.Context) error {
	r := a.rehearsal
	if r == nil {
		return nil
	}
	p, err := a.provider(ctx, a.cluster)
	if err != nil {
		return err
	}
	if left, err := anything(ctx, p, providers.Owner(a.cluster.Name)); left || err != nil {
		return err
	}
	return r.end(ctx)
}

// end ends the box and removes what the rehearsal has kept.
func (r *rehearsal) end(ctx context.Context) error {
	if _, err := r.ask(context.WithoutCancel(ctx), "clean"); err != nil {
		return err
	}
	err := os.RemoveAll(r.folder)
	for dir := filepath.Dir(r.folder); err == nil && os.Remove(dir) == nil && filepath.Base(dir) != rehearsals; {
		dir = filepath.Dir(dir) // folders of the vendor and of all rehearsals, unless another one is in them
	}
	return err
}

// anything says whether the owner has something at the vendor.
func anything(ctx context.Context, p providers.Provider, o providers.Owner) (bool, error) {
	ms, err1 := p.Machines().List(ctx, o)
	ns, err2 := p.Networks().List(ctx, o)
	bs, err3 := p.LoadBalancers().List(ctx, o)
	vs, err4 := p.Volumes().List(ctx, o)
	return len(ms)+len(ns)+len(bs)+len(vs) > 0, errors.Join(err1, err2, err3, err4)
}
