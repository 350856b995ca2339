// Package metaltest makes fleets of hosts for tests of provider metal: machines of provider local that are reached only by
// SSH, as a user who is not root, through a bastion. It needs what provider local needs, and sudo.
package metaltest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/providers/local/keeper"
)

// User is who logs in to the hosts and to the bastion. On the hosts sudo makes root of them without a password.
const User = "ops"

// owner is whose machines the hosts are at provider local.
const owner = "fleet"

// Part runs what fleets and their hosts are made of, if the arguments say that this process is a part of one. The TestMain of
// a test program that makes fleets calls it first.
func Part(args []string) (ran bool, code int) {
	if ran, code := keeper.Part(args, local.Clear); ran {
		return ran, code
	}
	return local.Machine(args)
}

// Main is what TestMain of a test program that makes fleets calls: its machines are made of the same program.
func Main(m *testing.M) {
	if ran, code := Part(os.Args); ran {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// A Fleet is a number of hosts behind a bastion. It is removed at the end of its test.
type Fleet struct {
	Hosts   []providers.Machine // in the order of their names: host-0, host-1 …
	Bastion providers.Machine
	Network providers.Network
	KeyFile string // path of the private key that lets User in, everywhere

	t      testing.TB
	local  *local.Provider
	folder string
	root   []byte // private key of root at all of them, for what tests do behind the provider's back
}

// New makes n hosts of that type of provider local, and a bastion. Hosts let User in only from the bastion. They are removed
// also if the test is killed.
func New(t testing.TB, n int, machineType string) *Fleet {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("hosts for this test are machines of provider local, which need root")
	}
	if _, err := exec.LookPath("sudo"); err != nil {
		t.Fatalf("this test needs the package sudo: %v", err)
	}
	dir := t.TempDir()
	folder := filepath.Join(dir, "machines")
	f := &Fleet{t: t, local: local.New(local.Options{Folder: folder}), folder: folder, KeyFile: filepath.Join(dir, "key")}
	rootPEM, rootLine := NewKey(t)
	userPEM, userLine := NewKey(t)
	f.root = rootPEM
	if err := os.WriteFile(f.KeyFile, userPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	keeper.Keep(t, keeper.Kept{Folder: folder, Dir: dir}, local.Clear)
	t.Cleanup(f.remove)
	var err error
	if f.Network, err = f.local.Networks().Create(t.Context(), providers.NetworkSpec{Owner: owner, Name: "main"}); err != nil {
		t.Fatal(err)
	}
	f.Hosts = make([]providers.Machine, n)
	if f.Bastion, err = f.machine(t.Context(), "bastion", "micro", rootLine); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(4)
	g.Go(func() error { return f.admit(t.Context(), f.Bastion, userLine, "") })
	for i := range f.Hosts {
		g.Go(func() (err error) {
			if f.Hosts[i], err = f.machine(t.Context(), fmt.Sprintf("host-%d", i), machineType, rootLine); err != nil {
				return err
			}
			return f.admit(t.Context(), f.Hosts[i], userLine, fmt.Sprintf("from=%q ", f.Bastion.Private))
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *Fleet) machine(ctx context.Context, name, machineType, key string) (providers.Machine, error) {
	return f.local.Machines().Create(ctx, providers.MachineSpec{
		Owner: owner, Name: name, Network: f.Network.ID, Type: machineType, AuthorizedKeys: []string{key},
	})
}

// admit makes the user on a host and lets the key in.
func (f *Fleet) admit(ctx context.Context, m providers.Machine, line, options string) error {
	h, err := f.dial(ctx, m)
	if err != nil {
		return err
	}
	defer h.Close()
	script := fmt.Sprintf(`set -e
useradd -m -s /bin/sh -p '*' %[1]s
mkdir -m 700 /home/%[1]s/.ssh
cat >/home/%[1]s/.ssh/authorized_keys
chmod 600 /home/%[1]s/.ssh/authorized_keys
chown -R %[1]s:%[1]s /home/%[1]s/.ssh
mkdir -p /etc/sudoers.d
echo '%[1]s ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/%[1]s
chmod 440 /etc/sudoers.d/%[1]s`, User)
	_, err = h.Run(ctx, ssh.Command{Line: script, Stdin: strings.NewReader(options + line + "\n")})
	return err
}

// dial connects to a machine as root, past the bastion.
func (f *Fleet) dial(ctx context.Context, m providers.Machine) (ssh.Host, error) {
	keys, err := ssh.NewKeys(ssh.KeyOptions{PEM: [][]byte{f.root}})
	if err != nil {
		return nil, err
	}
	return ssh.Dial(ctx, ssh.Options{Name: m.Name, Addr: m.SSH.String(), Keys: keys, HostKeys: m.HostKeys, Timeout: 30 * time.Second})
}

// Run runs a command on a host as root, behind the provider's back, and returns what it says.
func (f *Fleet) Run(name, line string) (string, error) {
	m, err := f.find(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h, err := f.dial(ctx, m)
	if err != nil {
		return "", err
	}
	defer h.Close()
	res, err := h.Run(ctx, ssh.Command{Line: line})
	return strings.TrimSpace(string(res.Stdout)), err
}

func (f *Fleet) find(name string) (providers.Machine, error) {
	if name == f.Bastion.Name {
		return f.Bastion, nil
	}
	for _, m := range f.Hosts {
		if m.Name == name {
			return m, nil
		}
	}
	return providers.Machine{}, fmt.Errorf("the fleet has no host %q", name)
}

// Off takes a host's power.
func (f *Fleet) Off(name string) error {
	m, err := f.find(name)
	if err != nil {
		return err
	}
	if now, err := f.local.Machines().Get(context.Background(), m.ID); err != nil || now.State == providers.Stopped {
		return err
	}
	if err := f.kill(name); err != nil {
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		now, err := f.local.Machines().Get(context.Background(), m.ID)
		if err != nil || now.State == providers.Stopped {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("host %s is still %s", name, now.State)
		}
	}
}

// kill ends a host's process 1, and so the host, at once.
func (f *Fleet) kill(name string) error {
	b, err := os.ReadFile(filepath.Join(f.folder, owner, "machines", name, "state.json"))
	if err != nil {
		return err
	}
	var state struct {
		Init struct {
			PID   int    `json:"pid"`
			Start string `json:"start"`
		} `json:"init"`
	}
	if err := json.Unmarshal(b, &state); err != nil {
		return err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", state.Init.PID))
	if err != nil || !strings.Contains(string(stat), " "+state.Init.Start+" ") {
		return fmt.Errorf("host %s: its process 1 is no longer %d", name, state.Init.PID)
	}
	return syscall.Kill(state.Init.PID, syscall.SIGKILL)
}

// On gives a host power. It boots as it is.
func (f *Fleet) On(name string) error {
	m, err := f.find(name)
	if err != nil {
		return err
	}
	_, err = f.local.Machines().Create(context.Background(), providers.MachineSpec{
		Owner: owner, Name: m.Name, Network: m.Network, Type: m.Type,
	})
	if providers.KindOf(err) == providers.Exists {
		return nil
	}
	return err
}

// Powered says whether a host has power.
func (f *Fleet) Powered(name string) (bool, error) {
	m, err := f.find(name)
	if err != nil {
		return false, err
	}
	now, err := f.local.Machines().Get(context.Background(), m.ID)
	return err == nil && now.State == providers.Running, err
}

// Attributes are those of a provider block that lists the fleet, as package config hands them over. They may be changed.
func (f *Fleet) Attributes() map[string]any {
	hosts := []any{}
	for _, m := range f.Hosts {
		hosts = append(hosts, map[string]any{"name": m.Name, "address": m.Private.String(), "host_key": m.HostKeys[0]})
	}
	return map[string]any{
		"user": User, "key": f.KeyFile, "agent": false, "host": hosts,
		"jump": []any{map[string]any{"name": "bastion", "address": f.Bastion.Private.String(), "host_key": f.Bastion.HostKeys[0]}},
	}
}

// HCL is the inventory as the text of a file that inventory = "hosts.hcl" names, or of the provider block's inside. Each of
// more is put into the block of the host of that name.
func (f *Fleet) HCL(more map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "user  = %q\nkey   = %q\nagent = false\n\n", User, f.KeyFile)
	fmt.Fprintf(&b, "jump \"bastion\" {\n  address  = %q\n  host_key = %q\n}\n", f.Bastion.Private, f.Bastion.HostKeys[0])
	for _, m := range f.Hosts {
		fmt.Fprintf(&b, "\nhost %q {\n  address  = %q\n  host_key = %q\n", m.Name, m.Private, m.HostKeys[0])
		if words := more[m.Name]; words != "" {
			fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(strings.TrimSpace(words), "\n", "\n  "))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// remove removes all machines and their network.
func (f *Fleet) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if _, err := local.Clear(ctx, f.folder, nil); err != nil {
		f.t.Errorf("the fleet could not be removed: %v", err)
	}
}

// NewKey returns a new private key in OpenSSH's format, and its public half as a line of authorized_keys.
func NewKey(t testing.TB) (private []byte, line string) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := gossh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), strings.TrimSpace(string(gossh.MarshalAuthorizedKey(p)))
}
