package main

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{Use: "version", Short: "Show the version of the program and what its bundle holds", Args: cobra.NoArgs}
	c.RunE = func(*cobra.Command, []string) error {
		v := struct {
			Provision  string             `json:"provision"`
			Go         string             `json:"go"`
			Bundle     string             `json:"bundle,omitempty"`
			Kubernetes string             `json:"kubernetes,omitempty"`
			Components []bundle.Component `json:"components,omitempty"`
		}{Provision: version, Go: runtime.Version()}
		if b, err := bundle.Open(a.bundle()); err == nil {
			v.Bundle, v.Kubernetes, v.Components = b.Manifest.ID, b.Manifest.Kubernetes, b.Manifest.Components
		}
		if a.flags.json {
			return a.printJSON(v)
		}
		fmt.Fprintf(a.out, "provision %s (%s)\n", v.Provision, v.Go)
		if v.Bundle == "" {
			fmt.Fprintf(a.out, "no bundle at %s\n", a.bundle())
			return nil
		}
		fmt.Fprintf(a.out, "bundle %.12s\n", v.Bundle)
		for _, c := range v.Components {
			fmt.Fprintf(a.out, "  %-24s %s\n", c.Name, c.Version)
		}
		return nil
	}
	c.Flags().BoolVar(&a.flags.json, "json", false, "write JSON")
	c.Flags().StringVar(&a.flags.bundle, "bundle", "", "path of the bundle (default: beside the program)")
	return c
}

func (a *app) explainCommand() *cobra.Command {
	return &cobra.Command{
		Use: "explain ID…", Short: "Tell what an error means and what to do",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var ids []string
			for _, e := range diag.All() {
				ids = append(ids, string(e.ID)+"\t"+e.Summary)
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.explain(args) },
	}
}

// explain tells about each of the IDs, or lists all.
func (a *app) explain(ids []string) error {
	if len(ids) == 0 {
		for _, e := range diag.All() {
			fmt.Fprintf(a.out, "%-24s %s\n", e.ID, e.Summary)
		}
		return nil
	}
	var parts, unknown []string
	for _, id := range ids {
		entry, text, ok := diag.Explain(id)
		if !ok {
			unknown = append(unknown, strconv.Quote(id))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s (%s)\n\n%s", entry.Summary, entry.ID, diag.Text{Width: a.columns(a.out)}.Prose(text)))
	}
	if _, err := fmt.Fprint(a.out, strings.Join(parts, "\n")); err != nil {
		return err
	}
	if len(unknown) > 0 {
		return diag.New(diag.BadFlags, "There is no error with the ID %s.", strings.Join(unknown, " or ")).Next("List all:", "provision explain")
	}
	return nil
}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "Write a shell's completion script",
		Args: cobra.ExactArgs(1), ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(c *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return c.Root().GenBashCompletionV2(a.out, true)
			case "zsh":
				return c.Root().GenZshCompletion(a.out)
			case "fish":
				return c.Root().GenFishCompletion(a.out, true)
			case "powershell":
				return c.Root().GenPowerShellCompletionWithDesc(a.out)
			}
			return diag.New(diag.BadFlags, "There is no completion for %q; there is for bash, zsh, fish and powershell.", args[0])
		},
	}
}
