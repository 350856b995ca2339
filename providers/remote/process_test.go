package remote_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/remote"
)

// host is a program that uses a plug-in, prints its process ID and then waits: serveForTest runs it in a process of its
// own.
func host(path string) {
	p, err := remote.Open(context.Background(), remote.Options{Path: path, Name: "fakeplug"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	os.Exit(0) // without Close
}

// TestNoOrphan ends the program that uses a plug-in, with SIGKILL and by itself: the plug-in ends too.
func TestNoOrphan(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(*exec.Cmd){
		"SIGKILL": func(c *exec.Cmd) { c.Process.Kill() },
		"SIGTERM": func(c *exec.Cmd) { c.Process.Signal(syscall.SIGTERM) },
	} {
		c := exec.Command(self)
		c.Env = append(os.Environ(), "LIE=host", "PLUGIN="+fakeplug(t))
		c.Stderr = os.Stderr
		in, err1 := c.StdinPipe()
		out, err2 := c.StdoutPipe()
		if err := errors.Join(err1, err2, c.Start()); err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		var pid int
		if _, err := fmt.Fscan(out, &pid); err != nil || syscall.Kill(pid, 0) != nil {
			t.Fatalf("%s: the plug-in's process is %d, %v", name, pid, err)
		}
		end(c)
		_ = c.Wait()
		ended(t, pid)
	}
}

// TestStdinEndsIt ends a plug-in by the end of its stdin alone, which is all that some systems have.
func TestStdinEndsIt(t *testing.T) {
	t.Parallel()
	c := exec.Command(fakeplug(t))
	c.Env = []string{"PROVISION_PROVIDER_PLUGIN=5f2f6b8b-provision-provider", "PLUGIN_PROTOCOL_VERSIONS=1"}
	in, err1 := c.StdinPipe()
	out, err2 := c.StdoutPipe()
	if err := errors.Join(err1, err2, c.Start()); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, "|grpc") {
		t.Fatalf("it says %q, %v", line, err)
	}
	in.Close()
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		c.Process.Kill()
		t.Error("it goes on without stdin")
	}
}

// TestStartedByHand tells a person what the program is.
func TestStartedByHand(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(fakeplug(t)).CombinedOutput()
	if err == nil || !strings.Contains(string(out), `provider plug-in "fakeplug" of provision`) || !strings.Contains(string(out), "provision providers trust fakeplug") {
		t.Errorf("started by hand: %v, %s", err, out)
	}
}

// TestNotAProgram is about files that cannot be started.
func TestNotAProgram(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, mode := range map[string]os.FileMode{"not executable": 0o600, "not a format": 0o700} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte("\x00\x01\x02 text"), mode); err != nil {
			t.Fatal(err)
		}
		_, err := remote.Open(t.Context(), remote.Options{Path: path, Name: "x"})
		var f *remote.Fault
		if !errors.As(err, &f) || f.Reason != remote.Unfit || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(folder, "plugin-dir*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestContext ends the caller's context while the plug-in is at work: the call returns with its error, the plug-in
// stays, and its other calls are left alone.
func TestContext(t *testing.T) {
	t.Parallel()
	p := open(t, map[string]any{"options": `{"latency": {"network.create": "30s", "network.list": "300ms"}}`})
	pid := p.PID()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := p.Networks().List(t.Context(), "demo"); err != nil {
			t.Errorf("List beside it = %v", err)
		}
	})
	for name, ctx := range map[string]func() (context.Context, context.CancelFunc){
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 100*time.Millisecond)
		},
		"cancel": func() (context.Context, context.CancelFunc) {
			c, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			return c, cancel
		},
		"before": func() (context.Context, context.CancelFunc) {
			c, cancel := context.WithCancel(t.Context())
			cancel()
			return c, cancel
		},
	} {
		c, cancel := ctx()
		start := time.Now()
		_, err := p.Networks().Create(c, providers.NetworkSpec{Owner: "demo", Name: name})
		if c.Err() == nil || !errors.Is(err, c.Err()) || providers.KindOf(err) != "" || time.Since(start) > 4*time.Second {
			t.Errorf("%s: Create = %v after %s, want %v", name, err, time.Since(start), c.Err())
		}
		cancel()
	}
	wg.Wait()
	if p.PID() != pid {
		t.Error("the plug-in was started anew")
	}
	if all, err := p.Networks().List(t.Context(), "demo"); err != nil || len(all) > 0 {
		t.Errorf("List = %v, %v, want nothing, as each was ended before its first effect", all, err)
	}
}

// TestDeathUnderLoad kills the plug-in from outside while many calls are in progress: all end, and all go on with one
// new process.
func TestDeathUnderLoad(t *testing.T) {
	t.Parallel()
	p := open(t, map[string]any{"path": filepath.Join(t.TempDir(), "cloud"), "options": `{"latency": {"volume.create": "100ms"}}`})
	first := p.PID()
	time.AfterFunc(50*time.Millisecond, func() { _ = syscall.Kill(first, syscall.SIGKILL) })
	var wg sync.WaitGroup
	var mu sync.Mutex
	pids := map[int]bool{}
	for i := range 20 {
		wg.Go(func() {
			spec := providers.VolumeSpec{Owner: "demo", Name: fmt.Sprintf("v%02d", i), SizeGiB: 1}
			_, err := p.Volumes().Create(t.Context(), spec)
			if !errors.Is(err, providers.Unavailable) {
				t.Errorf("Create while it was killed = %v", err)
			}
			if _, err = p.Volumes().Create(t.Context(), spec); err != nil && !errors.Is(err, providers.Exists) {
				t.Errorf("Create again = %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			pids[p.PID()] = true
		})
	}
	wg.Wait()
	if len(pids) != 1 || pids[first] {
		t.Errorf("the first process was %d; then there were %v", first, pids)
	}
	if all, err := p.Volumes().List(t.Context(), "demo"); err != nil || len(all) != 20 {
		t.Errorf("%d volumes, %v", len(all), err)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	p := open(t, nil)
	pid := p.PID()
	if err := errors.Join(p.Close(), p.Close()); err != nil {
		t.Error(err)
	}
	ended(t, pid)
	if _, err := p.Networks().List(t.Context(), "demo"); !errors.Is(err, providers.Unavailable) {
		t.Errorf("List after Close = %v", err)
	}
}

// TestEnviron names what a plug-in gets of the environment.
func TestEnviron(t *testing.T) {
	got := remote.Environ("rack", []string{"PATH=/bin", "HOME=/h", "LC_ALL=C", "https_proxy=p", "RACK_TOKEN=a", "RACKET=b", "AWS_SECRET_ACCESS_KEY=c",
		"PROVISION_VAR_TOKEN=d", "PROVISION_PASSPHRASE=e", "IPMI_USER=f", "SSH_AUTH_SOCK=g", "nonsense"}, "IPMI_USER", "PROVISION_PASSPHRASE")
	want := []string{"PATH=/bin", "HOME=/h", "LC_ALL=C", "https_proxy=p", "RACK_TOKEN=a", "IPMI_USER=f"}
	if !slices.Equal(got, want) {
		t.Errorf("Environ = %q, want %q", got, want)
	}
}

// TestAttributesArriveAsTheyWere sends every type of value through the pipe.
func TestAttributesArriveAsTheyWere(t *testing.T) {
	t.Parallel()
	o := remote.Options{Path: fakeplug(t), Name: "fakeplug", Attributes: map[string]any{"path": int64(3)}}
	if _, err := remote.Open(t.Context(), o); !errors.Is(err, providers.Invalid) || !strings.Contains(err.Error(), "path must be a string") {
		t.Errorf("Open with a number as path = %v", err)
	}
	o.Attributes = map[string]any{"pth": "x"}
	_, err := remote.Open(t.Context(), o)
	var unknown *providers.UnknownAttributeError
	if !errors.As(err, &unknown) || unknown.Attribute != "pth" || !slices.Equal(unknown.Known, []string{"path", "options", "die", "lie", "token"}) {
		t.Errorf("Open with an unknown attribute = %v", err)
	}
	in := map[string]any{"a": "b", "n": int64(1) << 60, "f": 1.5, "t": true, "l": []any{int64(1), "x"}, "m": map[string]any{"k": 2.5}, "z": nil}
	if out, err := remote.ThroughJSON(in); err != nil || !reflect.DeepEqual(in, out) {
		t.Errorf("through the pipe: %v, %v, want %v", out, err, in)
	}
}

// TestProtoFile holds plugin.proto against the service.
func TestProtoFile(t *testing.T) {
	text, err := os.ReadFile("plugin.proto")
	if err != nil {
		t.Fatal(err)
	}
	names := remote.Calls()
	pkg, service, _ := strings.Cut(names[0], ".Provider")
	for _, want := range append(names[1:], "package "+pkg+";", "service Provider"+service) {
		if !strings.Contains(string(text), want) {
			t.Errorf("plugin.proto has no %q", want)
		}
	}
	if n := strings.Count(string(text), "\n  rpc "); n != len(names)-1 {
		t.Errorf("plugin.proto has %d calls, the service %d", n, len(names)-1)
	}
	for _, n := range providers.Nouns() {
		for _, v := range n.Verbs() {
			if !strings.Contains(string(text), string(v)) || !strings.Contains(string(text), string(n)) {
				t.Errorf("plugin.proto does not tell about %s %s", v, n)
			}
		}
	}
	for _, k := range providers.Kinds() {
		if !strings.Contains(string(text), string(k)) {
			t.Errorf("plugin.proto does not tell about kind %q", k)
		}
	}
}
