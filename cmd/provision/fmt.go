package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/spf13/cobra"
)

func (a *app) fmtCommand() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use: "fmt [FILE…]", Short: "Format files in place; - formats standard input",
		RunE: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				files = []string{defaultFile}
			}
			changed := 0
			for _, f := range files {
				c, err := a.format(f, check)
				if err != nil {
					return err
				}
				if c {
					changed++
				}
			}
			if check && changed > 0 {
				return exitError(diag.ExitFailed)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&check, "check", false, "change nothing; exit with 1 if a file is not formatted, and name it")
	return c
}

// format formats one file and says whether that changed it.
func (a *app) format(file string, check bool) (bool, error) {
	if file == "-" {
		src, err := io.ReadAll(a.in)
		if err != nil {
			return false, err
		}
		out, ds := config.Format("-", src)
		if ds.HasErrors() {
			return false, ds
		}
		_, err = a.out.Write(out)
		return false, err
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	out, ds := config.Format(file, src)
	if ds.HasErrors() || bytes.Equal(src, out) {
		return false, ds.Err()
	}
	fmt.Fprintln(a.out, file)
	if check {
		return true, nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return false, err
	}
	tmp := file + ".tmp"
	if err := os.WriteFile(tmp, out, info.Mode().Perm()); err != nil {
		return false, err
	}
	return true, os.Rename(tmp, file)
}
