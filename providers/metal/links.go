package metal

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/providers"
)

// idle is how long a connection stays open that nobody uses.
const idle = 20 * time.Second

// links are the open connections to hosts and bastions. Each is made when it is first used and ended when it is idle.
type links struct {
	o Options

	mu   sync.Mutex
	all  map[string]*link // by what is connected to
	keys map[string]*ssh.Keys
}

// A link is one connection, which may be being made.
type link struct {
	made  chan struct{} // closed when host or err is set
	host  ssh.Host
	err   error
	users int
	timer *time.Timer
}

func newLinks(o Options) *links {
	return &links{o: o, all: map[string]*link{}, keys: map[string]*ssh.Keys{}}
}

// to returns the connection to a host. done is to be called when it is no longer used.
func (l *links) to(ctx context.Context, h *Host) (conn ssh.Host, done func(), err error) {
	if len(h.HostKeys) == 0 {
		return nil, nil, l.unknown(ctx, h)
	}
	conn, done, err = l.get(ctx, "host "+h.Name, func(ctx context.Context) (ssh.Host, error) {
		through, release, err := l.through(ctx, h.Jump)
		if err != nil {
			return nil, err
		}
		c, err := l.dial(ctx, ssh.Options{
			Name: h.Name, Addr: h.addr(), User: h.user(), Sudo: h.user() != "root", HostKeys: h.HostKeys, Through: through,
		}, h.Key)
		if err != nil {
			release()
			return nil, err
		}
		return &released{Host: c, release: release}, nil
	})
	return conn, done, err
}

// released is a connection to a host, which gives its bastion's back.
type released struct {
	ssh.Host
	release func()

	mu      sync.Mutex
	address string // at which SSH arrived; empty if nobody has asked
}

func (r *released) Close() error {
	defer r.release()
	return r.Host.Close()
}

// unknown is the error of a host whose key nobody has told: it says which one the host shows.
func (l *links) unknown(ctx context.Context, h *Host) error {
	k, err := l.shown(ctx, h)
	if err != nil {
		return err
	}
	return fail(providers.Invalid, "host %w", &ssh.HostKeyUnknown{Host: h.Name, Addr: h.addr(), Shown: k})
}

func (l *links) shown(ctx context.Context, h *Host) (ssh.ShownKey, error) {
	through, release, err := l.through(ctx, h.Jump)
	if err != nil {
		return ssh.ShownKey{}, err
	}
	defer release()
	return ssh.Shown(ctx, ssh.Options{Name: h.Name, Addr: h.addr(), User: h.user(), Through: through, Handshake: l.o.Timeout})
}

// through returns what connects to a host: the bastion, or what the options say.
func (l *links) through(ctx context.Context, j *Jump) (ssh.Dialer, func(), error) {
	if j == nil {
		return l.o.Through, func() {}, nil
	}
	if len(j.HostKeys) == 0 {
		k, err := ssh.Shown(ctx, ssh.Options{Name: j.Address, Addr: j.Address, User: j.User, Through: l.o.Through, Handshake: l.o.Timeout})
		if err != nil {
			return nil, nil, fmt.Errorf("bastion: %w", err)
		}
		return nil, nil, fail(providers.Invalid, "bastion %w", &ssh.HostKeyUnknown{Host: cmp.Or(j.Name, j.Address), Addr: j.Address, Shown: k})
	}
	c, release, err := l.get(ctx, "bastion "+j.User+"@"+j.Address, func(ctx context.Context) (ssh.Host, error) {
		return l.dial(ctx, ssh.Options{Name: "bastion " + cmp.Or(j.Name, j.Address), Addr: j.Address, User: j.User, HostKeys: j.HostKeys, Through: l.o.Through}, j.Key)
	})
	return c, release, err
}

func (l *links) dial(ctx context.Context, o ssh.Options, key string) (ssh.Host, error) {
	keys, err := l.keysOf(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Name, err)
	}
	o.Keys, o.Timeout, o.Redial, o.Handshake, o.KeepAlive = keys, l.o.Timeout, l.o.Timeout, l.o.Timeout, 3*time.Second
	return ssh.Dial(ctx, o)
}

// keysOf returns the keys to log in with: those of a file, and the agent's.
func (l *links) keysOf(path string) (*ssh.Keys, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k, ok := l.keys[path]; ok {
		return k, nil
	}
	o := ssh.KeyOptions{Agent: l.o.Agent}
	if path != "" {
		o.Files = []string{path}
	}
	k, err := ssh.NewKeys(o)
	if err != nil && o.Agent != "" && path != "" { // an agent that is gone is no harm where there is a file
		o.Agent = ""
		k, err = ssh.NewKeys(o)
	}
	if err != nil {
		return nil, fail(providers.Denied, "the keys to log in with: %w", err)
	}
	l.keys[path] = k
	return k, nil
}

// get returns the connection of that name, making it if it is not there. The dial does not end with the first caller's
// context, because others may wait for it; it has an end of its own.
func (l *links) get(ctx context.Context, name string, dial func(context.Context) (ssh.Host, error)) (ssh.Host, func(), error) {
	l.mu.Lock()
	k := l.all[name]
	if k == nil {
		k = &link{made: make(chan struct{})}
		l.all[name] = k
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*l.o.Timeout+idle)
			defer cancel()
			k.host, k.err = dial(ctx)
			if k.err != nil {
				l.drop(name, k)
			}
			close(k.made)
		}()
	}
	k.users++
	if k.timer != nil {
		k.timer.Stop()
	}
	l.mu.Unlock()
	release := sync.OnceFunc(func() { l.release(name, k) })
	select {
	case <-k.made:
	case <-ctx.Done():
		release()
		return nil, nil, ctx.Err()
	}
	if k.err != nil {
		release()
		return nil, nil, k.err
	}
	return k.host, release, nil
}

// release ends the connection a while after its last use.
func (l *links) release(name string, k *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users > 0 {
		return
	}
	k.timer = time.AfterFunc(idle, func() { l.end(name, k) })
}

// end closes a connection that nobody uses.
func (l *links) end(name string, k *link) {
	l.mu.Lock()
	if k.users > 0 || l.all[name] != k {
		l.mu.Unlock()
		return
	}
	delete(l.all, name)
	l.mu.Unlock()
	<-k.made
	if k.err == nil {
		k.host.Close()
	}
}

// drop forgets a connection that did not come about or is of no use any more.
func (l *links) drop(name string, k *link) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[name] == k {
		delete(l.all, name)
	}
}

// hangUp closes the connection to a host, which is known to have gone away.
func (l *links) hangUp(h *Host) {
	l.mu.Lock()
	k := l.all["host "+h.Name]
	delete(l.all, "host "+h.Name)
	l.mu.Unlock()
	if k != nil {
		<-k.made
		if k.err == nil {
			k.host.Close()
		}
	}
}

// close ends all connections.
func (l *links) close() error {
	l.mu.Lock()
	all, keys := l.all, l.keys
	l.all, l.keys = map[string]*link{}, map[string]*ssh.Keys{}
	l.mu.Unlock()
	var errs []error
	for _, k := range all {
		<-k.made
		if k.err == nil {
			errs = append(errs, k.host.Close())
		}
	}
	for _, k := range keys {
		errs = append(errs, k.Close())
	}
	return errors.Join(errs...)
}

//go:embed host.sh
var hostScript string

// run runs one of host.sh's functions on a host and returns what it wrote.
func (p *Provider) run(ctx context.Context, h *Host, args ...string) (string, error) {
	conn, done, err := p.links.to(ctx, h)
	if err != nil {
		return "", err
	}
	defer done()
	words := append([]string{"sh", "-c", hostScript, "metal-" + args[0], h.user(), rand.Text()}, args...)
	res, err := conn.Run(ctx, ssh.Command{Line: ssh.Quote(words...)})
	var lost *ssh.LostError
	if errors.As(err, &lost) {
		p.links.hangUp(h)
	}
	if err != nil {
		return "", said(err)
	}
	return string(res.Stdout), nil
}

// change is run for what changes something: before it and after it the call may be cut off.
func (p *Provider) change(ctx context.Context, h *Host, args ...string) (string, error) {
	if err := p.step(ctx); err != nil {
		return "", err
	}
	p.mu.Lock()
	p.wrote++
	p.mu.Unlock()
	out, err := p.run(ctx, h, args...)
	if err != nil {
		return "", err
	}
	return out, p.step(ctx)
}

// said puts the host's words in the place of the command's.
func said(err error) error {
	var exit *ssh.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	words := strings.TrimSpace(string(exit.Stderr))
	if words == "" {
		words = fmt.Sprintf("exit status %d", exit.Status)
	}
	return &hostError{exit, strings.ReplaceAll(words, "\n", "; ")}
}

// A hostError is what a command said that failed on a host.
type hostError struct {
	exit  *ssh.ExitError
	words string
}

func (e *hostError) Error() string { return "host " + e.exit.Host + ": " + e.words }
func (e *hostError) Unwrap() error { return e.exit }

// reached returns the address at which SSH arrived on a host. It is asked for once per connection.
func (p *Provider) reached(ctx context.Context, h *Host) (string, error) {
	conn, done, err := p.links.to(ctx, h)
	if err != nil {
		return "", err
	}
	defer done()
	r := conn.(*released)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.address != "" {
		return r.address, nil
	}
	res, err := conn.Run(ctx, ssh.Command{Line: "echo $SSH_CONNECTION", Login: true})
	if err != nil {
		return "", err
	}
	f := strings.Fields(string(res.Stdout))
	if len(f) < 3 || net.ParseIP(f[2]) == nil {
		return "", fail(providers.Unavailable, "host %s does not say which address SSH arrives at; name it with private", h.Name)
	}
	r.address = f[2]
	return r.address, nil
}
