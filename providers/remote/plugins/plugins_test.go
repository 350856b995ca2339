package plugins_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/remote/plugins"
)

// place returns a place with two folders, and in each the programs that are named with their text.
func place(t *testing.T, first, second map[string]string) plugins.Place {
	t.Helper()
	root := t.TempDir()
	p := plugins.Place{Trust: filepath.Join(root, "config", "plugins.json")}
	for name, programs := range map[string]map[string]string{"1": first, "2": second} {
		folder := filepath.Join(root, name)
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range programs {
			put(t, filepath.Join(folder, file), text)
		}
	}
	p.Folders = []string{filepath.Join(root, "1"), filepath.Join(root, "2"), filepath.Join(root, "none")}
	return p
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestFindFor is which program goes to nodes; those of other architectures are found by their whole name, to be trusted.
func TestFindFor(t *testing.T) {
	p := place(t, map[string]string{"provision-provider-rack": "a", "provision-provider-rack-linux-arm64": "b"}, map[string]string{"provision-provider-rack-linux-mips": "c"})
	for arch, want := range map[string]string{"amd64": "rack", "arm64": "rack-linux-arm64"} {
		if f, err := p.FindFor("rack", arch); err != nil || f.Name != want {
			t.Errorf("FindFor(%s) = %+v, %v, want %s", arch, f, err, want)
		}
	}
	if f, err := p.Find("rack-linux-arm64"); err != nil || filepath.Base(f.Path) != "provision-provider-rack-linux-arm64" {
		t.Errorf("Find = %+v, %v", f, err)
	}
	for _, name := range []string{"rack-linux-mips", "rack-linux-", "rack-", "-linux-arm64", "rack-linux-arm64-linux-arm64"} {
		if f, err := p.Find(name); !errors.Is(err, providers.NotFound) {
			t.Errorf("Find(%q) = %+v, %v, want NotFound", name, f, err)
		}
	}
}

func TestFind(t *testing.T) {
	p := place(t, map[string]string{"provision-provider-rack": "a", "other": "b"},
		map[string]string{"provision-provider-rack": "c", "provision-provider-attic": "d", "provision-provider-Odd_name": "e"})
	if err := os.Mkdir(filepath.Join(p.Folders[0], "provision-provider-folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"rack": p.Folders[0], "attic": p.Folders[1]} {
		if f, err := p.Find(name); err != nil || f.Name != name || filepath.Dir(f.Path) != want {
			t.Errorf("Find(%q) = %+v, %v, want it in %s", name, f, err, want)
		}
	}
	for _, name := range []string{"", "none", "folder", "Odd_name", "../1/provision-provider-rack", "/bin/sh", "a b"} {
		if f, err := p.Find(name); !errors.Is(err, providers.NotFound) {
			t.Errorf("Find(%q) = %+v, %v, want NotFound", name, f, err)
		}
	}
	var names []string
	for _, f := range p.List() {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "attic rack" {
		t.Errorf("List has %q, want attic and rack", got)
	}
}

// refusal verifies and returns why not.
func refusal(t *testing.T, p plugins.Place, f plugins.Found, pins ...string) plugins.Reason {
	t.Helper()
	err := p.Verify(f, pins)
	var r *plugins.Refusal
	if err != nil && !errors.As(err, &r) {
		t.Fatalf("Verify = %v, want a Refusal", err)
	}
	if r == nil {
		return ""
	}
	if text, _ := r.Advice(); text == "" || !strings.Contains(r.Error(), r.Path) {
		t.Errorf("the refusal %q has no advice %q or does not name the file", r, text)
	}
	return r.Reason
}

func TestTrust(t *testing.T) {
	p := place(t, map[string]string{"provision-provider-rack": "one", "provision-provider-attic": "two"}, nil)
	rack, _ := p.Find("rack")
	attic, _ := p.Find("attic")
	expect := func(when string, f plugins.Found, want plugins.Reason, pins ...string) {
		t.Helper()
		if got := refusal(t, p, f, pins...); got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	expect("at first", rack, plugins.Untrusted)
	sum, err := p.TrustIt(rack)
	if err != nil || len(sum) != 64 {
		t.Fatalf("TrustIt = %q, %v", sum, err)
	}
	expect("trusted", rack, "")
	expect("the other", attic, plugins.Untrusted)
	if info, err := os.Stat(p.Trust); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of trust: %v, %v, want 0600", info.Mode(), err)
	}
	put(t, rack.Path, "another")
	expect("changed", rack, plugins.Changed)
	if err := p.Verify(rack, nil); !strings.Contains(err.Error(), sum) || strings.Count(err.Error(), " had ") != 1 {
		t.Errorf("changed: %v, want both sums", err)
	}
	zeros := strings.Repeat("0", 64)
	now, _ := plugins.Sum(rack.Path)
	expect("pinned", rack, "", strings.ToUpper(now))
	expect("one of two pins", rack, "", zeros, now)
	if _, err := p.TrustIt(rack); err != nil {
		t.Fatal(err)
	}
	expect("trusted again", rack, "")
	expect("trusted, but pinned to another", rack, plugins.Changed, zeros)
	if had, err := p.Forget("rack"); !had || err != nil {
		t.Errorf("Forget = %v, %v", had, err)
	}
	if had, err := p.Forget("rack"); had || err != nil {
		t.Errorf("Forget again = %v, %v", had, err)
	}
	expect("forgotten", rack, plugins.Untrusted)
}

func TestUnsafe(t *testing.T) {
	p := place(t, map[string]string{"provision-provider-rack": "one"}, nil)
	f, _ := p.Find("rack")
	if _, err := p.TrustIt(f); err != nil {
		t.Fatal(err)
	}
	above := filepath.Dir(p.Folders[0])
	for _, c := range []struct {
		path      string
		bad, good os.FileMode
		want      plugins.Reason
	}{
		{f.Path, 0o757, 0o755, plugins.Unsafe},
		{p.Folders[0], 0o777, 0o755, plugins.Unsafe},
		{p.Folders[0], 0o777 | os.ModeSticky, 0o755, ""}, // others can make files there, and not replace ours
		{above, 0o777, 0o755, plugins.Unsafe},
		{p.Trust, 0o666, 0o600, plugins.Unsafe},
	} {
		if err := os.Chmod(c.path, c.bad); err != nil {
			t.Fatal(err)
		}
		if got := refusal(t, p, f); got != c.want {
			t.Errorf("%s with mode %v: %q, want %q", c.path, c.bad, got, c.want)
		}
		if err := os.Chmod(c.path, c.good); err != nil {
			t.Fatal(err)
		}
		if got := refusal(t, p, f); got != "" {
			t.Errorf("%s with mode %v: %q", c.path, c.good, got)
		}
	}
	link := filepath.Join(p.Folders[1], "provision-provider-linked")
	target := filepath.Join(above, "open", "program")
	if err := errors.Join(os.Mkdir(filepath.Dir(target), 0o755), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	put(t, target, "x")
	if err := os.Chmod(filepath.Dir(target), 0o777); err != nil {
		t.Fatal(err)
	}
	l, err := p.Find("linked")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.TrustIt(l); err == nil {
		t.Error("a link into a folder that everybody can write to is trusted")
	}
}

func TestDamagedTrust(t *testing.T) {
	p := place(t, map[string]string{"provision-provider-rack": "one"}, nil)
	f, _ := p.Find("rack")
	if err := os.Mkdir(filepath.Dir(p.Trust), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{", `{"version":2}`, `[]`} {
		if err := os.WriteFile(p.Trust, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(f, nil); err == nil || !strings.Contains(err.Error(), p.Trust) {
			t.Errorf("with %q as file of trust: %v, want an error with its path", text, err)
		}
		if _, err := p.TrustIt(f); err == nil {
			t.Errorf("TrustIt wrote over %q", text)
		}
	}
}

func TestTrustAtTheSameTime(t *testing.T) {
	programs := map[string]string{}
	for _, n := range "abcdefgh" {
		programs["provision-provider-"+string(n)] = string(n)
	}
	p := place(t, programs, nil)
	var wg sync.WaitGroup
	for _, f := range p.List() {
		wg.Go(func() {
			if _, err := p.TrustIt(f); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, f := range p.List() {
		if got := refusal(t, p, f); got != "" {
			t.Errorf("%s was trusted and is %q", f.Name, got)
		}
	}
}

func TestPins(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for _, c := range []struct {
		attribute any
		want      int
		ok        bool
	}{
		{nil, 0, true}, {sum, 1, true}, {[]any{sum, sum}, 2, true},
		{"", 0, false}, {"abc", 0, false}, {sum + "00", 0, false}, {[]any{}, 0, false}, {[]any{3}, 0, false}, {true, 0, false}, {[]any{sum, ""}, 0, false},
	} {
		got, err := plugins.Pins(c.attribute)
		if (err == nil) != c.ok || c.ok && len(got) != c.want || err != nil && !errors.Is(err, providers.Invalid) {
			t.Errorf("Pins(%v) = %v, %v", c.attribute, got, err)
		}
	}
}
