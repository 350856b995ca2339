package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/provisionhq/provision/providers"
)

// A process is a plug-in that runs.
type process struct {
	of     *Provider
	client *goplugin.Client      // nil if the process was not started here
	child  atomic.Pointer[child] // nil before it was tried to start it
	conn   *grpc.ClientConn
	ended  sync.Once
}

// spawn starts the program and connects to it.
func (p *Provider) spawn(ctx context.Context) (*process, error) {
	limit := p.o.Limits.Start
	if t, ok := ctx.Deadline(); ok {
		limit = max(time.Until(t), time.Millisecond)
	}
	proc := &process{of: p}
	if p.o.Socket != "" {
		return proc, proc.dial(p.o.Socket)
	}
	proc.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{ProtocolVersion: Version, MagicCookieKey: cookieKey, MagicCookieValue: cookieValue},
		Plugins:          goplugin.PluginSet{dispensed: &half{}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		Logger:           hclog.NewNullLogger(),
		Stderr:           p.tail, SyncStderr: p.tail, SyncStdout: p.tail,
		StartTimeout:     limit,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: socketFolder()},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			c, err := newChild(p.o.Path, append(p.environ(), cmd.Env...))
			proc.child.Store(c)
			return c, err
		},
	})
	stop := context.AfterFunc(ctx, func() {
		if c := proc.child.Load(); c != nil {
			_ = c.Kill(ctx)
		}
	})
	defer stop()
	got, err := proc.connect()
	if err != nil {
		proc.end()
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("start of plug-in %s: %w", p.o.Name, ctx.Err())
		}
		return nil, p.notStarted(ctx, proc, err)
	}
	proc.conn = got
	return proc, nil
}

func (p *Provider) environ() []string {
	if p.o.Environ != nil {
		return p.o.Environ
	}
	return Environ(p.o.Name, os.Environ())
}

func (proc *process) connect() (*grpc.ClientConn, error) {
	if _, err := proc.client.Start(); err != nil {
		return nil, err
	}
	c, err := proc.client.Client()
	if err != nil {
		return nil, err
	}
	got, err := c.Dispense(dispensed)
	if err != nil {
		return nil, err
	}
	return got.(*grpc.ClientConn), nil
}

// notStarted says why a program did not become a plug-in.
func (p *Provider) notStarted(ctx context.Context, proc *process, err error) error {
	text, _, _ := strings.Cut(err.Error(), "\nThis usually means")
	text, _, _ = strings.Cut(text, "\n\nTo fix this")
	text = strings.Join(strings.Fields(text), " ")
	switch {
	case ctx.Err() != nil || strings.Contains(text, "timeout while waiting"):
		return p.fault(Hung, "", fmt.Sprintf("did not say within %s that it is ready", p.o.Limits.Start))
	case strings.Contains(text, "ncompatible API version"):
		return p.fault(Unfit, "", fmt.Sprintf("speaks another version of the protocol than %d, which this program speaks: %s", Version, text))
	case strings.Contains(text, "exited before we could connect"), strings.Contains(text, "Failed to read any lines"):
		return p.fault(Unfit, "", proc.how()+" before it was ready; either it is no plug-in or it cannot run here")
	}
	return p.fault(Unfit, "", "is not a plug-in of this program: "+text)
}

// open has the plug-in open its provider.
func (proc *process) open(ctx context.Context) (providers.Caps, error) {
	p := proc.of
	var none providers.Caps
	m, err := pack(opening{Name: p.o.Name, Attributes: p.o.Attributes, HeartbeatMS: max(p.o.Limits.Heartbeat.Milliseconds(), 1)})
	if err != nil {
		return none, fmt.Errorf("attributes of plug-in %s: %w: %w", p.o.Name, providers.Invalid, err)
	}
	var back wrapperspb.BytesValue
	if err := proc.conn.Invoke(ctx, method(openCall), m, &back); err != nil {
		return none, proc.broken(ctx, question{}, err)
	}
	var o opened
	if err := unpack(&back, &o); err != nil {
		return none, p.fault(Unfit, "", fmt.Sprintf("answered something else than JSON of this protocol when it was opened: %v", err))
	}
	switch {
	case o.Error != nil:
		return none, p.theirs(question{}, o.Error)
	case o.Name != p.o.Name:
		return none, p.fault(Unfit, "", fmt.Sprintf("says that its name is %q, but it was started as %q", o.Name, p.o.Name))
	case o.Caps == nil:
		return none, p.fault(Unfit, "", "does not say what it can when it is opened")
	}
	return *o.Caps, checkCaps(p, *o.Caps)
}

// end ends the process and those that it started, and waits for that.
func (proc *process) end() {
	proc.ended.Do(func() {
		if c := proc.child.Load(); c != nil {
			c.end()
		}
		if proc.client == nil {
			_ = proc.conn.Close()
			return
		}
		proc.client.Kill() // cleans up: the process has ended
	})
}

// kill ends the process and those that it started at once. Who lost it calls end.
func (proc *process) kill() {
	if c := proc.child.Load(); c != nil {
		_ = c.Kill(context.Background())
	}
}

// how says how the process ended.
func (proc *process) how() string {
	if c := proc.child.Load(); c != nil {
		return c.how()
	}
	if proc.client == nil {
		return "does not answer, or ended"
	}
	return "ended"
}

// A child is the process of a plug-in. It is in a group of its own, so that an interrupt from the terminal does not
// reach it while the command lets its steps finish, and so that what it started can be ended with it. It ends when this
// process ends, however that is: its stdin ends then and, where the system can, it is killed.
type child struct {
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr io.ReadCloser
	started        atomic.Pointer[os.Process]
	gone           chan struct{} // closed when the process has ended
}

func newChild(path string, environ []string) (*child, error) {
	c := &child{cmd: &exec.Cmd{Path: path, Args: []string{path}, Env: environ}, gone: make(chan struct{})}
	detach(c.cmd)
	var err1, err2, err3 error
	c.stdin, err1 = c.cmd.StdinPipe()
	c.stdout, err2 = c.cmd.StdoutPipe()
	c.stderr, err3 = c.cmd.StderrPipe()
	return c, errors.Join(err1, err2, err3)
}

// Start starts the process from a thread that lives as long as it does: Linux tells a child of the end of its parent
// when the thread ends that started it.
func (c *child) Start(context.Context) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		if err == nil {
			c.started.Store(c.cmd.Process)
		}
		started <- err
		if err == nil {
			<-c.gone
		}
	}()
	return <-started
}

// Wait waits for the end of the process. It must be called once.
func (c *child) Wait(context.Context) error {
	defer close(c.gone)
	return c.cmd.Wait()
}

// Kill ends the process and its group at once.
func (c *child) Kill(context.Context) error {
	select {
	case <-c.gone:
		return nil
	default:
	}
	p := c.started.Load()
	if p == nil {
		return nil
	}
	return kill(p)
}

// end lets the process end by itself for a moment, then kills it and its group.
func (c *child) end() {
	p := c.started.Load()
	if p == nil {
		return
	}
	_ = c.stdin.Close()
	select {
	case <-c.gone:
	case <-time.After(2 * time.Second):
	}
	_ = kill(p)
	select {
	case <-c.gone:
	case <-time.After(5 * time.Second): // in the kernel, on a dead disk perhaps: nothing more can be done
	}
}

// how says how the process ended.
func (c *child) how() string {
	select {
	case <-c.gone:
	case <-time.After(time.Second):
		return "broke the connection"
	}
	if s := c.cmd.ProcessState; s != nil {
		return "ended (" + s.String() + ")"
	}
	return "ended"
}

// Stdout returns what it says for the handshake.
func (c *child) Stdout() io.ReadCloser { return c.stdout }

// Stderr returns its log.
func (c *child) Stderr() io.ReadCloser { return c.stderr }

// Name returns its path.
func (c *child) Name() string { return c.cmd.Path }

// ID returns its process ID. It is never empty, as go-plugin would not clean up then.
func (c *child) ID() string {
	p := c.started.Load()
	if p == nil {
		return "not started"
	}
	return strconv.Itoa(p.Pid)
}

// Diagnose returns nothing: its caller says it better.
func (c *child) Diagnose(context.Context) string { return "" }

// PluginToHost returns the address as it is.
func (c *child) PluginToHost(network, addr string) (string, string, error) { return network, addr, nil }

// HostToPlugin returns the address as it is.
func (c *child) HostToPlugin(network, addr string) (string, string, error) { return network, addr, nil }
