package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/spf13/cobra"
)

func (a *app) kubeconfigCommand() *cobra.Command {
	var days int
	c := a.command("kubeconfig [FILE]", "Write a kubeconfig of an administrator to stdout", func(ctx context.Context, c *cobra.Command, file string, rest []string) error {
		if err := noArgs(c, rest); err != nil {
			return err
		}
		b, err := a.kubeconfig(ctx, file, time.Duration(days)*24*time.Hour)
		if err == nil {
			_, err = a.out.Write(b)
		}
		return err
	})
	a.rehearseFlag(c)
	c.Flags().IntVar(&days, "days", 365, "how long its certificate is valid")
	return c
}

func (a *app) kubeconfig(ctx context.Context, file string, life time.Duration) ([]byte, error) {
	s, err := a.open(ctx, file, true, engine.Options{})
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.engine.Kubeconfig(ctx, person(), life)
}

// person is how the cluster's audit log shall name whoever runs the command.
func person() string {
	if u := os.Getenv("SUDO_USER"); u != "" {
		return u
	}
	if u := os.Getenv("USER"); u != "" {
		return u
	}
	return "admin"
}

func (a *app) kubectlCommand() *cobra.Command {
	c := a.command("kubectl [FILE] -- ARGUMENTS…", "Run the bundle's kubectl as the cluster's administrator", a.kubectl)
	c.Flags().StringVar(&a.flags.bundle, "bundle", "", "path of the bundle (default: beside the program)")
	a.rehearseFlag(c)
	return c
}

// kubectl runs kubectl with a kubeconfig that is valid for an hour and gone afterwards.
func (a *app) kubectl(ctx context.Context, _ *cobra.Command, file string, args []string) error {
	conf, err := a.kubeconfig(ctx, file, time.Hour)
	if err != nil {
		return err
	}
	program, err := a.kubectlProgram()
	if err != nil {
		return err
	}
	path, secret, err := secretFile(conf)
	if err != nil {
		return err
	}
	defer removeNamed(path)
	defer secret.Close()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Args[0] = "kubectl"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.out, a.err
	cmd.Env = append(a.environ, "KUBECONFIG="+path)
	cmd.ExtraFiles = []*os.File{secret}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-a.stop:
			cmd.Process.Signal(os.Interrupt) // kubectl ends by itself
		case <-ended:
		}
	}()
	err = cmd.Wait()
	close(ended)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitError(exit.ExitCode())
	}
	return err
}

// kubectlProgram is the bundle's kubectl, taken out of it once.
func (a *app) kubectlProgram() (string, error) {
	b, err := bundle.Open(a.bundle())
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "provision", b.Manifest.ID[:16])
	path := filepath.Join(dir, "kubectl")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return path, b.Extract("bin/kubectl", path)
}
