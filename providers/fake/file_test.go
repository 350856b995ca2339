package fake_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// TestMain lets the test's own program be another process of TestManyProcesses.
func TestMain(m *testing.M) {
	if path := os.Getenv("FAKE_TEST_PATH"); path != "" {
		if err := another(path, os.Getenv("FAKE_TEST_NAME")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// another makes machines of its own and one that all processes make.
func another(path, name string) error {
	f, err := fake.Open(path, fake.Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	n, err := f.Networks().Create(ctx, network("main"))
	if err != nil && !errors.Is(err, providers.Exists) {
		return err
	}
	for i := range 20 {
		if _, err := f.Machines().Create(ctx, machine(n.ID, fmt.Sprintf("%s-%d", name, i))); err != nil {
			return err
		}
		if _, err := f.Machines().Create(ctx, machine(n.ID, fmt.Sprintf("all-%d", i))); err != nil && !errors.Is(err, providers.Exists) {
			return err
		}
	}
	return nil
}

func TestManyProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const processes = 4
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			c := exec.CommandContext(t.Context(), self)
			c.Env = append(os.Environ(), "FAKE_TEST_PATH="+path, fmt.Sprintf("FAKE_TEST_NAME=p%d", i))
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("process %d: %v: %s", i, err, out)
			}
		})
	}
	wg.Wait()
	f := open(t, path, fake.Options{})
	all := must[[]providers.Machine](t)(f.Machines().List(t.Context(), "demo"))
	if want := (processes + 1) * 20; len(all) != want {
		t.Errorf("there are %d machines, want %d", len(all), want)
	}
	addrs := map[string]string{}
	for _, m := range all {
		if other, twice := addrs[m.Private.String()]; twice || m.Partial {
			t.Errorf("%s (Partial %v) has the address of %q", m.Name, m.Partial, other)
		}
		addrs[m.Private.String()] = m.Name
	}
	if n := must[[]providers.Network](t)(f.Networks().List(t.Context(), "demo")); len(n) != 1 {
		t.Errorf("there are %d networks, want one", len(n))
	}
}

func TestWhatAKilledWriterLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud")
	f := open(t, path, fake.Options{})
	n := must[providers.Network](t)(f.Networks().Create(t.Context(), network("main")))
	whole := must[[]byte](t)(os.ReadFile(path))
	must[providers.Machine](t)(f.Machines().Create(t.Context(), machine(n.ID, "m")))
	data := must[[]byte](t)(os.ReadFile(path))
	for cut := len(whole); cut < len(data); cut += 37 {
		if err := os.WriteFile(path, data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		f := open(t, path, fake.Options{})
		m, err := f.Machines().Create(t.Context(), machine(n.ID, "m"))
		if err != nil || m.Partial {
			t.Fatalf("cut at %d: Create = %+v, %v", cut, m, err)
		}
		other := open(t, path, fake.Options{})
		all := must[[]providers.Machine](t)(other.Machines().List(t.Context(), "demo"))
		if len(all) != 1 || !reflect.DeepEqual(all[0], m) {
			t.Errorf("cut at %d: List = %+v, want %+v", cut, all, m)
		}
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	folder := t.TempDir()
	for name, data := range map[string]string{
		"text":    "hello\n",
		"empty":   "",
		"version": `{"fake":2,"id":"X"}` + "\n",
		"noun":    `{"fake":1,"id":"X"}` + "\n" + `{"id":"planet.demo.a.1","row":{}}` + "\n",
		"id":      `{"fake":1,"id":"X"}` + "\n" + `{"id":"machine.demo..1","row":{}}` + "\n",
		"row":     `{"fake":1,"id":"X"}` + "\n" + `{"id":"machine.demo.a.1","row":{"object":3}}` + "\n",
		"garbage": `{"fake":1,"id":"X"}` + "\n" + "\x00\x00\x00\n",
	} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := fake.Open(path, fake.Options{})
		if !errors.Is(err, providers.Invalid) || !strings.Contains(fmt.Sprint(err), path) {
			t.Errorf("%s: Open = %v, want Invalid and the path", name, err)
		}
		if after := must[[]byte](t)(os.ReadFile(path)); string(after) != data {
			t.Errorf("%s: Open changed the file to %q", name, after)
		}
	}
	if _, err := fake.Open(filepath.Join(folder, "text", "below"), fake.Options{}); !errors.Is(err, providers.Unavailable) {
		t.Errorf("Open below a file = %v, want Unavailable", err)
	}
	if _, err := fake.Open(filepath.Join(folder, "new"), fake.Options{Lag: -1}); !errors.Is(err, providers.Invalid) {
		t.Errorf("Open with bad options = %v, want Invalid", err)
	}
}

// TestRewritten lets one Fake make the file small while another goes on with it.
func TestRewritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud")
	old := open(t, path, fake.Options{})
	kept := must[providers.Network](t)(old.Networks().Create(t.Context(), network("kept")))
	spec := providers.VolumeSpec{Owner: "demo", Name: "v", SizeGiB: 1}
	for range 600 {
		v := must[providers.Volume](t)(old.Volumes().Create(t.Context(), spec))
		if err := old.Volumes().Delete(t.Context(), v.ID); err != nil {
			t.Fatal(err)
		}
	}
	before := must[os.FileInfo](t)(os.Stat(path)).Size()
	fresh := open(t, path, fake.Options{})
	if after := must[os.FileInfo](t)(os.Stat(path)).Size(); after > before/50 {
		t.Errorf("the file had %d bytes and has %d", before, after)
	}
	for _, f := range []*fake.Fake{old, fresh} {
		if n, err := f.Networks().Get(t.Context(), kept.ID); err != nil || !reflect.DeepEqual(n, kept) {
			t.Errorf("Get = %+v, %v, want %+v", n, err, kept)
		}
	}
	v := must[providers.Volume](t)(old.Volumes().Create(t.Context(), spec))
	if v.ID != "volume.demo.v.601" {
		t.Errorf("the 601st volume of the name is %s: IDs must not come back", v.ID)
	}
	if _, err := fresh.Volumes().Create(t.Context(), spec); !errors.Is(err, providers.Exists) {
		t.Errorf("the other one's Create = %v, want Exists", err)
	}
}

func TestRemovedFileIsAnEmptyVendor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud")
	f := open(t, path, fake.Options{})
	must[providers.Network](t)(f.Networks().Create(t.Context(), network("main")))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if all := must[[]providers.Network](t)(f.Networks().List(t.Context(), "demo")); len(all) != 0 {
		t.Errorf("without its file it has %+v", all)
	}
	must[providers.Network](t)(f.Networks().Create(t.Context(), network("main")))
	if info := must[os.FileInfo](t)(os.Stat(path)); info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %s", info.Mode())
	}
}

func TestContextEndsTheWaitForTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud")
	f := open(t, path, fake.Options{})
	held := must[*os.File](t)(os.OpenFile(path+".lock", os.O_RDWR, 0))
	defer held.Close()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := f.Networks().Create(ctx, network("main")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Create while another process has the lock = %v, want the context's error", err)
	}
	if all := must[[]providers.Network](t)(f.Networks().List(t.Context(), "demo")); len(all) != 0 {
		t.Errorf("there is %+v", all)
	}
}

// TestFailedWriteLeavesNothing lets the file be one that cannot be written.
func TestFailedWriteLeavesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud")
	f := open(t, path, fake.Options{})
	if err := os.Mkdir(path+".new", 0o700); err != nil { // where the first file would be written
		t.Fatal(err)
	}
	if _, err := f.Networks().Create(t.Context(), network("main")); !errors.Is(err, providers.Unavailable) {
		t.Errorf("Create = %v, want Unavailable", err)
	}
	if all, err := f.Networks().List(t.Context(), "demo"); err != nil || len(all) != 0 || f.Writes() != 0 {
		t.Errorf("List = %+v, %v, and %d writes; want none", all, err, f.Writes())
	}
}
