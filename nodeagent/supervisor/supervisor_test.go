package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/templates"
)

func TestStartAndStop(t *testing.T) {
	dir := t.TempDir()
	p := program(dir, "one", "live=hello")
	p.Dirs = []controlplane.Dir{{Path: "/data", Mode: 0o700}}
	p.Files = []templates.File{{Path: "/etc/conf", Mode: "0640", Content: []byte("x")}}
	s := start(t, dir, p)
	got := awaitReady(t, s, "one")
	if got.State != templates.Running || !runs(got.PID) || got.Restarts != 0 {
		t.Errorf("status is %+v", got)
	}
	if b, err := os.ReadFile(LogFile(filepath.Join(dir, "log"), "one")); err != nil || string(b) != "hello\n" {
		t.Errorf("log holds %q, %v", b, err)
	}
	if i, err := os.Stat(dir + "/data"); err != nil || i.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", i, err)
	}
	if i, err := os.Stat(dir + "/etc/conf"); err != nil || i.Mode().Perm() != 0o640 {
		t.Errorf("file: %v, %v", i, err)
	}
	if err := s.Set(nil); err != nil {
		t.Fatal(err)
	}
	if runs(got.PID) || len(s.Status()) != 0 {
		t.Errorf("after Set(nil) process %d runs: %v; status %v", got.PID, runs(got.PID), s.Status())
	}
}

func TestKilledProcessIsStartedAgain(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, program(dir, "one", "live"))
	first := awaitReady(t, s, "one")
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := await(t, s, "one", "back", func(p templates.ProcessStatus) bool { return p.Ready && p.Restarts == 1 })
	if second.PID == first.PID || second.LastExit != "signal: killed" {
		t.Errorf("came back as %+v", second)
	}
}

func TestFailingProcessSaysWhy(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, program(dir, "bad", "exit=3"), controlplane.Process{Name: "absent", Path: dir + "/nothing"})
	got := await(t, s, "bad", "in back-off", func(p templates.ProcessStatus) bool { return p.Restarts >= 2 && p.State == templates.BackOff })
	if got.LastExit != "exit status 3" || got.Ready {
		t.Errorf("status is %+v", got)
	}
	got = await(t, s, "absent", "in back-off", func(p templates.ProcessStatus) bool { return p.State == templates.BackOff })
	if !strings.Contains(got.LastExit, "no such file") {
		t.Errorf("status is %+v", got)
	}
}

func TestOrder(t *testing.T) {
	dir := t.TempDir()
	gate := filepath.Join(dir, "gate")
	a, b, c := program(dir, "a", "live"), program(dir, "b", "live"), program(dir, "c", "live")
	a.Gate = func() string {
		if _, err := os.Stat(gate); err != nil {
			return "the gate"
		}
		return ""
	}
	b.After = []string{"a"}
	s := start(t, dir, a, b, c)
	awaitReady(t, s, "c") // waits for nobody
	await(t, s, "a", "waiting", func(p templates.ProcessStatus) bool { return p.WaitingFor == "the gate" })
	await(t, s, "b", "waiting", func(p templates.ProcessStatus) bool { return p.WaitingFor == "a" && p.PID == 0 })
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, s, "b")
	if !s.Ready("a") {
		t.Error("b started before a was ready")
	}
	if err := s.Set([]controlplane.Process{b, a}); err == nil {
		t.Error("b may come before a, which it is to follow")
	}
}

func TestSetRestartsOnlyWhatChanged(t *testing.T) {
	dir := t.TempDir()
	a, b := program(dir, "a", "live"), program(dir, "b", "live")
	s := start(t, dir, a, b)
	a1, b1 := awaitReady(t, s, "a"), awaitReady(t, s, "b")
	a.Once = []string{"new"} // matters for new nodes only
	b.Args = []string{"new"}
	if err := s.Set([]controlplane.Process{a, b}); err != nil {
		t.Fatal(err)
	}
	b2 := await(t, s, "b", "started anew", func(p templates.ProcessStatus) bool { return p.Ready && p.PID != b1.PID })
	if a2 := awaitReady(t, s, "a"); a2.PID != a1.PID {
		t.Errorf("a was restarted: %d, then %d", a1.PID, a2.PID)
	}
	if b2.Restarts != 0 || runs(b1.PID) {
		t.Errorf("b is %+v, its first process runs: %v", b2, runs(b1.PID))
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, program(dir, "one", "live"))
	first := awaitReady(t, s, "one")
	if err := s.Restart("one"); err != nil {
		t.Fatal(err)
	}
	await(t, s, "one", "restarted", func(p templates.ProcessStatus) bool { return p.Ready && p.PID != first.PID })
	if s.Restart("two") == nil {
		t.Error("restarted a process that is not there")
	}
}

func TestStubbornProcessIsKilled(t *testing.T) {
	dir := t.TempDir()
	p := program(dir, "one", "stubborn")
	p.Grace = 50 * time.Millisecond
	s := start(t, dir, p)
	got := awaitReady(t, s, "one")
	if err := s.Set(nil); err != nil {
		t.Fatal(err)
	}
	if runs(got.PID) {
		t.Error("it still runs")
	}
}

func TestStopOrder(t *testing.T) {
	dir := t.TempDir()
	etcd, api := program(dir, "etcd", "live"), program(dir, "api", "stubborn")
	api.Uses, api.Grace = []string{"etcd"}, 300*time.Millisecond
	s := start(t, dir, etcd, api)
	first, second := awaitReady(t, s, "etcd"), awaitReady(t, s, "api")
	done := make(chan error, 1)
	go func() { done <- s.Set(nil) }()
	for runs(second.PID) {
		if !runs(first.PID) {
			t.Fatal("a process ended before the one that uses it")
		}
		time.Sleep(time.Millisecond)
	}
	if err := <-done; err != nil || runs(first.PID) {
		t.Errorf("%v; the used one runs: %v", err, runs(first.PID))
	}
}

// TestCloseCutsSetShort closes a supervisor that waits for a process to end, as when an agent is replaced.
func TestCloseCutsSetShort(t *testing.T) {
	dir := t.TempDir()
	p := program(dir, "one", "stubborn")
	p.Grace = time.Hour
	s, err := New(options(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Set([]controlplane.Process{p}); err != nil {
		t.Fatal(err)
	}
	pid := awaitReady(t, s, "one").PID
	done := make(chan error, 1)
	go func() { done <- s.Set(nil) }()
	await(t, s, "one", "out of the table", func(q templates.ProcessStatus) bool { return q.Name == "" })
	time.Sleep(20 * time.Millisecond)
	s.Close()
	select {
	case err := <-done:
		if err == nil {
			t.Error("Set says that the process has stopped")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Set waits on")
	}
	if !runs(pid) {
		t.Fatal("Close ended the process")
	}
	p.Args, p.Grace = []string{"new"}, 50*time.Millisecond
	next := start(t, dir, p)
	await(t, next, "one", "started anew", func(q templates.ProcessStatus) bool { return q.Ready && q.PID != pid })
	awaitGone(t, pid)
}

// TestAdoption kills a supervisor and looks whether the next one finds its process.
func TestAdoption(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(t *testing.T, dir string) // between the two supervisors
	}{
		{"as it was left", func(*testing.T, string) {}},
		{"killed before it could write its records", func(t *testing.T, dir string) {
			if err := os.Remove(options(dir).Records); err != nil {
				t.Fatal(err)
			}
		}},
		{"with damaged records", func(t *testing.T, dir string) {
			if err := os.WriteFile(options(dir).Records, []byte(`{"kept":{`), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"with records from before a reboot", func(t *testing.T, dir string) {
			if err := os.WriteFile(options(dir).Records, []byte(`{"kept":{"pid":1,"start":1}}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			old := supervise(t, dir)
			pid := readPID(t, filepath.Join(dir, "kept.ready"))
			awaitFile(t, options(dir).Records)
			_ = old.Process.Kill()
			_ = old.Wait()
			test.before(t, dir)
			s := start(t, dir, program(dir, "kept", "live=hello"))
			got := awaitReady(t, s, "kept")
			if got.PID != pid || !got.Adopted {
				t.Fatalf("got %+v, want process %d, adopted", got, pid)
			}
			// And it is looked after: killed, it comes back.
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			await(t, s, "kept", "back", func(p templates.ProcessStatus) bool { return p.Ready && p.PID != pid && !p.Adopted })
		})
	}
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	for range 500 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not appear", path)
}

func TestAdoptedProcessThatIsToRunDifferently(t *testing.T) {
	dir := t.TempDir()
	old := supervise(t, dir)
	pid := readPID(t, filepath.Join(dir, "kept.ready"))
	awaitFile(t, options(dir).Records)
	_ = old.Process.Kill()
	_ = old.Wait()
	p := program(dir, "kept", "live=hello")
	p.Args = []string{"new"}
	s := start(t, dir, p)
	await(t, s, "kept", "started anew", func(p templates.ProcessStatus) bool { return p.Ready && p.PID != pid })
	awaitGone(t, pid)
}

func TestAdoptedProcessThatNobodyWants(t *testing.T) {
	dir := t.TempDir()
	old := supervise(t, dir)
	pid := readPID(t, filepath.Join(dir, "kept.ready"))
	awaitFile(t, options(dir).Records)
	_ = old.Process.Kill()
	_ = old.Wait()
	s := start(t, dir, program(dir, "other", "live"))
	awaitReady(t, s, "other")
	awaitGone(t, pid)
}

func TestCloseLeavesProcessesAlone(t *testing.T) {
	dir := t.TempDir()
	s, err := New(options(dir))
	if err != nil {
		t.Fatal(err)
	}
	spec := program(dir, "one", "live")
	if err := s.Set([]controlplane.Process{spec}); err != nil {
		t.Fatal(err)
	}
	pid := awaitReady(t, s, "one").PID
	s.Close()
	if !runs(pid) {
		t.Fatal("Close ended the process")
	}
	again := start(t, dir, spec)
	if got := awaitReady(t, again, "one"); got.PID != pid {
		t.Errorf("got %+v, want process %d", got, pid)
	}
	again.Kill()
	awaitGone(t, pid)
}

func TestMarkOfAStranger(t *testing.T) {
	// A process with the mark that is called by another name, as a shim of containerd is, is not the process.
	dir := t.TempDir()
	p := program(dir, "shim", "live")
	s := start(t, dir, p)
	pid := awaitReady(t, s, "shim").PID
	for name, want := range map[string]bool{"shim": true, "containerd": false} {
		if got := called("/proc/"+itoa(pid), name+":hash"); got != want {
			t.Errorf("called by %s: got %v, want %v", name, got, want)
		}
	}
	if list := marked(options(dir).Records); list[pid] == "" || len(list) != 1 {
		t.Errorf("marked are %v, want %d alone", list, pid)
	}
	if list := marked("/another/supervisor"); len(list) != 0 {
		t.Errorf("another supervisor's are %v", list)
	}
}

func TestRotate(t *testing.T) {
	dir := t.TempDir()
	path := LogFile(dir, "one")
	write := func(text string) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	read := func(path string) string { b, _ := os.ReadFile(path); return string(b) }
	open, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600) // a process has it open all the time
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	for _, text := range []string{"1111111111", "2222222222", "3333333333", "4444444444", "5555555555"} {
		write(text)
		if err := rotateAll(dir, 10); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open.WriteString("6"); err != nil {
		t.Fatal(err)
	}
	write("7")
	if err := rotateAll(dir, 10); err != nil {
		t.Fatal(err)
	}
	for suffix, want := range map[string]string{"": "67", ".1": "5555555555", ".2": "4444444444", ".3": "3333333333", ".4": ""} {
		if got := read(path + suffix); got != want {
			t.Errorf("log%s holds %q, want %q", suffix, got, want)
		}
	}
	audit := LogFile(dir, "audit")
	if err := os.WriteFile(audit, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rotateAll(dir, 10); err != nil || len(read(audit)) != 100 {
		t.Errorf("the audit log was rotated, which is the API server's own work: %v", err)
	}
}
