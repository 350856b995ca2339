package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/controlplane"
)

// A child is a process that runs, or ran. Its methods are safe for concurrent use.
type child interface {
	pid() int
	startTime() uint64     // in clock ticks since boot: with the PID it names a process for good
	done() <-chan struct{} // closed when it has ended
	exit() string          // how it ended; to be called after that
	signal(syscall.Signal) // does nothing if it has ended
	kill()
}

// mark begins the variable that every process of a supervisor has in its environment. The rest is the supervisor's
// records, the process's name and its hash, with colons between.
const mark = "PROVISION_PROCESS="

// launch starts a process for real.
func (s *Supervisor) launch(p controlplane.Process) (child, error) {
	if err := s.prepare(p); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(LogFile(s.o.Logs, p.Name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	args := slices.Concat(p.Args, p.Once)
	if p.Late != nil {
		args = append(args, p.Late()...)
	}
	cmd := exec.Command(p.Path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append([]string{
		"PATH=" + filepath.Dir(p.Path) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		mark + s.o.Records + ":" + p.Name + ":" + p.Hash(),
	}, p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &own{cmd: cmd, ended: make(chan struct{})}
	c.start, _, _ = startTime(cmd.Process.Pid)
	go c.wait()
	return c, nil
}

// prepare makes the folders and files that the process needs.
func (s *Supervisor) prepare(p controlplane.Process) error {
	if err := os.MkdirAll(s.o.Logs, 0o755); err != nil {
		return err
	}
	for _, d := range p.Dirs {
		if err := os.MkdirAll(filepath.Join(s.o.Root, d.Path), d.Mode); err != nil {
			return err
		}
	}
	for _, f := range p.Files {
		mode, err := f.Perm()
		if err != nil {
			return err
		}
		if err := WriteFile(filepath.Join(s.o.Root, f.Path), f.Content, mode); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile replaces a file in one step, making its folder if there is none. A file that is the same is left alone.
func WriteFile(path string, content []byte, mode os.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return os.Chmod(path, mode)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// own is a process that this supervisor started.
type own struct {
	cmd   *exec.Cmd
	start uint64
	ended chan struct{}
	err   error
}

func (c *own) wait() {
	c.err = c.cmd.Wait()
	close(c.ended)
}

func (c *own) pid() int              { return c.cmd.Process.Pid }
func (c *own) startTime() uint64     { return c.start }
func (c *own) done() <-chan struct{} { return c.ended }
func (c *own) kill()                 { c.signal(syscall.SIGKILL) }

// signal cannot hit a stranger: the process is not reaped before Wait, and Signal knows if it was.
func (c *own) signal(s syscall.Signal) { _ = c.cmd.Process.Signal(s) }

func (c *own) exit() string {
	if c.cmd.ProcessState == nil {
		return fmt.Sprint(c.err)
	}
	return c.cmd.ProcessState.String()
}

// found is a process that an earlier supervisor started. Its parent is whoever adopts orphans here, so how it ended is
// not for us to know.
type found struct {
	id    int
	start uint64
	fd    *os.File // a pidfd: it stays with the process even when the PID is used again
	ended chan struct{}
}

// find returns the process if it still runs.
func find(pid int, start uint64) (*found, bool) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, false
	}
	f := os.NewFile(uintptr(fd), "pidfd "+strconv.Itoa(pid))
	// Only now is it sure that the PID cannot change hands while we look.
	if have, zombie, err := startTime(pid); err != nil || zombie || have != start {
		f.Close()
		return nil, false
	}
	c := &found{id: pid, start: start, fd: f, ended: make(chan struct{})}
	go c.wait()
	return c, true
}

// wait returns when the pidfd can be read, which is when the process has ended.
func (c *found) wait() {
	defer c.fd.Close()
	defer close(c.ended)
	raw, err := c.fd.SyscallConn()
	if err != nil {
		return
	}
	// The runtime's poller waits, and no thread has to.
	_ = raw.Read(func(fd uintptr) bool { return readable(fd, 0) })
	// Where the poller cannot, a thread does.
	_ = raw.Control(func(fd uintptr) {
		for !readable(fd, -1) {
		}
	})
}

func readable(fd uintptr, timeout int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, timeout)
	return err == nil && n == 1
}

func (c *found) pid() int              { return c.id }
func (c *found) startTime() uint64     { return c.start }
func (c *found) done() <-chan struct{} { return c.ended }
func (c *found) kill()                 { c.signal(syscall.SIGKILL) }
func (c *found) exit() string {
	return "ended, nobody knows how: it was started by an earlier run of the agent"
}

func (c *found) signal(s syscall.Signal) {
	raw, err := c.fd.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), s, nil, 0) })
}

// startTime reads when a process started, and whether it is only waiting to be reaped.
func startTime(pid int) (ticks uint64, zombie bool, err error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false, err
	}
	// The name is in brackets and may hold anything; after it come the fields from the third on.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return 0, false, fmt.Errorf("/proc/%d/stat is cut short", pid)
	}
	ticks, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return ticks, fields[0][0] == 'Z' || fields[0][0] == 'X', err
}
