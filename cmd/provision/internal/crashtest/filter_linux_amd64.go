package crashtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

type flag = atomic.Bool

// A subject is where a call says what it is about.
type subject int

const (
	onFile   subject = iota // an open file: the first argument
	onPath                  // a path
	onPathAt                // a path in the folder that the argument before says
)

// A call is a system call by which a program changes what others can see.
type call struct {
	name string
	what subject
	arg  int  // of the path
	read bool // it counts on sockets only
}

var calls = map[int]call{
	unix.SYS_WRITE:     {name: "write"},
	unix.SYS_PWRITE64:  {name: "pwrite64"},
	unix.SYS_WRITEV:    {name: "writev"},
	unix.SYS_READ:      {name: "read", read: true},
	unix.SYS_FSYNC:     {name: "fsync"},
	unix.SYS_FDATASYNC: {name: "fdatasync"},
	unix.SYS_FTRUNCATE: {name: "ftruncate"},
	unix.SYS_FLOCK:     {name: "flock"},
	unix.SYS_TRUNCATE:  {name: "truncate", what: onPath},
	unix.SYS_MKDIR:     {name: "mkdir", what: onPath},
	unix.SYS_RMDIR:     {name: "rmdir", what: onPath},
	unix.SYS_UNLINK:    {name: "unlink", what: onPath},
	unix.SYS_RENAME:    {name: "rename", what: onPath, arg: 1},
	unix.SYS_LINK:      {name: "link", what: onPath, arg: 1},
	unix.SYS_MKDIRAT:   {name: "mkdir", what: onPathAt, arg: 1},
	unix.SYS_UNLINKAT:  {name: "unlink", what: onPathAt, arg: 1},
	unix.SYS_RENAMEAT:  {name: "rename", what: onPathAt, arg: 3},
	unix.SYS_RENAMEAT2: {name: "rename", what: onPathAt, arg: 3},
	unix.SYS_LINKAT:    {name: "link", what: onPathAt, arg: 3},
	unix.SYS_OPENAT:    {name: "create", what: onPathAt, arg: 1},
}

// filter is a seccomp program that reports those calls to the tracer; an open only if it may make or empty a file, a read only
// if sockets count.
func filter(sockets bool) []unix.SockFilter {
	const nr, arg2 = 0, 16 + 2*8 // offsets in struct seccomp_data
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	report := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_TRACE}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	p := []unix.SockFilter{load(nr)}
	for n, c := range calls {
		if n != unix.SYS_OPENAT && (sockets || !c.read) {
			p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(n)}, report)
		}
	}
	return append(p,
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_OPENAT},
		load(arg2),
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jf: 1, K: unix.O_CREAT | unix.O_TRUNC},
		report, allow)
}

// installFilter makes the process, which has just begun to execute a program, install the filter: two system calls are
// written over its first instructions, made, and taken away again. So the program itself is as it is shipped.
func installFilter(pid int, sockets bool) error {
	var saved unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &saved); err != nil {
		return err
	}
	p := filter(sockets)
	var code []byte
	for _, f := range p {
		code = binary.LittleEndian.AppendUint16(code, f.Code)
		code = append(code, f.Jt, f.Jf)
		code = binary.LittleEndian.AppendUint32(code, f.K)
	}
	at := (saved.Rsp - 4096) &^ 15 // below the stack, where nothing is yet
	head := binary.LittleEndian.AppendUint64(nil, uint64(len(p)))
	head = binary.LittleEndian.AppendUint64(head, at+16)
	if _, err := unix.PtracePokeData(pid, uintptr(at), append(head, code...)); err != nil {
		return fmt.Errorf("write the filter: %w", err)
	}
	was := make([]byte, 8)
	if _, err := unix.PtracePeekText(pid, uintptr(saved.Rip), was); err != nil {
		return err
	}
	insn := append([]byte{0x0f, 0x05}, was[2:]...) // syscall
	if _, err := unix.PtracePokeText(pid, uintptr(saved.Rip), insn); err != nil {
		return err
	}
	err := inject(pid, saved, unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
	if err == nil {
		err = inject(pid, saved, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, at)
	}
	if _, perr := unix.PtracePokeText(pid, uintptr(saved.Rip), was); err == nil {
		err = perr
	}
	if serr := unix.PtraceSetRegs(pid, &saved); err == nil {
		err = serr
	}
	return err
}

// inject makes the stopped process make a system call at its instruction pointer, where one is.
func inject(pid int, regs unix.PtraceRegs, nr, a, b, c uint64) error {
	regs.Rax, regs.Orig_rax, regs.Rdi, regs.Rsi, regs.Rdx, regs.R10, regs.R8 = nr, ^uint64(0), a, b, c, 0, 0
	if err := unix.PtraceSetRegs(pid, &regs); err != nil {
		return err
	}
	if err := unix.PtraceSingleStep(pid); err != nil {
		return err
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != nil {
		return err
	}
	if !ws.Stopped() {
		return errors.New("it ended")
	}
	if err := unix.PtraceGetRegs(pid, &regs); err != nil {
		return err
	}
	if e := int64(regs.Rax); e < 0 {
		return fmt.Errorf("system call %d: %w", nr, unix.Errno(-e))
	}
	return nil
}
