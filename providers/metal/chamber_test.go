package metal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	"github.com/provisionhq/provision/providers/metal/metaltest"
)

// A chamber is a host that is cheap to have many of: a scripted SSH server whose commands are run by BusyBox in a folder that
// it takes for its root. It has what an Alpine has, and nothing that only GNU's tools have.
type chamber struct {
	*sshtest.Server
	name, dir string
	address   netip.Addr
	readOnly  string // not empty: nothing can be written to its root
}

// chambers are hosts by address. They connect as a network would.
type chambers struct {
	t   testing.TB
	all []*chamber
	key string // path of a private key

	mu  sync.Mutex
	off map[string]bool // addresses that answer nothing
}

// newChambers makes n hosts, host-0 and so on, at 10.1.0.1 and so on.
func newChambers(t testing.TB, n int) *chambers {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these hosts need root, for chroot")
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatalf("this test needs the package busybox-static: %v", err)
	}
	out, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	cs := &chambers{t: t, off: map[string]bool{}, key: filepath.Join(t.TempDir(), "key")}
	private, _ := metaltest.NewKey(t)
	if err := os.WriteFile(cs.key, private, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c := &chamber{name: fmt.Sprintf("host-%d", i), dir: t.TempDir(), address: netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)})}
		c.furnish(t, busybox, strings.Fields(string(out)))
		c.Server = sshtest.New(sshtest.Options{Answer: c.answer})
		c.write(t, "/etc/ssh/ssh_host_ed25519_key.pub", c.HostKey()+" root@"+c.name+"\n")
		t.Cleanup(c.Close)
		cs.all = append(cs.all, c)
	}
	return cs
}

func (c *chamber) furnish(t testing.TB, busybox string, applets []string) {
	t.Helper()
	for _, d := range []string{"bin", "etc/ssh", "var/lib", "var/log", "proc", "tmp", "run", "root", "home/ops", "opt", "usr/local/bin", "etc/service", "dev", "sys"} {
		if err := os.MkdirAll(filepath.Join(c.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	err = os.WriteFile(filepath.Join(c.dir, "bin/busybox"), program, 0o755)
	for _, a := range applets {
		err = errors.Join(err, os.Symlink("busybox", filepath.Join(c.dir, "bin", a)))
	}
	err = errors.Join(err, os.Remove(filepath.Join(c.dir, "bin/busybox")), os.WriteFile(filepath.Join(c.dir, "bin/busybox"), program, 0o755))
	if err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	if err := unix.Mknod(c.path("/dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	c.write(t, "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nops:x:1000:1000::/home/ops:/bin/sh\n")
	c.write(t, "/etc/group", "root:x:0:\nops:x:1000:\n")
	c.write(t, "/etc/hosts", "127.0.0.1\tlocalhost") // and no line's end
	c.write(t, "/etc/hostname", c.name+"\n")
	c.write(t, "/etc/machine-id", fmt.Sprintf("%032x\n", c.address.As4()))
	c.write(t, "/etc/os-release", "ID=alpine\nVERSION_ID=3.22\n")
	if err := os.Chown(filepath.Join(c.dir, "home/ops"), 1000, 1000); err != nil {
		t.Fatal(err)
	}
}

func (c *chamber) path(p string) string { return filepath.Join(c.dir, p) }

func (c *chamber) write(t testing.TB, path, text string) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(c.path(path)), 0o755), os.WriteFile(c.path(path), []byte(text), 0o644))
	if err != nil {
		t.Fatal(err)
	}
}

func (c *chamber) read(path string) string {
	b, _ := os.ReadFile(c.path(path))
	return string(b)
}

// answer runs a command in the chamber, with a host name, processes and mounts of its own.
func (c *chamber) answer(e *sshtest.Exec) int {
	const enter = `mount --bind "$1" "$1" && cd "$1" && mount -t proc proc "$1/proc" && hostname "$2" && { [ -z "$4" ] || mount -o remount,bind,ro "$1"; } && chroot "$1" /bin/sh -c "$3"`
	r := exec.CommandContext(e.Context, "unshare", "-mupf", "--kill-child", "sh", "-c", enter, "chamber", c.dir, c.name, e.Line, c.readOnly)
	r.Env = []string{"PATH=/bin:/usr/bin:/sbin:/usr/sbin", "SSH_CONNECTION=10.9.9.9 40000 " + c.address.String() + " 22"}
	r.Stdout, r.Stderr = e.Stdout, e.Stderr
	err := r.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return 126
	}
	return 0
}

// files returns what there is in the chamber: paths with modes and contents.
func (c *chamber) files(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(c.dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		words := i.Mode().String()
		if i.Mode().IsRegular() && !strings.HasSuffix(p, "/busybox") {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			words += " " + string(b)
		}
		rel, _ := filepath.Rel(c.dir, p)
		all[rel] = words
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Dial connects to the host at an address.
func (cs *chambers) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	cs.mu.Lock()
	off := cs.off[addr]
	cs.mu.Unlock()
	for _, c := range cs.all {
		if addr == net.JoinHostPort(c.address.String(), "22") && !off {
			return c.Server.Dial(ctx, network, addr)
		}
	}
	return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%s: no route to host", addr)}
}

// power takes a host's power or gives it back.
func (cs *chambers) power(i int, on bool) {
	c := cs.all[i]
	cs.mu.Lock()
	cs.off[net.JoinHostPort(c.address.String(), "22")] = !on
	cs.mu.Unlock()
	if !on {
		c.Cut()
	}
}

// attributes are those of a provider block that lists the hosts.
func (cs *chambers) attributes() map[string]any {
	hosts := []any{}
	for _, c := range cs.all {
		hosts = append(hosts, map[string]any{"name": c.name, "address": c.address.String(), "host_key": c.HostKey(), "user": "ops"})
	}
	return map[string]any{"host": hosts, "agent": false, "key": cs.key}
}

// open returns a provider of the hosts.
func (cs *chambers) open(attributes map[string]any) *Provider {
	cs.t.Helper()
	o, err := Parse(attributes)
	if err != nil {
		cs.t.Fatal(err)
	}
	o.Through = cs
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	p, err := New(o)
	if err != nil {
		cs.t.Fatal(err)
	}
	cs.t.Cleanup(func() { p.Close() })
	return p
}
