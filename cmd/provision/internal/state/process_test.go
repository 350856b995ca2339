package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets this program also be the other process of a test.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "age-plugin-statetest" {
		os.Exit(agePlugin())
	}
	if what := os.Getenv("STATE_TEST_CHILD"); what != "" {
		if err := child(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child does what the test asks for with the state in the environment's folders.
func child(what string) error {
	o := Options{Cluster: "demo", Command: "provision " + what, Folder: os.Getenv("STATE_TEST_FOLDER"), Identity: os.Getenv("STATE_TEST_IDENTITY"), Seen: os.Getenv("STATE_TEST_SEEN")}
	switch what {
	case "full-disk", "read-only-disk":
		return onDisk(what, o)
	case "write":
		return writeUntilTold(o)
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		return err
	}
	switch what {
	case "hold":
		fmt.Println("held")
		select {}
	case "append":
		for i := 0; ; i++ {
			if err := s.Append(Record{Type: Note, Address: fmt.Sprintf("n[%d]", i)}); err != nil {
				return err
			}
			fmt.Println(i)
		}
	case "secrets":
		for i := 0; ; i++ {
			if err := s.SetSecrets(map[string][]byte{"a": fmt.Append(nil, i), "b": fmt.Append(nil, i)}); err != nil {
				return err
			}
			fmt.Println(i)
		}
	case "limit":
		return underLimit(s)
	}
	return fmt.Errorf("no such child: %s", what)
}

// command prepares this program as the other process.
func command(t *testing.T, o Options, what string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	c := exec.CommandContext(t.Context(), exe)
	c.Env = append(os.Environ(), "STATE_TEST_CHILD="+what, "STATE_TEST_FOLDER="+o.Folder, "STATE_TEST_IDENTITY="+o.Identity, "STATE_TEST_SEEN="+o.Seen)
	c.Stderr = os.Stderr
	return c
}

// start starts the other process and returns what it says, line by line.
func start(t *testing.T, o Options, what string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	c := command(t, o, what)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return c, bufio.NewScanner(out)
}

// TestTwoProcesses: the second learns who the first is; when the first is killed, its lock is gone with it.
func TestTwoProcesses(t *testing.T) {
	o := filled(t, 1)
	c, lines := start(t, o, "hold")
	if !lines.Scan() || lines.Text() != "held" {
		t.Fatalf("the other process says %q", lines.Text())
	}
	e := openError[*LockedError](t, o)
	if h := e.Holder; h.PID != c.Process.Pid || h.Command != "provision hold" || h.Host != hostname() || h.User == "" || time.Since(h.Since) > time.Minute {
		t.Errorf("the holder is %+v; want process %d", h, c.Process.Pid)
	}
	if !strings.Contains(e.Error(), "provision hold") || !strings.Contains(e.Error(), fmt.Sprint(c.Process.Pid)) {
		t.Errorf("the error says %q", e)
	}
	must(t, c.Process.Kill())
	c.Wait()
	must(t, mustOpen(t, o).Close())
}

func TestTwoInOneProcess(t *testing.T) {
	o := options(t)
	s := mustOpen(t, o)
	if e := openError[*LockedError](t, o); e.Holder.PID != os.Getpid() || !e.Holder.Since.Equal(noon) {
		t.Errorf("the holder is %+v", e.Holder)
	}
	must(t, s.Close())
	must(t, s.Close())
	must(t, mustOpen(t, o).Close())
}

// TestLockUnderRemoval: of many who come and go, with the folder removed under them, no two hold the lock at once.
func TestLockUnderRemoval(t *testing.T) {
	o := options(t)
	o.Wait = 20 * time.Millisecond
	inside := make(chan struct{}, 1)
	done := make(chan int)
	for range 8 {
		go func() {
			won := 0
			for range 10 {
				s, err := Open(t.Context(), o)
				if err != nil {
					var locked *LockedError
					if !errors.As(err, &locked) {
						t.Error(err)
					}
					continue
				}
				select {
				case inside <- struct{}{}:
				default:
					t.Error("two hold the lock")
				}
				won++
				err = s.Append(Record{Type: Note})
				<-inside
				if err := errors.Join(err, s.Remove()); err != nil {
					t.Error(err)
				}
			}
			done <- won
		}()
	}
	won := 0
	for range 8 {
		won += <-done
	}
	if won < 10 {
		t.Errorf("the lock was taken %d times; want more", won)
	}
}

// TestKilledAtAnyPoint: what Append said is written is there after a kill, in order, and the next process goes on.
func TestKilledAtAnyPoint(t *testing.T) {
	o := options(t)
	for round := range 8 {
		c, lines := start(t, o, "append")
		said := -1
		for lines.Scan() {
			if fmt.Sscan(lines.Text(), &said); said >= 3+round {
				break
			}
		}
		time.Sleep(time.Duration(round*137) * time.Microsecond)
		must(t, c.Process.Kill())
		for lines.Scan() {
			fmt.Sscan(lines.Text(), &said)
		}
		c.Wait()
		s := mustOpen(t, o)
		rs := s.Records()
		if len(rs) < said+1 {
			t.Errorf("round %d: %d records; %d were said to be written", round, len(rs), said+1)
		}
		for i, r := range rs {
			if r.Address != fmt.Sprintf("n[%d]", i) {
				t.Errorf("round %d: record %d is %s", round, i, r.Address)
			}
		}
		must(t, s.Remove())
	}
}

// TestSecretsKilledAtAnyPoint: after a kill all secrets are those of one call, and not an older one than was said.
func TestSecretsKilledAtAnyPoint(t *testing.T) {
	o := options(t)
	for round := range 8 {
		c, lines := start(t, o, "secrets")
		lines.Scan()
		time.Sleep(time.Duration(round*311) * time.Microsecond)
		must(t, c.Process.Kill())
		said := 0
		for ok := true; ok; ok = lines.Scan() {
			fmt.Sscan(lines.Text(), &said)
		}
		c.Wait()
		s := mustOpen(t, o)
		a, _ := s.Secret("a")
		b, _ := s.Secret("b")
		got := -1
		fmt.Sscan(string(a), &got)
		if string(a) != string(b) || got < said {
			t.Errorf("round %d: secrets %q and %q; want equal, and at least %d", round, a, b, said)
		}
		must(t, s.Close())
		if in, _ := filepath.Glob(filepath.Join(o.Folder, temporary)); len(in) > 0 {
			t.Errorf("round %d: left %v", round, in)
		}
	}
}

// TestHalfWrite: a write that ends halfway is undone, and later ones succeed.
func TestHalfWrite(t *testing.T) {
	o := options(t)
	out, err := command(t, o, "limit").Output()
	if err != nil || string(out) != "ok\n" {
		t.Fatalf("the other process: %q, %v", out, err)
	}
	s := mustOpen(t, o)
	if _, dropped := s.Dropped(); dropped != 0 || len(s.Records()) != 2 || s.Records()[1].Address != "after" {
		t.Errorf("dropped %d, records %v; want 0, before and after", dropped, s.Records())
	}
}

// journalFile is the journal of an open state.
func journalFile(s *State) string {
	all, _ := filepath.Glob(filepath.Join(s.Folder(), "journal.*"))
	return strings.Join(all, "")
}

// underLimit appends with room for half a record, then with room again.
func underLimit(s *State) error {
	signal.Ignore(syscall.SIGXFSZ)
	if err := s.Append(Record{Type: Note, Address: "before"}); err != nil {
		return err
	}
	fi, err := os.Stat(journalFile(s))
	if err != nil {
		return err
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(fi.Size()) + 20, Max: was.Max}); err != nil {
		return err
	}
	if err := s.Append(Record{Type: Note, Address: "lost"}); !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("Append beyond the limit = %v", err)
	}
	if now, err := os.Stat(journalFile(s)); err != nil || now.Size() != fi.Size() {
		return fmt.Errorf("the journal has %d bytes after half a write, and had %d: %v", now.Size(), fi.Size(), err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	if err := s.Append(Record{Type: Note, Address: "after"}); err != nil {
		return err
	}
	fmt.Println("ok")
	return nil
}

// TestDisks runs on disks of their own, in a mount namespace: one that is full, and one that is read-only.
func TestDisks(t *testing.T) {
	for _, what := range []string{"full-disk", "read-only-disk"} {
		t.Run(what, func(t *testing.T) {
			o := options(t)
			o.Folder = filepath.Join(t.TempDir(), "disk", "demo")
			must(t, os.MkdirAll(filepath.Dir(o.Folder), 0o700))
			c := command(t, o, what)
			c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
			if os.Geteuid() != 0 {
				c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
				c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
				c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
			}
			out, err := c.Output()
			if errors.Is(err, fs.ErrPermission) {
				t.Skip("this system lets nobody but root have a mount namespace")
			}
			if err != nil || string(out) != "ok\n" {
				t.Fatalf("the other process: %q, %v", out, err)
			}
		})
	}
}

// onDisk puts a small disk where the state is to be.
func onDisk(what string, o Options) error {
	disk := filepath.Dir(o.Folder)
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=64k,mode=700"); err != nil {
		return err
	}
	if what == "read-only-disk" {
		if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			return err
		}
		_, err := Open(context.Background(), o)
		var access *AccessError
		if !errors.As(err, &access) {
			return fmt.Errorf("Open on a read-only disk = %v (%T)", err, err)
		}
		fmt.Println("ok")
		return nil
	}
	s, err := Open(context.Background(), o)
	if err != nil {
		return err
	}
	if err := s.SetSecrets(map[string][]byte{"small": {1}}); err != nil {
		return err
	}
	var space *SpaceError
	if err := s.SetSecrets(map[string][]byte{"large": make([]byte, 100_000)}); !errors.As(err, &space) {
		return fmt.Errorf("SetSecrets on a full disk = %v (%T)", err, err)
	}
	written := 0
	for ; err == nil; written++ {
		err = s.Append(Record{Type: Note, Address: strings.Repeat("x", 5000)})
	}
	if !errors.As(err, &space) {
		return fmt.Errorf("Append on a full disk = %v (%T)", err, err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	if _, err = Open(context.Background(), o); !errors.As(err, &space) {
		return fmt.Errorf("Open for writing on a full disk = %v (%T)", err, err)
	}
	o.ReadOnly = true
	s, err = Open(context.Background(), o)
	if err != nil {
		return fmt.Errorf("Open for reading after the disk was full: %w", err)
	}
	if _, ok := s.Secret("small"); !ok || len(s.Records()) != written-1 {
		return fmt.Errorf("after the disk was full: %d records, the secret is there: %v; want %d, true", len(s.Records()), ok, written-1)
	}
	fmt.Println("ok")
	return nil
}
