//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// deviceFolder is where a machine finds its volumes, from its root.
const deviceFolder = "dev/disk/by-id"

// How long a detach waits for others to let go of the volume: programs of a machine that runs, or the kernel after its end.
const (
	patience      = 2 * time.Second
	patienceAfter = 30 * time.Second
)

// A device is a volume as a machine is told of it.
type device struct {
	Name string `json:"name"` // in deviceFolder
	Rdev uint64 `json:"rdev"`
}

// deviceName is the name of the volume's device, which it has for good.
func deviceName(id providers.ID) string {
	return "provision-" + string(id[strings.LastIndexByte(string(id), '/')+1:])
}

// Attach lets the machine see the volume: at once if it runs, else when it is booted, and at each boot from then on.
func (v volumes) Attach(ctx context.Context, volume, machine providers.ID) (_ providers.Volume, err error) {
	key, _ := keyOf(volume)
	defer about("attach", providers.VolumeNoun, key, &err)
	r, l, err := v.lock(ctx, volume)
	if err != nil {
		return providers.Volume{}, err
	}
	defer v.p.finish(l, providers.VolumeNoun, key)
	to, known := keyOf(machine)
	if !known || to.Owner != key.Owner {
		return providers.Volume{}, fail(providers.NotFound, "machine %q", machine)
	}
	d, err := v.p.lockDevices(ctx, to)
	if err != nil {
		return providers.Volume{}, err
	}
	defer d.release()
	m, err := byID[providers.MachineSpec](v.p, providers.MachineNoun, machine)
	switch {
	case err != nil:
		return providers.Volume{}, err
	case m == nil || m.Deleting:
		return providers.Volume{}, fail(providers.NotFound, "machine %q", machine)
	case r.Machine != "" && r.Machine != machine:
		return providers.Volume{}, fail(providers.Conflict, "it is attached to machine %s", r.Machine)
	case !m.Complete:
		return providers.Volume{}, fail(providers.Conflict, "machine %s is not complete: create it first", m.Spec.Name)
	}
	if err := v.connect(ctx, r, machine); err != nil {
		return providers.Volume{}, err
	}
	return v.object(r), nil
}

// connect writes down where the volume is, and makes it so. The machine's devices are locked.
func (v volumes) connect(ctx context.Context, r *volumeRecord, machine providers.ID) error {
	if _, err := os.Stat(dataOf(v.dir(r))); err != nil {
		return fail(providers.NotFound, "its data, %s, are gone", dataOf(v.dir(r)))
	}
	if r.Machine == "" {
		r.Machine = machine
		if err := errors.Join(r.save(v.dir(r)), v.p.step(ctx)); err != nil {
			return err
		}
	}
	at, err := bindLoop(dataOf(v.dir(r)), string(r.ID))
	if err := errors.Join(err, v.p.step(ctx)); err != nil {
		return err
	}
	return errors.Join(v.show(r, at), v.p.step(ctx))
}

// show makes the volume's node in the machine if it runs. The machine's devices are locked.
func (v volumes) show(r *volumeRecord, at loop) error {
	init, err := v.runningInit(r.Machine)
	if err != nil || init == nil {
		return err
	}
	rdev, err := at.node()
	if err != nil {
		return err
	}
	return ofLiving(*init, makeNode(*init, device{deviceName(r.ID), rdev}))
}

// hide removes the volume's node from the machine if it runs.
func (v volumes) hide(r *volumeRecord) error {
	init, err := v.runningInit(r.Machine)
	if err != nil || init == nil {
		return err
	}
	return ofLiving(*init, removeNode(*init, deviceName(r.ID)))
}

// errEnded says that the process is at its end: it has no root any more.
var errEnded = errors.New("the machine has ended")

// ofLiving forgets an error of a process that has ended: with it went what there was to do.
func ofLiving(p process, err error) error {
	if err != nil && (errors.Is(err, errEnded) || !p.alive()) {
		return nil
	}
	return err
}

// openRoot opens the root folder of the process.
func openRoot(p process) (int, error) {
	dir, err := unix.Open(fmt.Sprintf("/proc/%d/root", p.PID), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return -1, errEnded
	}
	if err != nil {
		return -1, err
	}
	if !p.alive() { // the number may be another's
		unix.Close(dir)
		return -1, errEnded
	}
	return dir, nil
}

// runningInit returns the process 1 of a machine that has been told its devices; nil if it has none such: then the next boot
// tells it. The machine's devices are locked.
func (v volumes) runningInit(machine providers.ID) (*process, error) {
	key, _ := keyOf(machine)
	if m, err := byID[providers.MachineSpec](v.p, providers.MachineNoun, machine); m == nil {
		return nil, err
	}
	now, err := observe(v.p.dir(providers.MachineNoun, key))
	if err != nil || now.Phase != running {
		return nil, err
	}
	return &now.Init, nil
}

// Detach takes the volume away from the machine. Conflict, with nothing changed, if the machine does not let go of it: it has
// the volume mounted or open.
func (v volumes) Detach(ctx context.Context, volume, machine providers.ID) (err error) {
	key, _ := keyOf(volume)
	defer about("detach", providers.VolumeNoun, key, &err)
	r, l, err := v.lock(ctx, volume)
	if err != nil {
		return err
	}
	defer v.p.finish(l, providers.VolumeNoun, key)
	if r.Machine != machine || machine == "" {
		return nil
	}
	return v.disconnect(ctx, r)
}

// disconnect makes it so that the volume is nowhere, and writes that down. Cut off, the volume is still attached.
func (v volumes) disconnect(ctx context.Context, r *volumeRecord) error {
	from, _ := keyOf(r.Machine)
	d, err := v.p.lockDevices(ctx, from)
	if err != nil {
		return err
	}
	defer d.release()
	at, err := loopOf(dataOf(v.dir(r)))
	if err != nil {
		return err
	}
	return v.p.inOrder(ctx,
		func() error { return v.hide(r) },
		func() error { return v.letGo(ctx, r, at) },
		func() error { r.Machine = ""; return r.save(v.dir(r)) },
	)
}

// letGo releases the volume's loop device, or shows it to the machine again.
func (v volumes) letGo(ctx context.Context, r *volumeRecord, at loop) error {
	if at < 0 {
		return nil
	}
	init, err := v.runningInit(r.Machine)
	if err != nil {
		return err
	}
	wait := patienceAfter
	if init != nil {
		wait = patience
	}
	err = at.release(ctx, wait)
	if err == nil {
		return nil
	}
	if errors.Is(err, errInUse) {
		err = fail(providers.Conflict, "machine %s does not let go of it: %w; unmount it there first", r.Machine, err)
	}
	return errors.Join(err, v.show(r, at))
}

// leave detaches what is attached to a machine that is being removed, whose processes have ended.
func (v volumes) leave(ctx context.Context, m *machineRecord) error {
	d, err := v.p.lockDevices(ctx, m.Spec.Key()) // who began to attach before the machine was marked is done then
	if err != nil {
		return err
	}
	d.release()
	rs, err := records[providers.VolumeSpec](v.p, providers.VolumeNoun, m.Spec.Owner)
	if err != nil {
		return err
	}
	for _, r := range rs {
		if r.Machine == m.ID {
			if err := v.leaveOne(ctx, r.ID, m.ID); err != nil {
				return fmt.Errorf("detach volume %s: %w", r.Spec.Name, err)
			}
		}
	}
	return nil
}

func (v volumes) leaveOne(ctx context.Context, volume, machine providers.ID) error {
	key, _ := keyOf(volume)
	l, err := v.p.lockObject(ctx, providers.VolumeNoun, key)
	if err != nil {
		return err
	}
	defer l.release()
	r, err := byID[providers.VolumeSpec](v.p, providers.VolumeNoun, volume)
	if err != nil || r == nil || r.Machine != machine {
		return err
	}
	return v.disconnect(ctx, r)
}

// lockDevices is the lock of which volumes a machine sees: of Attach and Detach, and of its boot from when it reads what is
// attached until it runs. It is the last to be taken.
func (p *Provider) lockDevices(ctx context.Context, machine providers.Key) (*lock, error) {
	return p.lockObject(ctx, "device", machine)
}

// devices binds what is attached to the machine and returns what it is to see. A volume that cannot be had is left out, with
// a word in the supervisor's log: the machine boots without. The machine's devices are locked.
func (v volumes) devices(m *machineRecord) (all []device, err error) {
	rs, err := records[providers.VolumeSpec](v.p, providers.VolumeNoun, m.Spec.Owner)
	if err != nil {
		return nil, err
	}
	for _, r := range rs {
		if r.Machine != m.ID {
			continue
		}
		at, err := bindLoop(dataOf(v.dir(r)), string(r.ID))
		var rdev uint64
		if err == nil {
			rdev, err = at.node()
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "volume %s: %v\n", r.Spec.Name, err)
			continue
		}
		all = append(all, device{deviceName(r.ID), rdev})
	}
	return all, nil
}

// makeNode makes a device's node in the root of a process.
func makeNode(p process, d device) error {
	return inDeviceFolder(p, func(dir int) error { return d.makeIn(dir) })
}

func (d device) makeIn(dir int) error {
	var s unix.Stat_t
	err := unix.Fstatat(dir, d.Name, &s, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && s.Mode&unix.S_IFMT == unix.S_IFBLK && s.Rdev == d.Rdev {
		return nil
	}
	if err == nil {
		if err := unix.Unlinkat(dir, d.Name, 0); err != nil {
			return err
		}
	}
	if err := unix.Mknodat(dir, d.Name, unix.S_IFBLK|0o600, int(d.Rdev)); err != nil {
		return fmt.Errorf("make /%s: %w", filepath.Join(deviceFolder, d.Name), err)
	}
	return nil
}

// removeNode removes a device's node from the root of a process.
func removeNode(p process, name string) error {
	return inDeviceFolder(p, func(dir int) error {
		if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	})
}

// inDeviceFolder opens the folder of devices in the root of the process, made if need be. No link is followed: one that
// somebody made in the machine would lead to the host's files.
func inDeviceFolder(p process, do func(dir int) error) error {
	dir, err := openRoot(p)
	if err != nil {
		return err
	}
	defer func() { unix.Close(dir) }()
	for name := range strings.SplitSeq(deviceFolder, "/") {
		if err := unix.Mkdirat(dir, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		next, err := unix.Openat2(dir, name, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
		if err != nil {
			return fmt.Errorf("open /%s in the machine: %w", deviceFolder, err)
		}
		unix.Close(dir)
		dir = next
	}
	return do(dir)
}
