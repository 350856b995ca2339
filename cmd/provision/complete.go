package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/spf13/cobra"
)

// A completion offers words for the shell to complete.
type completion = func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

// complete offers values of the verb's flags: of those that it has, and that take a word of a known set.
func (a *app) complete(c *cobra.Command) {
	actions := make([]string, 0, len(plan.Actions()))
	for _, act := range plan.Actions() {
		actions = append(actions, string(act))
	}
	for flag, f := range map[string]completion{
		"only":    a.addresses(plan.Machine, plan.Node),
		"replace": a.addresses(plan.Machine),
		"forbid":  words(actions...),
		"keep":    words("volumes", "snapshots"),
		"accept":  words(engine.DataLoss),
	} {
		if c.Flags().Lookup(flag) != nil {
			_ = c.RegisterFlagCompletionFunc(flag, f) // fails only if it is there already
		}
	}
}

// words offers words. Of a list with commas the last one is completed.
func words(all ...string) completion {
	return func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		before := begun[:strings.LastIndex(begun, ",")+1]
		var offered []string
		for _, w := range all {
			if strings.HasPrefix(before+w, begun) {
				offered = append(offered, before+w)
			}
		}
		return offered, cobra.ShellCompDirectiveNoFileComp
	}
}

// addresses offers the addresses of the machines that the file asks for. It reads the file and nothing else, so what it offers
// is there at once; a file with mistakes has none.
func (a *app) addresses(kinds ...plan.Kind) completion {
	return func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		file := defaultFile
		if len(args) > 0 {
			file = args[0]
		}
		cl, _, err := a.read(file)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words(addressesOf(cl, kinds)...)(c, args, begun)
	}
}

// addressesOf are the addresses of the file's machines, and the patterns of its pools.
func addressesOf(c *config.Cluster, kinds []plan.Kind) (all []string) {
	pools := map[string]bool{}
	for _, m := range plan.Members(c) {
		if pattern := m.PoolName() + "[*]"; !pools[pattern] {
			pools[pattern] = true
			all = append(all, pattern)
		}
	}
	for _, k := range kinds {
		for _, m := range plan.Members(c) {
			all = append(all, m.Address(k))
		}
	}
	return all
}

// files offers a cluster's file and, where the verb takes one, a saved plan: folders, what ends in .hcl, and what is a plan
// whatever it is called.
func files(takesPlan bool) completion {
	return func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if !takesPlan {
			return []string{"hcl"}, cobra.ShellCompDirectiveFilterFileExt
		}
		found, _ := filepath.Glob(begun + "*")
		var offered []string
		for _, f := range found {
			info, err := os.Stat(f)
			switch {
			case err != nil:
			case info.IsDir():
				offered = append(offered, f+"/")
			case strings.HasSuffix(f, ".hcl") || savedPlan(f):
				offered = append(offered, f)
			}
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		if len(offered) == 1 && strings.HasSuffix(offered[0], "/") {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return offered, directive
	}
}

// savedPlan says whether the file begins as a saved plan does.
func savedPlan(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 200)
	n, _ := f.Read(head)
	return plan.IsSaved(head[:n])
}
