package bootstrap

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

// gather returns all facts of the machine, asking for them at the first call of a run.
func (t *Target) gather(ctx context.Context) (*Facts, error) { return t.know(ctx, true) }

// gatherNode returns the facts of the node, at least.
func (t *Target) gatherNode(ctx context.Context) (*Facts, error) { return t.know(ctx, false) }

func (t *Target) know(ctx context.Context, all bool) (*Facts, error) {
	t.mu.Lock()
	f, enough := t.facts, t.all || !all
	t.mu.Unlock()
	if f != nil && enough {
		return f, nil
	}
	which, paths := "node", []string{templates.NodePath}
	if all {
		which = "all"
	}
	for _, file := range t.Files {
		paths = append(paths, file.Path)
	}
	for _, p := range t.Besides {
		paths = append(paths, p.Path)
	}
	f, err := gather(ctx, t.Host, which, paths)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.facts, t.all = f, all
	return f, nil
}

// change notes what a phase has done, so that the machine need not be asked again.
func (t *Target) change(note func(*Facts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed = true
	if t.facts != nil {
		note(t.facts)
	}
}

// named gives an error of a command the name by which people know it.
func named(err error, name string) error {
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		exit.Command = name
	}
	return err
}

// maxOutput is how many lines of a machine's words an error holds.
const maxOutput = 20

// lastLines returns the last lines of what a program wrote.
func lastLines(b []byte) []string {
	var lines []string
	for line := range bytes.Lines(bytes.TrimSpace(b)) {
		lines = append(lines, strings.TrimRight(string(line), "\r\n"))
	}
	return lines[max(0, len(lines)-maxOutput):]
}
