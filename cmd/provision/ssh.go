package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/templates"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func (a *app) sshCommand() *cobra.Command {
	c := a.command("ssh [FILE] NODE [-- COMMAND…]", "Run a command, or a shell, on a node", func(ctx context.Context, c *cobra.Command, file string, rest []string) error {
		file, rest = oneNode(file, rest)
		if len(rest) == 0 {
			return diag.New(diag.BadFlags, "ssh needs the name of a node.").Next("See which there are:", "provision status "+file)
		}
		line := strings.Join(rest[1:], " ")
		return a.onNode(ctx, file, rest[0], func(h ssh.Host) error { return a.runThere(ctx, h, line) })
	})
	a.rehearseFlag(c)
	return c
}

// oneNode allows the file to be left out: a single argument that is no file is the node.
func oneNode(file string, rest []string) (string, []string) {
	if _, err := os.Stat(file); err != nil && !strings.HasSuffix(file, ".hcl") {
		return defaultFile, append([]string{file}, rest...)
	}
	return file, rest
}

// onNode connects to a node for the time of do.
func (a *app) onNode(ctx context.Context, file, node string, do func(ssh.Host) error) error {
	s, err := a.open(ctx, file, true, engine.Options{})
	if err != nil {
		return err
	}
	defer s.close()
	h, _, err := s.engine.Connect(ctx, node)
	if err != nil {
		return err
	}
	err = do(h)
	var exit *ssh.ExitError
	if errors.As(err, &exit) && exit.Status > 0 {
		return exitError(exit.Status)
	}
	return err
}

// runThere runs the line, or a login shell if it is empty, with a terminal if there is one here.
func (a *app) runThere(ctx context.Context, h ssh.Host, line string) error {
	c := ssh.Command{Line: line, Stdin: a.in, Stdout: a.out, Stderr: a.err}
	in, ok := a.in.(*os.File)
	if line == "" {
		c.Line = `exec "${SHELL:-/bin/sh}" -l`
	}
	if line == "" && ok && term.IsTerminal(int(in.Fd())) {
		old, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return err
		}
		defer term.Restore(int(in.Fd()), old)
		c.TTY = terminal(in)
	}
	_, err := h.Run(ctx, c)
	return err
}

// terminal describes the terminal here, and keeps telling its size.
func terminal(f *os.File) *ssh.TTY {
	w, h, err := term.GetSize(int(f.Fd()))
	if err != nil {
		w, h = 80, 24
	}
	sizes := make(chan [2]int, 1)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		for range changed {
			if w, h, err := term.GetSize(int(f.Fd())); err == nil {
				sizes <- [2]int{w, h}
			}
		}
	}()
	return &ssh.TTY{Term: os.Getenv("TERM"), Width: w, Height: h, Resize: sizes}
}

func (a *app) logsCommand() *cobra.Command {
	var lines string
	var follow bool
	c := a.command("logs [FILE] NODE [PROCESS]", "Show the log of one of a node's processes", func(ctx context.Context, c *cobra.Command, file string, rest []string) error {
		file, rest = oneNode(file, rest)
		if len(rest) == 0 {
			return diag.New(diag.BadFlags, "logs needs the name of a node.").Next("See which there are:", "provision status "+file)
		}
		process := "kubelet"
		if len(rest) > 1 {
			process = rest[1]
		}
		args := []string{templates.AgentPath, "logs", process, "-n", lines}
		if follow {
			args = append(args, "-f")
		}
		return a.onNode(ctx, file, rest[0], func(h ssh.Host) error {
			_, err := h.Run(ctx, ssh.Command{Line: ssh.Quote(args...), Stdout: a.out, Stderr: a.err})
			return err
		})
	})
	c.Flags().StringVarP(&lines, "lines", "n", "100", "how many of the last lines")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is written next")
	return c
}
