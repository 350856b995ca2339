//go:build linux

package local

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/crypto/ssh"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local/keeper"
)

// A world is a provider with a folder and a key of its own, and one network per owner. What is made in it is removed, and
// found missing, at the end of the test.
type world struct {
	*Provider
	t   *testing.T
	key ssh.Signer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: machines on this host need root; run the tests as root")
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w := &world{New(Options{Folder: filepath.Join(dir, "local")}), t, key}
	keeper.Keep(t, keeper.Kept{Folder: w.folder, Dir: dir}, Clear)
	w.reap = 0 // the host's process 1 may take its time, hundreds of times; see TestLeavesNothing
	if left := w.traces(); len(left) > 0 {
		t.Fatalf("before anything was made there is %q", left)
	}
	t.Cleanup(w.clean)
	return w
}

// clean removes all objects and then looks whether anything is left of them.
func (w *world) clean() {
	w.cut = nil
	ctx := context.Background()
	bs, err := records[providers.LoadBalancerSpec](w.Provider, providers.BalancerNoun, "")
	if err != nil {
		w.t.Error(err)
	}
	for _, b := range bs {
		if err := w.LoadBalancers().Delete(ctx, b.ID); err != nil {
			w.t.Error(err)
		}
	}
	ms, err := records[providers.MachineSpec](w.Provider, providers.MachineNoun, "")
	if err != nil {
		w.t.Error(err)
	}
	for _, m := range ms {
		if err := w.Machines().Delete(ctx, m.ID); err != nil {
			w.t.Error(err)
		}
	}
	data := w.cleanData()
	ns, err := records[providers.NetworkSpec](w.Provider, providers.NetworkNoun, "")
	if err != nil {
		w.t.Error(err)
	}
	for _, n := range ns {
		if err := w.Networks().Delete(ctx, n.ID); err != nil {
			w.t.Error(err)
		}
	}
	if len(bs)+len(ms)+len(ns)+data == 0 && exists(w.folder) { // a lock's file of a call that was killed at its start: the next call removes it
		w.network("demo")
		w.clean()
		return
	}
	if left := w.traces(); len(left) > 0 {
		w.t.Errorf("after everything was deleted there is %q", left)
	}
}

// cleanData removes all volumes, which no machine has any more, and snapshots; it returns how many there were.
func (w *world) cleanData() int {
	ctx := context.Background()
	vs, err := records[providers.VolumeSpec](w.Provider, providers.VolumeNoun, "")
	if err != nil {
		w.t.Error(err)
	}
	for _, v := range vs {
		if err := w.Volumes().Delete(ctx, v.ID); err != nil {
			w.t.Error(err)
		}
	}
	ss, err := records[providers.SnapshotSpec](w.Provider, providers.SnapshotNoun, "")
	if err != nil {
		w.t.Error(err)
	}
	for _, s := range ss {
		if err := w.Volumes().Snapshots().Delete(ctx, s.ID); err != nil {
			w.t.Error(err)
		}
	}
	return len(vs) + len(ss)
}

func (w *world) network(o providers.Owner) providers.Network {
	w.t.Helper()
	n, err := w.Networks().Create(w.t.Context(), providers.NetworkSpec{Owner: o, Name: "main"})
	if err != nil && providers.KindOf(err) != providers.Exists {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) spec(o providers.Owner, name string) providers.MachineSpec {
	w.t.Helper()
	return providers.MachineSpec{
		Owner: o, Name: name, Network: w.network(o).ID, Type: "micro",
		AuthorizedKeys: []string{publicLine(w.key.PublicKey())},
	}
}

func (w *world) create(s providers.MachineSpec) providers.Machine {
	w.t.Helper()
	m, err := w.Machines().Create(w.t.Context(), s)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.words(s.Key()))
	}
	return m
}

// words are what the supervisor and process 1 had to say.
func (w *world) words(k providers.Key) string {
	b, _ := os.ReadFile(filepath.Join(w.dir(providers.MachineNoun, k), "supervisor.log"))
	s, _ := os.ReadFile(filepath.Join(w.dir(providers.MachineNoun, k), "state.json"))
	return string(b) + string(s)
}

// dial connects as the machine's record says, strictly.
func (w *world) dial(m providers.Machine) (*ssh.Client, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(m.HostKeys[0]))
	if err != nil {
		return nil, err
	}
	return ssh.Dial("tcp", m.SSH.String(), &ssh.ClientConfig{
		User: m.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(w.key)},
		HostKeyCallback: ssh.FixedHostKey(key), Timeout: 5 * time.Second,
	})
}

// run runs a command in the machine and returns what it says.
func (w *world) run(m providers.Machine, command string) string {
	w.t.Helper()
	out, err := w.try(m, command)
	if err != nil {
		w.t.Fatalf("%s: %s: %v: %s", m.Name, command, err, out)
	}
	return out
}

func (w *world) try(m providers.Machine, command string) (string, error) {
	c, err := w.dial(m)
	if err != nil {
		return "", err
	}
	defer c.Close()
	s, err := c.NewSession()
	if err != nil {
		return "", err
	}
	defer s.Close()
	out, err := s.CombinedOutput(command)
	return strings.TrimSpace(string(out)), err
}

// get returns the machine as it is now.
func (w *world) get(m providers.Machine) providers.Machine {
	w.t.Helper()
	now, err := w.Machines().Get(w.t.Context(), m.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return now
}

// within waits until the condition holds.
func (w *world) within(d time.Duration, what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(d); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %s: %s", d, what)
		}
	}
}

// state returns the supervisor's word.
func (w *world) state(m providers.Machine) state {
	w.t.Helper()
	s, err := observe(w.dir(providers.MachineNoun, providers.Key{Owner: m.Owner, Name: m.Name}))
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// traces lists everything on the host that is of this world's folder: processes, mounts,
// loop devices, links, tables of rules, control groups, raised settings, and the folder itself.
func (w *world) traces() []string {
	var all []string
	if _, err := os.Lstat(w.folder); !errors.Is(err, os.ErrNotExist) {
		all = append(all, "folder "+w.folder)
	}
	if _, err := os.Stat(w.settingsUser()); err == nil {
		all = append(all, "raised settings")
	}
	all = append(all, w.processes()...)
	mountinfo, _ := os.ReadFile("/proc/self/mountinfo")
	for m := range mounts(string(mountinfo)) {
		if strings.HasPrefix(m.point, w.folder) {
			all = append(all, "mount "+m.point)
		}
	}
	if hs, err := hostHierarchies(); err == nil {
		for _, h := range hs {
			if dir := filepath.Join(h.Mount, w.groupsTop()); exists(dir) {
				all = append(all, "control group "+dir)
			}
		}
	}
	all = append(all, w.loops()...)
	return append(all, w.links()...)
}

// loops are the loop devices that show a file of the world's folder.
func (w *world) loops() []string {
	var all []string
	for _, l := range volumeLoops() {
		b, _ := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/loop/backing_file", l))
		if strings.HasPrefix(string(b), w.folder) {
			all = append(all, fmt.Sprintf("%s of %s", l.path(), strings.TrimSpace(string(b))))
		}
	}
	return all
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// processes are those that run a copy of this program, and those in the world's control groups.
func (w *world) processes() []string {
	var all []string
	pids, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range pids {
		if fmt.Sprint(os.Getpid()) == filepath.Base(p) {
			continue
		}
		exe, _ := os.Readlink(p + "/exe")
		args, _ := os.ReadFile(p + "/cmdline")
		groups, _ := os.ReadFile(p + "/cgroup")
		if len(args) == 0 {
			continue // a thread of the kernel, or dead: see zombies
		}
		if strings.Contains(exe+string(args), w.folder) || strings.Contains(string(groups), "/"+w.groupsTop()+"/") {
			all = append(all, fmt.Sprintf("process %s %q", filepath.Base(p), args))
		}
	}
	return all
}

// links are the networks' links in the host and their rules, by the addresses that they have.
func (w *world) links() []string {
	var all []string
	var names []string
	for _, o := range []providers.Owner{"demo", "other"} {
		names = append(names, w.linkName(providers.Key{Owner: o, Name: "main"}))
	}
	for _, n := range names {
		if _, err := netlink.LinkByName(n); err == nil {
			all = append(all, "link "+n)
		}
		c, err := nftables.New()
		if err != nil {
			return append(all, err.Error())
		}
		tables, err := c.ListTables()
		if err != nil {
			return append(all, err.Error())
		}
		for _, t := range tables {
			if t.Name == tableName(n) {
				all = append(all, "rules "+t.Name)
			}
		}
	}
	return all
}

func dialTCP(a string) error {
	c, err := net.DialTimeout("tcp", a, time.Second)
	if err == nil {
		c.Close()
	}
	return err
}
