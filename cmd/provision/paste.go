package main

import (
	"os"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commandLine is what a person typed, ready for a shell, without values of variables, which may be secret.
func (a *app) commandLine() string {
	words := []string{"provision"}
	isValue := false
	for _, w := range os.Args[1:] {
		name, _, ok := strings.Cut(w, "=")
		switch {
		case isValue && ok:
			w = name + "=…"
		case strings.HasPrefix(w, "--var=") && ok:
			value := strings.TrimPrefix(w, "--var=")
			name, _, _ = strings.Cut(value, "=")
			w = "--var=" + name + "=…"
		default:
			w = word(w)
		}
		isValue = w == "--var"
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// diagnostics are an error's, with commands that do what the person meant: on the same file, with the same place of the state
// and the same values of variables.
func (a *app) diagnostics(err error) diag.Diagnostics {
	ds := slices.Clone(diag.AsDiagnostics(err))
	for i := range ds {
		commands := slices.Clone(ds[i].Commands)
		for n, c := range commands {
			commands[n] = a.paste(c)
		}
		ds[i].Commands = commands
	}
	return ds
}

// carried are the flags that a command needs to be about the same cluster and the same state.
var carried = [...]string{"state", "state-dir", "identity", "passphrase-file", "passphrase-fd", "passphrase-env", "var", "var-file", "bundle", "agent", "rehearse"}

// paste completes a command that is shown for pasting with the file and the flags that were given to this one.
func (a *app) paste(command string) string {
	words := strings.Fields(command)
	if a.verb == nil || len(words) < 2 || words[0] != "provision" || slices.Contains(words, "--help") {
		return command
	}
	c, rest, err := a.verb.Root().Find(words[1:])
	if err != nil || !c.HasParent() || c.HasSubCommands() {
		return command
	}
	if file := a.fileFor(c, rest); file != "" {
		command = strings.Replace(command, c.CommandPath(), c.CommandPath()+" "+file, 1)
	}
	isPlan := a.cluster != nil && c.Name() == "apply" && len(rest) > 0 && rest[0] != word(a.cluster.File) // it knows where its state is
	placed := isPlan || given(words, "state") || given(words, "state-dir")
	for _, name := range carried {
		f := a.verb.Flags().Lookup(name)
		isPlace := name == "state" || name == "state-dir"
		if f == nil || c.Flags().Lookup(name) == nil || given(words, name) || isPlace && placed || !f.Changed && !(isPlace && a.flags.state.settled && f.Value.String() != "") {
			continue
		}
		if f.Value.Type() == "bool" {
			command += " --" + name
			continue
		}
		for _, value := range values(f) {
			if variable, _, ok := strings.Cut(value, "="); name == "var" && ok && !a.isPlain(variable) {
				value = variable + "=…" // it may be secret
			}
			command += " --" + name + " " + word(value)
		}
	}
	return command
}

// fileFor is the file that a command lacks; empty if it takes none, has one, or finds it by itself.
func (a *app) fileFor(c *cobra.Command, rest []string) string {
	if a.cluster == nil || a.cluster.File == defaultFile || !strings.Contains(c.Use, "[FILE") {
		return ""
	}
	file := word(a.cluster.File)
	if len(rest) > 0 && !strings.HasPrefix(rest[0], "-") || slices.Contains(rest, file) {
		return ""
	}
	return file
}

// given says whether the words have the flag.
func given(words []string, flag string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return w == "--"+flag || strings.HasPrefix(w, "--"+flag+"=") })
}

// values are a flag's, of which some can be given several times.
func values(f *pflag.Flag) []string {
	if all, ok := f.Value.(pflag.SliceValue); ok {
		return all.GetSlice()
	}
	return []string{f.Value.String()}
}

// isPlain says whether the file declares a variable and does not mark it sensitive.
func (a *app) isPlain(variable string) bool {
	return a.cluster != nil && slices.Contains(a.cluster.PlainVars, variable)
}
