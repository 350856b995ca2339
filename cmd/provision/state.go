package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
	"github.com/spf13/cobra"
)

// stateFlags say where the state is and how it is opened.
type stateFlags struct {
	dir, url       string
	wait           time.Duration
	identity       string
	passphraseFile string
	passphraseFD   int
	passphraseEnv  string
	settled        bool // a saved plan says where it is: the environment does not count
}

// stateFlags gives a verb the flags.
func (a *app) stateFlags(c *cobra.Command) {
	f, s := c.Flags(), &a.flags.state
	f.StringVar(&s.dir, "state-dir", "", "folder of the cluster's state (default: ~/.local/state/provision/CLUSTER)")
	f.StringVar(&s.url, "state", "", "URL of the place of states: s3://…, gs://…, azblob://… or file:///… (default: the file's state block)")
	f.DurationVar(&s.wait, "lock-timeout", 0, "how long to wait while another command works on the cluster")
	a.keyFlags(c)
}

func (a *app) keyFlags(c *cobra.Command) {
	f, s := c.Flags(), &a.flags.state
	f.StringVar(&s.identity, "identity", "", "file with your age identity or SSH key (default: ~/.config/provision/identity.age)")
	f.StringVar(&s.passphraseFile, "passphrase-file", "", "file with the passphrase of the state")
	f.IntVar(&s.passphraseFD, "passphrase-fd", -1, "open file descriptor to read the passphrase of the state from")
	f.StringVar(&s.passphraseEnv, "passphrase-env", "", "name of the environment variable with the passphrase of the state")
}

// stateOptions says how to open the cluster's state: flags before the environment before the file.
func (a *app) stateOptions(c *config.Cluster) (state.Options, error) {
	f := a.flags.state
	if f.dir != "" && f.url != "" {
		return state.Options{}, diag.New(diag.BadFlags, "The state is in one place: give either --state-dir or --state.")
	}
	o := state.Options{
		Cluster: c.Name, Command: a.commandLine(), Folder: f.dir, Identity: f.identity, Wait: f.wait,
		Recipients: c.State.Recipients, KeyCommand: c.State.KeyCommand, UsePassphrase: c.State.Passphrase,
		Passphrase: a.passphrase(), Ask: a.ask(),
		Message: func(text string) { fmt.Fprintln(a.err, text) },
		Watching: func(h state.Holder) {
			if h.PID != 0 && !a.flags.json {
				fmt.Fprintf(a.err, "Waiting: %s holds the lease of the state; looking whether that is still alive.\n", h)
			}
		},
	}
	if a.rehearsal != nil {
		o.Seen = a.rehearsal.seen()
	}
	switch {
	case f.dir != "":
	case f.settled:
		o.URL = firstOf(f.url, c.State.URL)
	default:
		o.URL = firstOf(f.url, a.env("PROVISION_STATE"), c.State.URL)
	}
	return o, nil
}

// opening changes how the state is opened for this work. A destroy needs the lease and nothing else of it: no key, and no
// journal that can be read.
func (w work) opening(o *state.Options) {
	if w.verb == "destroy" {
		o.Destroy, o.Sealed = true, true
		return
	}
	o.Compare = true
}

// notice shows what a person should know of a state although it was opened.
func (a *app) notice(s *state.State) {
	for _, err := range s.Notices() {
		ds := a.diagnostics(err)
		for i := range ds {
			ds[i].Severity = diag.Warning
			if r, ok := a.cluster.Ranges["state.recipients"]; ok && ds[i].ID == diag.StateRecipients {
				ds[i] = ds[i].At(&r, "state")
			}
		}
		a.warn(ds)
	}
}

// warn shows warnings on stderr, whatever goes to stdout.
func (a *app) warn(ds diag.Diagnostics) {
	a.warned = append(a.warned, ds...)
	fmt.Fprint(a.err, diag.Text{Width: a.columns(a.err), Colour: a.colour(a.err)}.Render(ds), "\n")
}

// untilStopped is a context that also ends with the first interrupt, until opened is called: nobody waits for a lease in vain.
// It is not ended by that, since what was opened may go on using it.
func (a *app) untilStopped(ctx context.Context) (waiting context.Context, opened func()) {
	waiting, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		select {
		case <-a.stop:
			cancel()
		case <-done:
		case <-ctx.Done():
			cancel()
		}
	}()
	return waiting, sync.OnceFunc(func() { close(done) })
}

// firstOf returns the first text that is not empty.
func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}

// env returns a variable of the environment.
func (a *app) env(name string) string {
	value := ""
	for _, e := range a.environ {
		if n, v, ok := strings.Cut(e, "="); ok && n == name {
			value = v
		}
	}
	return value
}

func (a *app) stateCommand() *cobra.Command {
	c := &cobra.Command{Use: "state", Short: "Look after a cluster's state: where it is, who may read it",
		Long: `Look after a cluster's state: its keys, and the journal of what was begun. docs/state.md tells all about it.

There is no verb that breaks a lock: the lease of a command that no longer lives ends by itself.`}
	c.AddCommand(a.stateShowCommand(), a.stateAcceptCommand(), a.stateRekeyCommand(), a.stateKeyCommand(), a.stateMoveCommand())
	return c
}

// stateVerb makes a verb that works on the state of a file's cluster.
func (a *app) stateVerb(use, short string, run func(ctx context.Context, c *config.Cluster, o state.Options) error) *cobra.Command {
	c := a.command(use, short, func(ctx context.Context, cmd *cobra.Command, file string, rest []string) error {
		if err := noArgs(cmd, rest); err != nil {
			return err
		}
		cl, err := a.load(file)
		if err != nil {
			return err
		}
		o, err := a.stateOptions(cl)
		if err != nil {
			return err
		}
		o.AnyMachine = true
		return run(ctx, cl, o)
	})
	c.Flags().BoolVar(&a.flags.json, "json", false, "write the result as JSON to stdout")
	return c
}

func (a *app) stateShowCommand() *cobra.Command {
	return a.stateVerb("show [FILE]", "Show where the state is, who holds it and who can read it", func(ctx context.Context, _ *config.Cluster, o state.Options) error {
		o.ReadOnly, o.Sealed, o.Accept = true, true, true
		waiting, opened := a.untilStopped(ctx)
		defer opened()
		s, err := state.Open(waiting, o)
		if err != nil {
			return err
		}
		defer s.Close()
		i, err := s.Info(ctx)
		if err != nil {
			return err
		}
		return a.showState(i)
	})
}

func (a *app) showState(i state.Info) error {
	if a.flags.json {
		return a.printJSON(i)
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(a.out, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("cluster", "%s", i.Cluster)
	row("place", "%s", i.Place)
	switch {
	case i.Holder != nil:
		row("in use", "%s on %s since %s: %s", i.Holder.User, i.Holder.Host, i.Holder.Since.Format(time.RFC3339), i.Holder.Command)
	default:
		row("in use", "no")
	}
	if m := i.Moved; m != nil {
		row("moved", "to %s at %s by %s", m.To, stamp(m.Time), m.By)
	}
	if !i.Exists {
		row("state", "%s", map[bool]string{true: "none yet", false: "none here"}[i.Moved == nil])
		return nil
	}
	row("UID", "%s", i.UID)
	row("last write", "%d, %s", i.Write, stamp(i.Time))
	row("records", "%d", i.Records)
	if len(i.Recipients) == 0 {
		row("secrets", "none yet")
	}
	for n, r := range i.Recipients {
		name := ""
		if n == 0 {
			name = "secrets for"
		}
		if len(r) > 80 {
			r = r[:60] + "…" + r[len(r)-16:]
		}
		row(name, "%s", r)
	}
	return nil
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return t.UTC().Format(time.RFC3339)
}

func (a *app) stateAcceptCommand() *cobra.Command {
	c := a.stateVerb("accept [FILE]", "Go on with a state that is older than one that was seen", func(ctx context.Context, _ *config.Cluster, o state.Options) error {
		o.Accept, o.Sealed = true, true
		waiting, opened := a.untilStopped(ctx)
		defer opened()
		s, err := state.Open(waiting, o)
		if err != nil {
			return err
		}
		defer s.Close()
		if m := s.Moved(); m != nil && !s.Exists() {
			if err := s.Forget(); err != nil {
				return err
			}
			fmt.Fprintf(a.err, "The state went to %s, and %s is a place like any other now. If the cluster still exists, apply finds it by its tags.\n", m.To, s.Place())
			return nil
		}
		if !s.Exists() {
			return diag.New(diag.NoCluster, "There is no state in %s.", s.Place())
		}
		i, err := s.Info(ctx)
		if err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
		if a.flags.json {
			return a.printJSON(i)
		}
		fmt.Fprintf(a.out, "Accepted the state in %s as it is, with %d records. Other users who have seen a newer one have to do the same.\n", i.Place, i.Records)
		return nil
	})
	return c
}

func (a *app) stateRekeyCommand() *cobra.Command {
	var renew, ask bool
	fresh := secretSource{what: "The new passphrase", fd: -1}
	c := a.stateVerb("rekey [FILE]", "Encrypt the secrets anew, to those whom the file names", func(ctx context.Context, _ *config.Cluster, o state.Options) error {
		if renew && (len(o.Recipients) > 0 || len(o.KeyCommand) > 0 || o.UsePassphrase) {
			return diag.New(diag.BadFlags, "The file says whom the secrets are for, so a new identity changes nothing: change recipients in the state block.")
		}
		if ask || fresh.given() {
			if !o.UsePassphrase {
				return diag.New(diag.BadFlags, "The file does not say that a passphrase opens the secrets: write passphrase = true into the state block.")
			}
			var err error
			if o.NewPassphrase, err = a.newPassphrase(fresh); err != nil {
				return err
			}
		}
		waiting, opened := a.untilStopped(ctx)
		defer opened()
		s, err := state.Open(waiting, o)
		if err != nil {
			return err
		}
		defer s.Close()
		a.notice(s)
		if !s.Exists() {
			return diag.New(diag.NoCluster, "There is no state in %s.", s.Place())
		}
		if renew {
			if err := state.RenewIdentity(o); err != nil {
				return err
			}
		}
		if err := s.Rekey(); err != nil {
			return err
		}
		i, err := s.Info(ctx)
		if err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
		return a.showState(i)
	})
	c.Long = `Encrypt the secrets anew, to those whom the file's state block names, or else to your own identity. Whoever is not among them
cannot open the state from then on, but for copies of it that were made before: who has seen a secret knows it.`
	f := c.Flags()
	f.BoolVar(&ask, "new-passphrase", false, "put a new passphrase in place of the old one; it is asked for twice on the terminal, or read from where the next flags say")
	f.StringVar(&fresh.file, "new-passphrase-file", "", "file with the new passphrase")
	f.IntVar(&fresh.fd, "new-passphrase-fd", -1, "open file descriptor to read the new passphrase from; not that of the old one")
	f.StringVar(&fresh.env, "new-passphrase-env", "", "name of the environment variable with the new passphrase")
	f.BoolVar(&renew, "new-identity", false, "make a new identity first; the old one stays in your file, behind it, for other clusters")
	return c
}

func (a *app) stateKeyCommand() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "Print your public key, for others to name among recipients", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			key, err := state.PublicKey(state.Options{Identity: a.flags.state.identity})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, key)
			return err
		}}
	c.Flags().StringVar(&a.flags.state.identity, "identity", "", "file with your age identity or SSH key (default: ~/.config/provision/identity.age)")
	return c
}

func (a *app) stateMoveCommand() *cobra.Command {
	var to string
	c := a.stateVerb("move [FILE] --to URL", "Take the state to another place", func(ctx context.Context, cl *config.Cluster, o state.Options) error {
		if to == "" {
			return diag.New(diag.BadFlags, "The new place is missing.").Next("For example:", "provision state move --to s3://BUCKET/PREFIX?region=REGION")
		}
		there := o
		there.URL, there.Folder = to, ""
		waiting, opened := a.untilStopped(ctx)
		defer opened()
		place, moved, err := state.Move(waiting, o, there)
		if err != nil {
			return err
		}
		if a.flags.json {
			return a.printJSON(map[string]any{"place": place, "moved": moved})
		}
		if moved {
			fmt.Fprintf(a.out, "The state of %q is in %s now. In its old place is word of that, and nothing else.\n", cl.Name, place)
		} else {
			fmt.Fprintf(a.out, "The state of %q is in %s already. Nothing was moved.\n", cl.Name, place)
		}
		if cl.State.URL != to {
			fmt.Fprintf(a.out, "Say so in %s:\n\n    state {\n      url = %q\n    }\n", cl.File, to)
		}
		return nil
	})
	c.Flags().StringVar(&to, "to", "", "URL of the new place: s3://…, gs://…, azblob://… or file:///…; the cluster's name is put behind it")
	return c
}
