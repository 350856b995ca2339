package crashtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Run runs the program to its end. cmd's standard streams have to be files or nil, and it must not be used afterwards. The
// error is about the watch, not about how the program ended.
func (w *Watch) Run(cmd *exec.Cmd) (Exit, error) {
	// All of ptrace belongs to one thread. If it ends while it still holds something, the kernel kills that (EXITKILL).
	type result struct {
		exit Exit
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		exit, err := w.run(cmd)
		if err == nil { // others may have started processes from this thread that are to end with it: it goes on
			runtime.UnlockOSThread()
		}
		done <- result{exit, err}
	}()
	r := <-done
	return r.exit, r.err
}

func (w *Watch) run(cmd *exec.Cmd) (Exit, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return Exit{}, err
	}
	defer cmd.Process.Release()
	pid := cmd.Process.Pid
	t := &trace{Watch: w, pid: pid, threads: map[int]*thread{}, exit: Exit{Code: -1}}
	if err := t.begin(); err != nil {
		unix.Kill(pid, unix.SIGKILL)
		unix.Wait4(pid, nil, unix.WALL, nil)
		return Exit{}, fmt.Errorf("watch %s: %w", cmd.Path, err)
	}
	limit := w.Limit
	if limit == 0 {
		limit = 5 * time.Minute
	}
	timer := time.AfterFunc(limit, func() { t.late.Store(true); t.signal(unix.SIGKILL) })
	defer timer.Stop()
	if w.Signals != nil {
		go w.Signals(t.signal)
	}
	err := t.loop()
	t.exit.Late = t.late.Load()
	t.exit.Took = time.Since(start)
	return t.exit, err
}

// A trace is one program under watch, with the processes that it starts.
type trace struct {
	*Watch
	pid     int
	threads map[int]*thread // by thread ID, of all processes
	exit    Exit
	late    flag

	mu   sync.Mutex
	gone bool // the program has been waited for, so its ID may be another's
}

// A thread is one that has been seen.
type thread struct {
	process int
	begun   bool      // its first stop is over
	call    *Boundary // the call that it is in and whose end is wanted
	tear    bool      // kill at that end
}

// signal sends a signal to the program, if it is still there.
func (t *trace) signal(sig syscall.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.gone {
		unix.Kill(t.pid, sig)
	}
}

const options = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACESECCOMP |
	unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC

// begin takes the program, which stands at its first instruction, and lets it go with a filter that stops it at the calls
// of interest.
func (t *trace) begin() error {
	var ws unix.WaitStatus
	if _, err := unix.Wait4(t.pid, &ws, unix.WALL, nil); err != nil {
		return err
	}
	if !ws.Stopped() {
		return fmt.Errorf("it did not start: %v", ws)
	}
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return err
	}
	if err := installFilter(t.pid, t.Sockets); err != nil {
		return err
	}
	t.threads[t.pid] = &thread{process: t.pid, begun: true}
	return unix.PtraceCont(t.pid, 0)
}

// loop handles stops until the program and all that it started are gone.
func (t *trace) loop() error {
	var deadline time.Time
	for {
		var ws unix.WaitStatus
		flags := unix.WALL | unix.WNOTHREAD
		if t.gone {
			flags |= unix.WNOHANG
		}
		tid, err := unix.Wait4(-1, &ws, flags, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return nil
		case err != nil:
			return err
		case tid == 0 && len(t.threads) == 0: // what is left is nothing of the program's
			return nil
		case tid == 0: // only children of the program are left
			if deadline.IsZero() {
				deadline = time.Now().Add(3 * time.Second)
			}
			if time.Now().After(deadline) {
				t.killOrphans()
				deadline = time.Now().Add(3 * time.Second)
			}
			time.Sleep(time.Millisecond)
			continue
		}
		t.handle(tid, ws)
	}
}

func (t *trace) killOrphans() {
	seen := map[int]bool{}
	for _, th := range t.threads {
		if !seen[th.process] {
			seen[th.process] = true
			t.exit.Orphans = append(t.exit.Orphans, th.process)
			unix.Kill(th.process, unix.SIGKILL)
		}
	}
}

func (t *trace) handle(tid int, ws unix.WaitStatus) {
	if ws.Exited() || ws.Signaled() {
		delete(t.threads, tid)
		if tid == t.pid {
			t.mu.Lock()
			t.gone = true
			t.mu.Unlock()
			if ws.Exited() {
				t.exit.Code = ws.ExitStatus()
			} else {
				t.exit.Signal = ws.Signal()
			}
		}
		return
	}
	th := t.threads[tid]
	if th == nil {
		th = &thread{process: processOf(tid)}
		t.threads[tid] = th
	}
	sig := ws.StopSignal()
	switch event := int(ws) >> 16; {
	case event == unix.PTRACE_EVENT_SECCOMP:
		t.enter(tid, th)
	case sig == unix.SIGTRAP|0x80:
		t.leave(tid, th)
	case event != 0:
		if event == unix.PTRACE_EVENT_EXEC {
			th.process = processOf(tid)
		}
		unix.PtraceCont(tid, 0)
	case !th.begun && sig == unix.SIGSTOP:
		th.begun = true
		unix.PtraceCont(tid, 0)
	default:
		unix.PtraceCont(tid, int(sig))
	}
}

// enter is the stop before a call.
func (t *trace) enter(tid int, th *thread) {
	var regs unix.PtraceRegs
	if unix.PtraceGetRegs(tid, &regs) != nil {
		return // it is being killed
	}
	b, ok := t.boundary(th, &regs)
	if !ok {
		unix.PtraceCont(tid, 0)
		return
	}
	switch t.ask(b) {
	case Kill:
		unix.Kill(th.process, unix.SIGKILL)
	case Tear:
		regs.Rdx /= 2
		th.tear = true
		unix.PtraceSetRegs(tid, &regs)
	case Interrupt:
		t.signal(unix.SIGINT)
	}
	th.call = &b
	unix.PtraceSyscall(tid, 0) // fails if it is being killed
}

// leave is the stop after a call.
func (t *trace) leave(tid int, th *thread) {
	if b := th.call; b != nil {
		th.call = nil
		b.After = true
		switch {
		case th.tear:
			unix.Kill(th.process, unix.SIGKILL)
		default:
			switch t.ask(*b) {
			case Kill:
				unix.Kill(th.process, unix.SIGKILL)
			case Interrupt:
				t.signal(unix.SIGINT)
			}
		}
	}
	unix.PtraceCont(tid, 0)
}

// ask counts the boundary and asks what to do.
func (t *trace) ask(b Boundary) Action {
	t.exit.Boundaries++
	if t.At == nil {
		return Go
	}
	a := t.At(t.exit.Boundaries, b)
	if a == Tear && (b.After || !b.Writes()) {
		a = Kill
	}
	if a != Go {
		t.exit.Acted, t.exit.At = true, b
	}
	return a
}

// boundary says which one a thread stands at, if it is of interest.
func (t *trace) boundary(th *thread, r *unix.PtraceRegs) (Boundary, bool) {
	c, ok := calls[int(r.Orig_rax)]
	if !ok {
		return Boundary{}, false
	}
	args := [...]uint64{r.Rdi, r.Rsi, r.Rdx, r.R10}
	var path string
	switch c.what {
	case onFile:
		path, _ = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", th.process, int32(args[0])))
	case onPath:
		path = resolve(th.process, unix.AT_FDCWD, peekString(th.process, args[c.arg]))
	case onPathAt:
		path = resolve(th.process, int(int32(args[c.arg-1])), peekString(th.process, args[c.arg]))
	}
	b := Boundary{Call: c.name, Child: th.process != t.pid}
	if strings.HasPrefix(path, "socket:") {
		b.Path = "socket"
		return b, t.Sockets
	}
	if c.read {
		return b, false
	}
	rel, err := filepath.Rel(t.Root, path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return b, false
	}
	b.Path = rel
	return b, true
}

// resolve makes a path that a call names absolute.
func resolve(process, folder int, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	link := fmt.Sprintf("/proc/%d/cwd", process)
	if folder != unix.AT_FDCWD {
		link = fmt.Sprintf("/proc/%d/fd/%d", process, folder)
	}
	dir, err := os.Readlink(link)
	if err != nil {
		return path
	}
	return filepath.Join(dir, path)
}

// peekString reads a C string of another process.
func peekString(process int, addr uint64) string {
	var text []byte
	for len(text) < unix.PathMax {
		b := make([]byte, 256-int(addr%256)) // does not cross into a page that may not be there
		n, err := unix.ProcessVMReadv(process, []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
		if err != nil || n <= 0 {
			return ""
		}
		for i, c := range b[:n] {
			if c == 0 {
				return string(append(text, b[:i]...))
			}
		}
		text = append(text, b[:n]...)
		addr += uint64(n)
	}
	return string(text)
}

// processOf returns the process that a thread belongs to.
func processOf(tid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Tgid:"); ok {
			var pid int
			fmt.Sscan(rest, &pid)
			return pid
		}
	}
	return tid
}
