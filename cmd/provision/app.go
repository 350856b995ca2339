package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/all"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// version is set when the program is built.
var version = "dev"

// Exit codes beyond those of package diag.
const (
	exitInterrupted = diag.ExitInterrupted
	exitChanges     = 4 // plan --detailed-exitcode found changes
)

// An app is one run of the command.
type app struct {
	in      io.Reader
	out     io.Writer // results
	err     io.Writer // everything else
	stop    <-chan struct{}
	environ []string
	start   time.Time // of the command
	flags   flags
	opened  []providers.Provider
	cut     cutter
	events  bool             // with --json the verb writes events, and diagnostics among them
	verb    *cobra.Command   // that runs, if it works on a cluster's file
	cluster *config.Cluster  // that was loaded last
	warned  diag.Diagnostics // what a person was warned of
	saying  sync.Mutex       // one line of progress at a time

	rehearsal *rehearsal // that the command works on; nil: on the cluster itself
}

// flags are those that several verbs share.
type flags struct {
	vars               []string
	varFiles           []string
	state              stateFlags
	bundle             string
	agent              string
	json               bool
	only, forbid, keep []string
	replace, accept    []string
	autoApprove        bool
	timings            bool
	noCheck            bool
	rehearse           bool
	width              int
}

// defaultFile is read when no file is named.
const defaultFile = "cluster.hcl"

// An exitError ends the command with that code and no further words.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// run executes the command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	defer a.close()
	c, err := root.ExecuteContextC(ctx)
	var exit exitError
	if err == nil {
		return 0
	}
	a.flags.json = a.flags.json || asksJSON(c, args)
	a.events = c.Annotations[streams] != ""
	if text := err.Error(); strings.HasPrefix(text, "unknown command") || strings.HasPrefix(text, "accepts ") {
		// Cobra has no type for these.
		err = diag.Wrap(err, diag.BadFlags, "%s.", sentence(strings.Replace(strings.Join(strings.Fields(text), " "), " Did you mean this? ", ". Did you mean: ", 1))).Next("See what there is:", "provision --help")
	}
	if errors.As(err, &exit) {
		return int(exit)
	}
	a.cut.end()
	ds := a.diagnostics(err)
	if a.flags.json {
		ds = append(slices.Clone(a.warned), ds...) // a program reads no stderr
	}
	a.show(ds)
	return ds.ExitCode()
}

// streams is the annotation of verbs that write events with --json.
const streams = "streams"

// asksJSON says whether the command line asks for JSON, of a verb that has it or of none that there is. The flag may stand behind
// a mistake, where it was not read.
func asksJSON(c *cobra.Command, args []string) bool {
	if c.HasParent() && c.Flags().Lookup("json") == nil {
		return false
	}
	for _, arg := range args {
		switch arg {
		case "--":
			return false
		case "--json", "--json=true":
			return true
		}
	}
	return false
}

// show renders diagnostics: as text on stderr, or with --json on stdout, as events where the verb writes those and else as one
// document.
func (a *app) show(ds diag.Diagnostics) {
	if a.flags.json && a.events {
		r := a.renderer()
		tell(r, ds)
		if r.Close() == nil {
			return
		}
	} else if a.flags.json {
		if b, err := diag.JSON(ds); err == nil {
			if _, err := fmt.Fprintf(a.out, "%s\n", b); err == nil {
				return
			}
		}
	} // what cannot be written for a program, a person is to read
	fmt.Fprint(a.err, diag.Text{Width: a.columns(a.err), Colour: a.colour(a.err)}.Render(ds))
	var ids []string
	for _, d := range ds {
		if d.Severity == diag.Error && !slices.Contains(ids, string(d.ID)) {
			ids = append(ids, string(d.ID))
		}
	}
	if len(ids) > 0 {
		fmt.Fprintf(a.err, "\nMore about this: provision explain %s\n", strings.Join(ids, " "))
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "provision",
		Short: "Make Kubernetes clusters, with all they run on, from one file",
		Long: `provision makes Kubernetes clusters from one file: machines, networks, a control plane, an agent on each node,
on a cloud, on bare metal over SSH, or on the machine at hand, with no internet on the nodes.

  provision init                 write a cluster.hcl to start from
  provision apply cluster.hcl    show what will change, ask, and make it so
  provision kubectl -- get pods  use the cluster
  provision destroy cluster.hcl  remove all of it`,
		Version:      version,
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return diag.Wrap(err, diag.BadFlags, "%s.", sentence(err.Error())).Next("See what it takes:", c.CommandPath()+" --help")
	})
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return checkFlags(c) }
	root.AddCommand(a.initCommand(), a.validateCommand(), a.fmtCommand(), a.planCommand(), a.applyCommand(), a.statusCommand(),
		a.doctorCommand(), a.hostsCommand(), a.powerCommand(), a.kubeconfigCommand(), a.kubectlCommand(), a.sshCommand(), a.logsCommand(), a.destroyCommand(), a.restoreCommand(), a.stateCommand(), a.explainCommand(),
		a.providersCommand(), a.versionCommand(), a.completionCommand())
	return root
}

// checkFlags refuses values that say nothing: a script whose variable is empty would get the opposite of what it asks for.
func checkFlags(c *cobra.Command) error {
	var bad error
	refuse := func(f *pflag.Flag, why string) {
		if bad == nil {
			bad = diag.New(diag.BadFlags, "The value of --%s %s. Nothing was changed.", f.Name, why).Next("See what it takes:", c.CommandPath()+" --help")
		}
	}
	c.Flags().Visit(func(f *pflag.Flag) {
		list, isList := f.Value.(pflag.SliceValue)
		text := f.Value.String()
		switch {
		case isList && (len(list.GetSlice()) == 0 || slices.Contains(list.GetSlice(), "")), f.Value.Type() == "string" && text == "":
			refuse(f, "is empty")
		case f.Value.Type() == "duration" && strings.HasPrefix(text, "-"):
			refuse(f, "is below zero")
		case (f.Name == "parallelism" || f.Name == "days") && (text == "0" || strings.HasPrefix(text, "-")):
			refuse(f, "has to be 1 at least")
		}
	})
	return bad
}

// command makes a verb that works on a cluster's file, which may be left out.
func (a *app) command(use, short string, run func(ctx context.Context, c *cobra.Command, file string, rest []string) error) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short,
		ValidArgsFunction: files(false),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		a.verb = c
		file, rest := defaultFile, args
		if n := c.ArgsLenAtDash(); len(args) > 0 && n != 0 {
			file, rest = args[0], args[1:]
		}
		return run(c.Context(), c, file, rest)
	}
	f := c.Flags()
	f.StringArrayVar(&a.flags.vars, "var", nil, "value of a variable, as NAME=VALUE; may be repeated")
	f.StringArrayVar(&a.flags.varFiles, "var-file", nil, "file with values of variables; may be repeated")
	a.stateFlags(c)
	return c
}

// noArgs refuses arguments that a verb does not take.
func noArgs(c *cobra.Command, rest []string) error {
	if len(rest) > 0 {
		return diag.New(diag.BadFlags, "%s takes one file; %q is too much.", c.CommandPath(), rest[0]).Next("See what it takes:", c.CommandPath()+" --help")
	}
	return nil
}

// load reads the file, and shows its warnings.
func (a *app) load(file string) (*config.Cluster, error) {
	c, warnings, err := a.read(file)
	if len(warnings) > 0 && !a.flags.json {
		a.show(warnings)
	}
	a.cluster = c
	return c, err
}

// read reads the file.
func (a *app) read(file string) (c *config.Cluster, warnings diag.Diagnostics, err error) {
	vars := map[string]string{}
	for _, v := range a.flags.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, nil, diag.New(diag.BadFlags, "--var takes NAME=VALUE; %q has no =.", v)
		}
		vars[name] = value
	}
	c, ds := config.Load(file, config.Options{Vars: vars, VarFiles: a.flags.varFiles, Env: a.environ, CheckRecipient: state.CheckRecipient})
	if ds.HasErrors() {
		return nil, nil, ds
	}
	return c, ds, nil
}

// session is a loaded file with its vendor, state and engine.
type session struct {
	cluster  *config.Cluster
	provider providers.Provider
	state    *state.State
	engine   *engine.Engine
}

func (s *session) close() {
	s.engine.Close()
	s.state.Close()
}

// open loads the file and opens all that belongs to its cluster. Read-only sessions take no lock.
func (a *app) open(ctx context.Context, file string, readOnly bool, options engine.Options, with ...func(*state.Options)) (s *session, err error) {
	c, err := a.load(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = untouched(err) }()
	if a.flags.rehearse {
		if err := a.rehearse(ctx, c); err != nil {
			return nil, err
		}
	}
	p, err := a.provider(ctx, c)
	if err != nil {
		return nil, err
	}
	if options.Inside, err = a.inside(c.Provider, p.Caps()); err != nil {
		return nil, err
	}
	o, err := a.stateOptions(c)
	if err != nil {
		return nil, err
	}
	o.ReadOnly, o.AnyMachine = readOnly, !p.Caps().Local
	for _, change := range with {
		change(&o)
	}
	waiting, opened := a.untilStopped(ctx)
	defer opened()
	st, err := state.Open(waiting, o)
	if err != nil {
		return nil, err
	}
	a.notice(st)
	if a.verb != nil && (a.verb.Name() == "plan" || a.verb.Name() == "status") {
		options.Asked = "provision " + a.verb.Name() + " " + c.File
	}
	options.Provider, options.Cluster, options.State, options.ReadOnly = p, c, st, readOnly
	options.Bundle, options.Agent, options.Width = a.bundle(), a.agent(), a.flags.width
	return &session{c, p, st, engine.New(options)}, nil
}

// inside is how a cloud agent reaches the vendor; nil if none can. A plug-in says it itself.
func (a *app) inside(p config.Provider, caps providers.Caps) (*engine.Inside, error) {
	for _, v := range all.Vendors() {
		if v.Name != p.Name {
			continue
		}
		if v.Inside == nil {
			return nil, nil
		}
		plain := maps.Clone(p.Attributes)
		for _, name := range p.Sensitive { // a machine has an identity of its own
			delete(plain, name)
		}
		there, blind := v.Inside(plain)
		return &engine.Inside{Options: there, Blind: blind}, nil
	}
	if caps.Inside == nil {
		return nil, nil
	}
	if caps.Inside.Blind {
		return &engine.Inside{Blind: true}, nil
	}
	plugin := a.plugin(p)
	there, err := plugin.Inside(*caps.Inside)
	return &engine.Inside{Options: there, Program: plugin.Program, Sensitive: plugin.SensitiveInside()}, err
}

// bundle is the path of the bundle: what the flag says, or beside the program.
func (a *app) bundle() string {
	if a.flags.bundle != "" {
		return a.flags.bundle
	}
	return beside("bundle-linux-amd64.tar.zst")
}

func (a *app) agent() string {
	if a.flags.agent != "" {
		return a.flags.agent
	}
	return beside("node-agent")
}

// beside is a file in the program's own folder.
func beside(name string) string {
	exe, err := os.Executable()
	if err != nil {
		return name
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	return filepath.Join(filepath.Dir(exe), name)
}

// printJSON writes a result for programs.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// sentence begins with a capital letter and has no full stop.
func sentence(s string) string {
	s = strings.TrimRight(strings.TrimSpace(s), ".")
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
