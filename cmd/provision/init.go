package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/templates"
	"github.com/spf13/cobra"
)

func (a *app) initCommand() *cobra.Command {
	var provider string
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
	c.Flags().StringVar(&provider, "provider", "local", "vendor that the file is for")
	return c
}
