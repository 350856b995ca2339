package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/templates"
	"github.com/spf13/cobra"
)

func (a *app) initCommand() *cobra.Command {
	var name, provider string
	c := &cobra.Command{
		Use: "init [FILE]", Short: "Write a cluster.hcl to start from", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			file := defaultFile
			if len(args) > 0 {
				file = args[0]
			}
			text := templates.Starter(provider)
			if text == nil {
				return diag.New(diag.BadFlags, "There is no starter file for provider %q; there is for %s.", provider, strings.Join(templates.Starters(), ", "))
			}
			if name == "" {
				name = folderName(file)
			}
			text = clusterName.ReplaceAll(text, fmt.Appendf(nil, "cluster %q", name))
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return diag.New(diag.BadFlags, "%s exists already, and nothing was written.", file).Next("Name another file:", "provision init other.hcl")
			}
			if err != nil {
				return err
			}
			if _, err := f.Write(text); err != nil {
				f.Close()
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			fmt.Fprintf(a.err, "Wrote %s. Look at it, then run:\n\n    provision apply %s\n", file, file)
			return nil
		},
	}
	c.Flags().StringVar(&name, "name", "", "name of the cluster (default: that of the file's folder)")
	c.Flags().StringVar(&provider, "provider", "local", "vendor that the file is for")
	return c
}

// clusterName is where a starter file has the example's name.
var clusterName = regexp.MustCompile(`(?m)^cluster "[^"]*"`)

// folderName makes a cluster's name of the name of the file's folder, so that two files do not name one cluster by chance.
func folderName(file string) string {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "my-cluster"
	}
	name := strings.ToLower(filepath.Base(filepath.Dir(abs)))
	name = strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(name, "-"), "-")
	if name == "" || len(name) > 20 || name[0] < 'a' {
		return "my-cluster"
	}
	return name
}
