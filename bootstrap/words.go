package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

// patience is how long a machine on which something failed gets to say more about it.
const patience = 10 * time.Second

// enoughWords is how many lines of a failed command say more than that it failed.
const enoughWords = 3

// inWords adds to the error of a phase that started something the last lines of the logs of what does not run, unless the
// command told them itself.
func (t *Target) inWords(ctx context.Context, err error) error {
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	words := lastLines(exit.Stderr)
	if len(words) < enoughWords {
		words = append(words, hostWords(ctx, t.Host)...)
	}
	return &HostError{Host: t.Node.Name, Err: err, Output: words}
}

// hostWords returns the last log lines of the processes that fail on a node, or of the node agent if it does not answer.
func hostWords(ctx context.Context, h ssh.Host) []string {
	s, err := Status(ctx, h)
	if err != nil {
		return ask(ctx, h, `if [ -d /run/systemd/system ]; then journalctl -u node-agent -n 20 --no-pager -o cat; else tail -n 20 `+templates.LogDir+`/node-agent.log; fi`)
	}
	var words []string
	words = append(words, s.Problems...)
	for _, p := range failing(s) {
		words = append(words, summary(p))
		words = append(words, ask(ctx, h, ssh.Quote(templates.AgentPath, "logs", p.Name, "-n", "20"))...)
	}
	return words
}

// summary tells how a process is, in one line.
func summary(p templates.ProcessStatus) string {
	parts := []string{string(p.State)}
	if p.Restarts > 0 {
		parts = append(parts, fmt.Sprintf("%d restarts", p.Restarts))
	}
	for _, why := range []string{p.LastExit, p.LastProbe} {
		if why != "" {
			parts = append(parts, why)
		}
	}
	return p.Name + ": " + strings.Join(parts, ", ")
}

// failing returns the processes that do not run though nothing keeps them from it, at most two.
func failing(s templates.Status) []templates.ProcessStatus {
	var ps []templates.ProcessStatus
	for _, p := range s.Processes {
		if !p.Ready && p.State != templates.Waiting && p.State != templates.Done && len(ps) < 2 {
			ps = append(ps, p)
		}
	}
	return ps
}

// ask returns the last lines that a command writes, whether or not it succeeds.
func ask(ctx context.Context, h ssh.Host, line string) []string {
	res, _ := h.Run(ctx, ssh.Command{Line: line})
	return lastLines(append(res.Stdout, res.Stderr...))
}
