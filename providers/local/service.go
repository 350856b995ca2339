//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	leastBackOff = 100 * time.Millisecond
	mostBackOff  = 10 * time.Second
	stopGrace    = 20 * time.Second // from SIGTERM to SIGKILL
)

// A service is a program that process 1 keeps running.
type service struct {
	name string
	argv []string
	dir  string
	once bool // it is run one time only

	cancel context.CancelFunc
	done   chan struct{}
}

// services are what process 1 keeps running, and all children it has.
type services struct {
	mu       sync.Mutex
	children map[int]chan unix.WaitStatus // that a service waits for
	watched  map[string]*service          // by folder name in /etc/service
	others   []*service
}

func newServices() *services {
	return &services{children: map[int]chan unix.WaitStatus{}, watched: map[string]*service{}}
}

// reap takes in every child that has ended, ours and orphans.
func (ss *services) reap() {
	for {
		ss.mu.Lock() // held while a child is started too, so that one that ends at once is known
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if pid > 0 && ss.children[pid] != nil {
			ss.children[pid] <- ws
			delete(ss.children, pid)
		}
		ss.mu.Unlock()
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if pid <= 0 {
			return
		}
	}
}

// spawn starts a program; its end comes by the channel.
func (ss *services) spawn(s *service, out *os.File) (pid int, ended chan unix.WaitStatus, err error) {
	null, err := os.Open("/dev/null")
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	pid, err = syscall.ForkExec(s.argv[0], s.argv, &syscall.ProcAttr{
		Dir: s.dir, Env: machineEnv(),
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, nil, err
	}
	ended = make(chan unix.WaitStatus, 1)
	ss.children[pid] = ended
	return pid, ended, nil
}

// add starts a service that is not in a folder.
func (ss *services) add(s *service) {
	ss.others = append(ss.others, s)
	ss.start(s)
}

// start keeps the service running until it is stopped.
func (ss *services) start(s *service) {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan struct{})
	go func() {
		defer close(s.done)
		log, err := openLog(filepath.Join(logFolder, s.name+".log"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		defer log.close()
		ss.keep(ctx, s, log)
	}()
}

// keep runs the service again and again, waiting longer each time that it ends soon.
func (ss *services) keep(ctx context.Context, s *service, log *logFile) {
	backOff := leastBackOff
	for ctx.Err() == nil {
		began := time.Now()
		pid, ended, err := ss.spawn(s, log.in)
		if err != nil {
			log.say("cannot be started: %v", err)
		} else {
			select {
			case ws := <-ended:
				log.say("ended: %s", describe(ws))
			case <-ctx.Done():
				ss.kill(pid, ended)
				return
			}
		}
		if s.once {
			return
		}
		if time.Since(began) > mostBackOff {
			backOff = leastBackOff
		}
		select {
		case <-ctx.Done():
		case <-time.After(backOff):
		}
		backOff = min(2*backOff, mostBackOff)
	}
}

// kill ends the service's process: kindly first. What it started itself is left alone.
func (ss *services) kill(pid int, ended <-chan unix.WaitStatus) {
	ss.signal(pid, unix.SIGTERM)
	select {
	case <-ended:
	case <-time.After(stopGrace):
		ss.signal(pid, unix.SIGKILL)
		<-ended
	}
}

// signal sends only to a child that was not reaped: its number can be nobody else's.
func (ss *services) signal(pid int, sig unix.Signal) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.children[pid] != nil {
		_ = unix.Kill(pid, sig)
	}
}

// stop stops the service and waits for its end.
func (s *service) stop() {
	s.cancel()
	<-s.done
}

func describe(ws unix.WaitStatus) string {
	if ws.Signaled() {
		return ws.Signal().String()
	}
	return fmt.Sprintf("exit code %d", ws.ExitStatus())
}

// end stops all services: those of /etc/service side by side, then the others. Children are reaped meanwhile.
func (ss *services) end() {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ss.mu.Lock()
		watched := ss.watched
		ss.watched = nil // the watch adds no more
		ss.mu.Unlock()
		var wg sync.WaitGroup
		for _, s := range watched {
			wg.Go(s.stop)
		}
		wg.Wait()
		for _, s := range ss.others {
			s.stop()
		}
	}()
	for {
		select {
		case <-stopped:
			return
		case <-time.After(2 * time.Millisecond):
			ss.reap()
		}
	}
}

// runUserData runs the machine's user data, once in its life.
func (ss *services) runUserData() {
	done := userDataFile + ".done"
	if err := os.Rename(userDataFile, done); err != nil {
		return // there is none, or it has been run
	}
	ss.add(&service{name: "user-data", argv: []string{done}, dir: "/root", once: true})
}

// watch keeps running what has an executable /etc/service/NAME/run and no file "down" beside it.
func (ss *services) watch(dir string) {
	go func() {
		for range watchFolders(dir) {
			ss.rescan(dir)
		}
	}()
}

// rescan starts and stops services so that they are what the folder says.
func (ss *services) rescan(dir string) {
	want := map[string]bool{}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		run := filepath.Join(dir, e.Name(), "run")
		_, err := os.Stat(filepath.Join(dir, e.Name(), "down"))
		want[e.Name()] = unix.Access(run, unix.X_OK) == nil && os.IsNotExist(err)
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.watched == nil {
		return
	}
	for name, s := range ss.watched {
		if !want[name] {
			go s.stop()
			delete(ss.watched, name)
		}
	}
	for name, wanted := range want {
		if wanted && ss.watched[name] == nil {
			at := filepath.Join(dir, name)
			ss.watched[name] = &service{name: name, argv: []string{filepath.Join(at, "run")}, dir: at}
			ss.start(ss.watched[name])
		}
	}
}
