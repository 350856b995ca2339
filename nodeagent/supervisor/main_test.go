package supervisor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/templates"
)

// TestMain makes the test program also the programs that it supervises: what they do is in the environment.
func TestMain(m *testing.M) {
	mode, arg, _ := strings.Cut(os.Getenv("SUPERVISOR_TEST"), "=")
	switch mode {
	case "":
		os.Exit(m.Run())
	case "live": // until asked to end
		say(arg)
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		<-c
	case "stubborn": // until killed
		signal.Ignore(syscall.SIGTERM)
		say(arg)
		time.Sleep(time.Hour)
	case "exit":
		code, _ := strconv.Atoi(arg)
		os.Exit(code)
	case "supervise": // like a node agent: arg is its folder
		s, err := New(options(arg))
		if err != nil {
			panic(err)
		}
		if err := s.Set([]controlplane.Process{program(arg, "kept", "live=hello")}); err != nil {
			panic(err)
		}
		time.Sleep(time.Hour)
	}
}

// say prints the text and keeps the fact that it did in the file that READY names.
func say(text string) {
	fmt.Println(text)
	if path := os.Getenv("READY"); path != "" {
		_ = os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0o600)
	}
}

func options(dir string) Options {
	return Options{Records: filepath.Join(dir, "run/processes.json"), Logs: filepath.Join(dir, "log"), Root: dir}
}

// program is this test program in a mode. It is ready when it says so. Its link bears the process's name, as the programs
// of a bundle do.
func program(dir, name, mode string) controlplane.Process {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	link := filepath.Join(dir, name)
	_ = os.Symlink(self, link)
	ready := filepath.Join(dir, name+".ready")
	return controlplane.Process{
		Name: name, Path: link, Env: []string{"SUPERVISOR_TEST=" + mode, "READY=" + ready, "GORACE=atexit_sleep_ms=0"}, Grace: 2 * time.Second,
		Ready: func(context.Context) error { _, err := os.Stat(ready); return err },
	}
}

// start returns a supervisor in a folder, whose processes end with the test.
func start(t *testing.T, dir string, specs ...controlplane.Process) *Supervisor {
	t.Helper()
	s, err := New(options(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	if err := s.Set(specs); err != nil {
		t.Fatal(err)
	}
	return s
}

// await waits until a process's status is as wanted.
func await(t *testing.T, s *Supervisor, name, want string, ok func(templates.ProcessStatus) bool) templates.ProcessStatus {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		changed := s.Changed()
		var last templates.ProcessStatus
		for _, p := range s.Status() {
			if p.Name == name {
				last = p
			}
		}
		if ok(last) {
			return last
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%s is not %s: %+v", name, want, last)
		}
	}
}

func awaitReady(t *testing.T, s *Supervisor, name string) templates.ProcessStatus {
	t.Helper()
	return await(t, s, name, "ready", func(p templates.ProcessStatus) bool { return p.Ready })
}

func runs(pid int) bool {
	_, zombie, err := startTime(pid)
	return err == nil && !zombie
}

func awaitGone(t *testing.T, pid int) {
	t.Helper()
	for range 500 {
		if !runs(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("process %d still runs", pid)
}

// supervise starts a supervisor in a process of its own, to be killed.
func supervise(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "SUPERVISOR_TEST=supervise="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func readPID(t *testing.T, path string) int {
	t.Helper()
	for range 500 {
		if b, err := os.ReadFile(path); err == nil {
			if pid, err := strconv.Atoi(string(b)); err == nil {
				return pid
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nobody wrote %s", path)
	return 0
}
