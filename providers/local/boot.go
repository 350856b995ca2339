//go:build linux

package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

const (
	sshPort   = 22
	bootLimit = 60 * time.Second // from the supervisor's start to an answer by SSH
)

// raise starts the machine's supervisor and waits until SSH answers.
func (m machines) raise(ctx context.Context, r *machineRecord) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	dir := m.dir(r)
	alive, err := m.seize(ctx, dir) // what its supervisor's death may have left is gone then
	if err != nil {
		return err
	}
	alive.Close()
	if err := errors.Join(m.start(ctx, r), m.p.step(ctx)); err != nil {
		return err
	}
	var last error
	for {
		now, err := observe(dir)
		switch {
		case err != nil:
			return err
		case now.Phase == stopped && now.Error != "":
			return fmt.Errorf("%w: boot: %s", now.Kind, strings.TrimPrefix(now.Error, string(now.Kind)+": "))
		case now.Phase == stopped:
			return fail(providers.Unavailable, "it stopped while it was booting")
		case now.Phase == running:
			if last = banner(ctx, netip.AddrPortFrom(r.Address, sshPort)); last == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fail(providers.Unavailable, "no answer by SSH from %s: %w", r.Address, errors.Join(last, ctx.Err()))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// start starts a supervisor. It is not a child of this process, so nothing is to be waited for when it ends.
func (m machines) start(ctx context.Context, r *machineRecord) error {
	return m.p.launch(ctx, starterName, r.Program, r.Spec.Key(), m.dir(r))
}

// launch runs the program of that name in the folder bin under the starter's name, and returns when what it has started for
// the object holds the lock of its life.
func (p *Provider) launch(ctx context.Context, starter, program string, key providers.Key, dir string) error {
	log, err := os.OpenFile(filepath.Join(dir, "supervisor.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for {
		c := exec.CommandContext(ctx, p.program(program))
		c.Args = []string{starter, p.folder, string(key.Owner), key.Name}
		c.Dir, c.Env = "/", machineEnv()
		c.Stdout, c.Stderr = log, log
		err := c.Run()
		if !errors.Is(err, unix.ETXTBSY) { // a child of another goroutine may still hold the copy that was just written
			if held, _ := aliveHeld(dir); held {
				return ctx.Err() // by this one or by one that was still coming up: it will do
			}
			return startError(ctx, err, log.Name())
		}
		time.Sleep(time.Millisecond)
	}
}

func startError(ctx context.Context, err error, log string) error {
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	words, _ := os.ReadFile(log)
	return fail(providers.Unavailable, "start its supervisor: %w: %s", err, strings.TrimSpace(string(words)))
}

// banner returns nil if an SSH server answers at the address.
func banner(ctx context.Context, a netip.AddrPort) error {
	d := net.Dialer{Timeout: 250 * time.Millisecond}
	c, err := d.DialContext(ctx, "tcp", a.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "SSH-") {
		return fmt.Errorf("%s says %q", a, line)
	}
	return nil
}

// seize ends the machine's processes and holds the lock of its life, so that none begins again; nil if the machine was not
// yet laid out. A supervisor may still be coming up whose starter was killed: it is ended too.
func (m machines) seize(ctx context.Context, dir string) (*os.File, error) {
	for {
		if err := m.kill(ctx, dir); err != nil {
			return nil, err
		}
		alive, err := holdAlive(dir)
		switch {
		case err == nil:
			return alive, nil
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil
		case !errors.Is(err, errHeld):
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		time.Sleep(time.Millisecond)
	}
}

// kill ends the machine's processes and its supervisor and waits until they are gone.
func (m machines) kill(ctx context.Context, dir string) error {
	now, err := observe(dir)
	if err != nil {
		return err
	}
	if err := now.Supervisor.signal(unix.SIGQUIT); err != nil {
		return err
	}
	if !now.Supervisor.ended(ctx, 10*time.Second) {
		if err := now.Supervisor.signal(unix.SIGKILL); err != nil {
			return err
		}
	}
	if err := now.Init.signal(unix.SIGKILL); err != nil {
		return err
	}
	if !now.Init.ended(ctx, 20*time.Second) || !now.Supervisor.ended(ctx, 10*time.Second) {
		return fail(providers.Unavailable, "its processes (supervisor %d, process 1 is %d) do not end", now.Supervisor.PID, now.Init.PID)
	}
	return nil
}
