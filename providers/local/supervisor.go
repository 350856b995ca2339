//go:build linux

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// exitReboot is the exit code of a process 1 that wants to be started again, where it may not call reboot(2).
const exitReboot = 75

// maxQuickBoots is how often in a row a machine may reboot within a second of its start before it is left alone.
const maxQuickBoots = 5

// A bootConfig is what process 1 of a machine must know. It gets it through descriptor 3.
type bootConfig struct {
	Folder  string      `json:"folder"`
	Dir     string      `json:"dir"`
	Layers  []string    `json:"layers"`
	Program string      `json:"program"`
	Sshd    string      `json:"sshd"`
	Groups  []hierarchy `json:"groups"`
	Name    string      `json:"name"`
	Address string      `json:"address"` // with the length of the network's prefix
	Gateway string      `json:"gateway"`
	Devices []device    `json:"devices,omitempty"` // the machine's volumes

	MemoryMiB int `json:"memory_mib"`
}

// startMain starts a supervisor, or a balancer in namespaces of its own, as nobody's child, and returns when it has its lock
// or has given up.
func startMain(name string, namespaces uintptr, args []string) int {
	r, w, err := os.Pipe()
	if err != nil {
		return complain(err)
	}
	c := exec.Command("/proc/self/exe")
	c.Args = append([]string{name}, args...)
	c.Dir, c.Env = "/", os.Environ()
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.ExtraFiles = []*os.File{w}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces}
	if err := c.Start(); err != nil {
		return complain(kernelLacksNamespaces(err))
	}
	w.Close()
	if b, _ := io.ReadAll(r); string(b) != "ready" {
		return 1
	}
	return 0
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// A supervisor boots one machine, and again when it reboots.
type supervisor struct {
	p     *Provider
	key   providers.Key
	dir   string
	group group
	state state
	stop  bool // somebody wants the machine to stay off
	size  providers.MachineType
	init  *os.Process

	changed chan os.Signal // the record may be another
}

// superviseMain is the supervisor's process. Its arguments are folder, owner and name.
func superviseMain(args []string) int {
	runtime.LockOSThread() // process 1 dies with the thread that started it: it must be one that stays
	debug.SetGCPercent(20) // it lives long and does little
	if len(args) != 3 {
		return complain(errors.New("usage: " + supervisorName + " FOLDER OWNER NAME"))
	}
	p := New(Options{Folder: args[0]})
	s := &supervisor{p: p, key: providers.Key{Owner: providers.Owner(args[1]), Name: args[2]}, changed: make(chan os.Signal, 1)}
	s.dir = p.dir(providers.MachineNoun, s.key)
	alive, err := holdAlive(s.dir)
	if err != nil {
		return complain(err)
	}
	defer alive.Close()
	me, err := identify(os.Getpid())
	if err != nil {
		return complain(err)
	}
	s.state = state{Supervisor: me, Phase: booting}
	if err := s.save(); err != nil {
		return complain(err)
	}
	ready := os.NewFile(3, "ready")
	fmt.Fprint(ready, "ready")
	ready.Close()
	return s.run()
}

func (s *supervisor) save() error { return writeJSON(filepath.Join(s.dir, "state.json"), s.state) }

// run boots the machine until it is to stay off.
func (s *supervisor) run() int {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT)
	signal.Notify(s.changed, unix.SIGHUP)
	signal.Ignore(unix.SIGPIPE)
	err := s.leaveSession()
	for quick := 0; err == nil && !s.stop && quick < maxQuickBoots; quick++ {
		began := time.Now()
		var again bool
		if again, err = s.boot(signals); !again {
			break
		}
		if time.Since(began) > time.Second {
			quick = 0
		}
		if quick == maxQuickBoots-1 {
			err = fail(providers.Unavailable, "it rebooted %d times within a second each", maxQuickBoots)
		}
	}
	s.state.Phase, s.state.Init = stopped, process{}
	if err != nil {
		s.state.Error, s.state.Kind = err.Error(), providers.KindOf(kinded(err))
	}
	if err := errors.Join(err, s.group.remove(), s.save()); err != nil {
		return complain(err)
	}
	return 0
}

// leaveSession moves the supervisor out of the control groups of whoever made the machine, so that the end of a login
// session does not take it along.
func (s *supervisor) leaveSession() (err error) {
	if s.group, err = s.p.group(s.key); err != nil {
		return err
	}
	if err := s.group.supervisors().make(); err != nil {
		return err
	}
	return s.group.supervisors().join()
}

// boot starts the machine and waits for its end; true means that it wants to be started again.
func (s *supervisor) boot(signals <-chan os.Signal) (again bool, err error) {
	rec, err := load[providers.MachineSpec](s.dir)
	if err != nil || rec == nil || rec.Deleting {
		return false, err
	}
	s.state.Phase, s.state.Init = booting, process{}
	s.state.Boots++
	if err := s.save(); err != nil {
		return false, err
	}
	if err := s.limits(rec); err != nil {
		return false, err
	}
	config, status, err := s.clone(rec)
	if err != nil {
		return false, err
	}
	defer status.Close()
	ended := make(chan *os.ProcessState, 1)
	go func() {
		st, _ := s.init.Wait()
		ended <- st
	}()
	if err := s.setUp(rec, config, status); err != nil {
		s.init.Kill()
		<-ended
		return false, err
	}
	defer s.keptDoor()()
	return s.wait(signals, ended), nil
}

// limits makes the machine's control groups anew: nothing is left in them of the boot before.
func (s *supervisor) limits(rec *machineRecord) error {
	cpus, memory := hardware()
	var err error
	if s.size, err = typeNamed(rec.Spec.Type, machineTypes(cpus, memory)); err != nil {
		return err
	}
	if err := s.group.remove(); err != nil {
		return err
	}
	if err := s.group.make(); err != nil {
		return err
	}
	return s.group.limit(s.size, cpus)
}

// clone starts process 1 in namespaces of its own, in the machine's control groups. The caller writes its configuration to
// the first file and reads from the second how it went.
func (s *supervisor) clone(rec *machineRecord) (config, status *os.File, err error) {
	configR, config, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer configR.Close()
	status, statusW, err := os.Pipe()
	if err != nil {
		config.Close()
		return nil, nil, err
	}
	defer statusW.Close()
	c := exec.Command(s.p.program(rec.Program))
	c.Args = []string{initName, s.key.String()}
	c.Dir, c.Env = "/", machineEnv()
	c.ExtraFiles = []*os.File{configR, statusW}
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP,
		Pdeathsig:  unix.SIGKILL,
		Setsid:     true,
	}
	// The namespace of control groups begins where its maker is, so the supervisor is there for that moment.
	if err = s.group.join(); err == nil {
		err = c.Start()
		err = errors.Join(kernelLacksNamespaces(err), s.group.supervisors().join())
	}
	if err != nil {
		config.Close()
		status.Close()
		return nil, nil, err
	}
	s.init = c.Process
	return config, status, nil
}

func kernelLacksNamespaces(err error) error {
	if err == nil {
		return nil
	}
	return kernelLacks("namespaces of all kinds (mnt, pid, uts, ipc, net, cgroup)", err)
}

func machineEnv() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh", "LANG=C.UTF-8", "TERM=linux",
	}
}

// setUp connects process 1, tells it what it is, and waits until its services are started.
func (s *supervisor) setUp(rec *machineRecord, config, status *os.File) (err error) {
	defer config.Close()
	if s.state.Init, err = identify(s.init.Pid); err != nil {
		return err
	}
	if err := s.save(); err != nil {
		return err
	}
	if err := plug(rec.Netns, rec.Address, s.init.Pid); err != nil {
		return err
	}
	server, err := sshd()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit/2)
	defer cancel()
	l, err := s.p.lockDevices(ctx, s.key) // until all know that the machine runs: what is attached from then on, others show it
	if err != nil {
		return err
	}
	defer l.release()
	devices, err := volumes{s.p}.devices(rec)
	if err != nil {
		return err
	}
	err = json.NewEncoder(config).Encode(bootConfig{
		Folder: s.p.folder, Dir: s.dir, Layers: rec.Layers, Program: s.p.program(rec.Program), Sshd: server,
		Groups: s.group.trees, Name: rec.Spec.Name,
		Address: fmt.Sprintf("%s/%d", rec.Address, rec.CIDR.Bits()), Gateway: gateway(rec.CIDR).String(), MemoryMiB: s.size.MemoryMiB, Devices: devices,
	})
	if err != nil {
		return err
	}
	config.Close()
	b, err := io.ReadAll(status)
	if err != nil {
		return err
	}
	if kind, words, _ := strings.Cut(string(b), "\n"); kind != "ready" {
		if kind == "" {
			kind, words = string(providers.Unavailable), "process 1 ended before its services were started"
		}
		return fail(providers.Kind(kind), "%s", words)
	}
	s.state.Phase = running
	return s.save()
}

// wait waits for the machine's end and passes on what is asked of it; true means that it wants to be started again.
func (s *supervisor) wait(signals <-chan os.Signal, ended <-chan *os.ProcessState) (again bool) {
	var kill <-chan time.Time
	for {
		select {
		case sig := <-signals:
			s.stop = true
			if sig == unix.SIGQUIT {
				s.init.Kill()
				continue
			}
			s.init.Signal(unix.SIGTERM)
			kill = time.After(40 * time.Second)
		case <-kill:
			s.init.Kill()
		case st := <-ended:
			return !s.stop && wantsReboot(st)
		}
	}
}

// wantsReboot reads what the kernel makes of reboot(2) in a namespace of processes: the end of process 1 by this signal.
func wantsReboot(st *os.ProcessState) bool {
	ws, ok := st.Sys().(syscall.WaitStatus)
	return ok && (ws.Signaled() && ws.Signal() == unix.SIGHUP || ws.Exited() && ws.ExitStatus() == exitReboot)
}
