//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// doorCheck is how often a door sees that its socket is still there: whoever empties the folder in the machine takes it away.
const doorCheck = time.Second

// keptDoor begins keepDoor and returns what ends it.
func (s *supervisor) keptDoor() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	closed := make(chan struct{})
	init := s.state.Init
	go func() {
		defer close(closed)
		s.keepDoor(ctx, init)
	}()
	return func() { cancel(); <-closed }
}

// keepDoor keeps the machine's door open, if it has one, until ctx ends; it returns when nothing of it runs. A door that
// ends is opened again. The supervisor's end takes it along.
func (s *supervisor) keepDoor(ctx context.Context, init process) {
	runtime.LockOSThread() // a door dies with the thread that started it
	for pause := leastBackOff; ; pause = min(2*pause, mostBackOff) {
		began := time.Now()
		if err := s.openDoor(ctx, init); err != nil && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "door: %v\n", err)
		}
		if time.Since(began) > mostBackOff {
			pause = leastBackOff
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// openDoor runs the door until it ends, or until the record may say something else. Without a door it waits for that.
func (s *supervisor) openDoor(ctx context.Context, init process) error {
	rec, err := load[providers.MachineSpec](s.dir)
	if err != nil || rec == nil {
		return err
	}
	if rec.Door == "" {
		select {
		case <-ctx.Done():
		case <-s.changed:
		}
		return nil
	}
	run, err := os.OpenFile(fmt.Sprintf("/proc/%d/root/run", init.PID), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer run.Close()
	if !init.alive() { // the number may have been another's when it was opened
		return errors.New("process 1 has ended")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := exec.CommandContext(ctx, s.p.program(rec.Door))
	c.Args = []string{DoorName, s.p.folder, string(s.key.Owner), s.key.Name}
	c.Dir, c.Env = "/", machineEnv()
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	c.ExtraFiles = []*os.File{run}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGKILL}
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		return errors.Join(errors.New("it ended"), err)
	case <-s.changed:
		cancel()
		<-ended
		return nil
	}
}

// knock tells the machine's supervisor that its record is another. One of an older program ignores it, as it does the end of
// a terminal.
func (m machines) knock(r *machineRecord) error {
	now, err := observe(m.dir(r))
	if err != nil || now.Phase == stopped {
		return err
	}
	return now.Supervisor.signal(unix.SIGHUP)
}

// furnish gives the machine a door, or takes it away, as its spec says. The lock of the whole folder is held.
func (m machines) furnish(r *machineRecord) (err error) {
	r.Door = ""
	if r.Spec.CloudAgent && m.p.doors {
		r.Door, err = m.p.installProgram()
	}
	return err
}

// refurnish is furnish of a machine that there is.
func (m machines) refurnish(ctx context.Context, r *machineRecord, cloudAgent bool) error {
	all, err := m.p.all(ctx)
	if err != nil {
		return err
	}
	defer all.release()
	r.Spec.CloudAgent = cloudAgent
	return m.p.inOrder(ctx,
		func() error { return m.furnish(r) },
		func() error { return r.save(m.dir(r)) },
		func() error { return m.knock(r) },
	)
}

// A Door is what DoorMain serves: the machine on whose socket it is, and the provider behind it.
type Door struct {
	Provider *Provider
	Machine  providers.Key
}

// DoorMain is the process of a door, if the program's own name is DoorName; args are those after it. It listens on the
// machine's socket, which only root there may open, and has serve answer until the process ends. serve is called again, at
// the same time, with another listener when the socket was taken away.
func DoorMain(args []string, serve func(Door, net.Listener) error) int {
	if len(args) != 3 {
		return complain(errors.New("usage: " + DoorName + " FOLDER OWNER NAME"))
	}
	unix.Umask(0o177)
	unix.CloseOnExec(3)
	d := Door{New(Options{Folder: args[0], Doors: true}), providers.Key{Owner: providers.Owner(args[1]), Name: args[2]}}
	failed := make(chan error, 1)
	for l := (doorListener{run: 3}); ; {
		switch now, err := l.renew(); {
		case err != nil:
			fmt.Fprintf(os.Stderr, "door: %v\n", err) // the folder is being emptied, perhaps
		case now != nil:
			go func() {
				if err := serve(d, now); !errors.Is(err, net.ErrClosed) { // another one has taken its place
					failed <- err
				}
			}()
		}
		select {
		case err := <-failed:
			return complain(fmt.Errorf("door: %w", err))
		case <-time.After(doorCheck):
		}
	}
}

// A doorListener sees to the socket of a door, below the machine's folder /run.
type doorListener struct {
	run   int // the folder, open
	now   net.Listener
	inode uint64
}

// renew returns a new listener if the socket is not, or no longer, the one that it made last. Nothing that the machine's root
// puts in its place leads out of the machine's folder.
func (l *doorListener) renew() (net.Listener, error) {
	folder, name := filepath.Split(DoorSocket[len("/run/"):])
	folder = filepath.Clean(folder)
	var st unix.Stat_t
	dir, err := unix.Openat(l.run, folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		if err := makeFolderAt(l.run, folder); err != nil {
			return nil, err
		}
		dir, err = unix.Openat(l.run, folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open /run/%s: %w", folder, err)
	}
	defer unix.Close(dir)
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Ino == l.inode {
		return nil, nil
	}
	if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("make room for %s: %w", DoorSocket, err)
	}
	now, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, name), Net: "unix"})
	if err != nil {
		return nil, err
	}
	now.SetUnlinkOnClose(false)
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		now.Close()
		return nil, err
	}
	if l.now != nil {
		l.now.Close()
	}
	l.now, l.inode = now, st.Ino
	return now, nil
}

// makeFolderAt makes the folder in which a machine's own programs put things, too: the door's mask is not for it.
func makeFolderAt(at int, name string) error {
	old := unix.Umask(0o022)
	defer unix.Umask(old)
	if err := unix.Mkdirat(at, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
