//go:build linux

package all

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/providers/local/keeper"
)

// TestMain lets the test's program be a part of the machines that it makes, and their doors.
func TestMain(m *testing.M) {
	if ran, code := keeper.Part(os.Args, local.Clear); ran {
		syscall.Exit(code)
	}
	if ran, code := Machine(os.Args); ran {
		syscall.Exit(code)
	}
	os.Exit(m.Run())
}

// A porch is a host with two machines of one owner, of which "inside" has a door.
type porch struct {
	*testing.T
	folder  string
	host    providers.Provider
	network providers.Network
	inside  providers.MachineSpec
}

func newPorch(t *testing.T) *porch {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: machines on this host need root; run the tests as root")
	}
	dir := t.TempDir()
	p := &porch{T: t, folder: filepath.Join(dir, "local")}
	keeper.Keep(t, keeper.Kept{Folder: p.folder, Dir: dir}, local.Clear)
	host, err := Open("local", map[string]any{"folder": p.folder})
	if err != nil {
		t.Fatal(err)
	}
	p.host = host
	t.Cleanup(p.clean)
	if p.network, err = host.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "mine", Name: "main"}); err != nil {
		t.Fatal(err)
	}
	p.inside = p.spec("inside")
	p.inside.CloudAgent = true
	for _, s := range []providers.MachineSpec{p.inside, p.spec("plain")} {
		if _, err := host.Machines().Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *porch) spec(name string) providers.MachineSpec {
	return providers.MachineSpec{Owner: "mine", Name: name, Network: p.network.ID, Type: "micro"}
}

// clean destroys everything, and looks for what is left: files and doors.
func (p *porch) clean() {
	ctx := context.Background()
	for _, o := range []providers.Owner{"mine", "theirs"} {
		ms, err := p.host.Machines().List(ctx, o)
		for _, m := range ms {
			if err := p.host.Machines().Delete(ctx, m.ID); err != nil {
				p.Error(err)
			}
		}
		ns, err2 := p.host.Networks().List(ctx, o)
		for _, n := range ns {
			if err := p.host.Networks().Delete(ctx, n.ID); err != nil {
				p.Error(err)
			}
		}
		if err != nil || err2 != nil {
			p.Error(err, err2)
		}
	}
	if left := p.doors(""); len(left) > 0 {
		p.Errorf("doors %v run after everything was deleted", left)
	}
	if _, err := os.Stat(p.folder); !os.IsNotExist(err) {
		p.Errorf("%s is still there: %v", p.folder, err)
	}
}

// doors are the processes of doors of this test, of one machine or of all.
func (p *porch) doors(machine string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		a := bytes.Split(bytes.TrimSuffix(b, []byte{0}), []byte{0})
		if len(a) == 4 && string(a[0]) == local.DoorName && string(a[1]) == p.folder && (machine == "" || string(a[3]) == machine) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// state is what the machine's supervisor says.
func (p *porch) state(machine string) (s struct{ Supervisor, Init struct{ PID int } }) {
	b, err := os.ReadFile(filepath.Join(p.folder, "mine", "machines", machine, "state.json"))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		p.Fatal(err)
	}
	return s
}

// socket is where the machine has its door, as the host sees it.
func (p *porch) socket(machine string) string {
	return fmt.Sprintf("/proc/%d/root%s", p.state(machine).Init.PID, local.DoorSocket)
}

// until waits for something that takes a moment.
func (p *porch) until(what string, holds func() bool) {
	p.Helper()
	for begun := time.Now(); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			p.Fatalf("%s: not within 20 s; doors %v", what, p.doors(""))
		}
	}
}

// answers says whether somebody answers on the door, for the owner.
func (p *porch) answers() bool {
	d, err := openDoor(p.socket("inside"))
	if err != nil {
		return false
	}
	defer Close(d)
	ms, err := d.Machines().List(p.Context(), "mine")
	return err == nil && len(ms) > 1
}

// TestDoor goes through a door from inside a machine, and closes and opens it in all ways that there are.
func TestDoor(t *testing.T) {
	p := newPorch(t)
	p.until("the door opens", p.answers)
	p.use()
	info, err := os.Stat(p.socket("inside"))
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v: %v", info.Mode(), err)
	}
	if _, err := os.Stat(p.socket("plain")); !os.IsNotExist(err) || len(p.doors("")) != 1 {
		t.Errorf("a machine without a cloud agent has a door: %v; doors %v", err, p.doors(""))
	}

	was := p.doors("inside")[0]
	syscall.Kill(was, syscall.SIGKILL)
	p.until("a killed door opens again", func() bool { d := p.doors("inside"); return len(d) == 1 && d[0] != was && p.answers() })

	if err := os.RemoveAll(filepath.Dir(p.socket("inside"))); err != nil {
		t.Fatal(err)
	}
	p.until("a door whose socket was taken away opens again", p.answers)

	init := p.state("inside").Init.PID
	syscall.Kill(init, syscall.SIGINT) // as reboot does
	p.until("the door of a machine that rebooted opens again", func() bool { return p.state("inside").Init.PID != init && p.answers() })
	if d := p.doors("inside"); len(d) != 1 {
		t.Errorf("doors %v", d)
	}
	p.change()

	syscall.Kill(p.state("inside").Supervisor.PID, syscall.SIGKILL)
	p.until("a door goes with its supervisor", func() bool { return len(p.doors("")) == 0 })
	p.until("the machine is started again, once it is dead", func() bool {
		_, err := p.host.Machines().Create(t.Context(), p.inside)
		return err == nil
	})
	p.until("the door of a machine that is started again opens", p.answers)
}

// use makes things through the door, and tries what is not allowed.
func (p *porch) use() {
	p.Helper()
	ctx := p.Context()
	d, err := Open("local", map[string]any{"door": p.socket("inside"), "folder": "/elsewhere"})
	if err != nil {
		p.Fatal(err)
	}
	defer Close(d)
	if caps := d.Caps(); !caps.Announced || !caps.LoadBalancers || d.Name() != "local" {
		p.Errorf("behind the door is %s, which can %+v", d.Name(), caps)
	}
	b, err := d.Machines().Create(ctx, p.spec("made"))
	if err != nil {
		p.Fatal(err)
	}
	if same, err := p.host.Machines().Get(ctx, b.ID); err != nil || same.SSH != b.SSH {
		p.Errorf("the host has %+v, %v; the door said %+v", same, err, b)
	}
	v, err := d.Volumes().Create(ctx, providers.VolumeSpec{Owner: "mine", Name: "data", SizeGiB: 1})
	if err != nil {
		p.Fatal(err)
	}
	if v, err = d.Volumes().Attach(ctx, v.ID, b.ID); err != nil || v.Device == "" {
		p.Errorf("a volume that is attached through the door: %+v, %v", v, err)
	}
	if err := errors.Join(d.Volumes().Detach(ctx, v.ID, b.ID), d.Volumes().Delete(ctx, v.ID)); err != nil {
		p.Error(err)
	}
	theirs, err := p.host.Networks().Create(ctx, providers.NetworkSpec{Owner: "theirs", Name: "main"})
	if err != nil {
		p.Fatal(err)
	}
	_, err1 := d.Networks().Get(ctx, theirs.ID)
	_, err2 := d.Machines().List(ctx, "theirs")
	err3 := d.Networks().Delete(ctx, theirs.ID)
	self, err := p.host.Machines().List(ctx, "mine")
	if err != nil || self[0].Name != "inside" {
		p.Fatal(self, err)
	}
	err4 := d.Machines().Delete(ctx, self[0].ID)
	for i, err := range []error{err1, err2, err3, err4} {
		if providers.KindOf(err) != providers.Denied {
			p.Errorf("attempt %d: %v, want %s", i+1, err, providers.Denied)
		}
	}
	if err := d.Machines().Delete(ctx, b.ID); err != nil {
		p.Error(err)
	}
}

// change takes the door away from the machine, and gives it back, while it runs.
func (p *porch) change() {
	p.Helper()
	ms, err := p.host.Machines().List(p.Context(), "mine")
	if err != nil {
		p.Fatal(err)
	}
	without := p.inside
	without.CloudAgent = false
	if _, err := p.host.Machines().Update(p.Context(), ms[0].ID, without); err != nil {
		p.Fatal(err)
	}
	p.until("the door is taken away", func() bool { return len(p.doors("")) == 0 })
	if _, err := p.host.Machines().Update(p.Context(), ms[0].ID, p.inside); err != nil {
		p.Fatal(err)
	}
	p.until("the door is there again", p.answers)
}
