//go:build linux && amd64

package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/provisionhq/provision/cmd/provision/internal/crashtest"
)

// A procWatch notes the command line and the environment of every process, again and again.
type procWatch struct {
	stop chan struct{}
	done sync.WaitGroup
	seen map[string]map[string]bool // by command line, the environments
}

func watchProcesses() *procWatch {
	w := &procWatch{stop: make(chan struct{}), seen: map[string]map[string]bool{}}
	w.done.Go(func() {
		for {
			select {
			case <-w.stop:
				return
			case <-time.After(2 * time.Millisecond):
				w.look()
			}
		}
	})
	return w
}

func (w *procWatch) look() {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err != nil || len(line) == 0 {
			continue
		}
		of := w.seen[string(line)]
		if of == nil {
			of = map[string]bool{}
			w.seen[string(line)] = of
		}
		if environ, err := os.ReadFile(filepath.Join(filepath.Dir(f), "environ")); err == nil && len(of) < 10 {
			of[string(environ)] = true
		}
	}
}

// end ends the looking and returns which secrets were to be seen where, and how many command lines with a word in them there
// were.
func (w *procWatch) end(c canaries, word string) (found []string, seen int) {
	close(w.stop)
	w.done.Wait()
	f := c.finder()
	for line, environs := range w.seen {
		if strings.Contains(line, word) {
			seen++
		}
		for _, name := range f.in([]byte(line)) {
			found = append(found, fmt.Sprintf("%s in the command line %q", name, line))
		}
		for e := range environs {
			for _, name := range f.in([]byte(e)) {
				found = append(found, fmt.Sprintf("%s in the environment of %q", name, line))
			}
		}
	}
	return found, seen
}

// canaryCluster has a secret where a vendor's token would be. It wants the provider's name and what else its block has.
const canaryCluster = `
variable "workers" { default = 2 }
variable "token" {
  sensitive = true
}
variable "latency" { default = "20ms" }
provider %q {
  %s
  path    = "w/vendor.db"
  options = "{\"latency\":{\"create\":\"${var.latency}\",\"delete\":\"20ms\"},\"faults\":[{\"name\":\"${var.token}\",\"error\":\"denied\"}]}"
}
cluster "demo" {
  kubernetes = "1.37.2"
  control_plane {
    machine = "small"
  }
  pool "workers" {
    count   = var.workers
    machine = "small"
  }
}
`

// newCanarySite is a site whose user has an age identity and a file with a secret variable. Both are noted.
func newCanarySite(t *testing.T, program, cluster string) (*crashtest.Site, canaries) {
	t.Helper()
	dir := t.TempDir()
	site, err := crashtest.NewSite(dir, program, cluster)
	if err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	c := canaries{}
	token := fmt.Sprintf("canary-%x", time.Now().UnixNano())
	c.add("the user's age identity", []byte(id.String()))
	c.add("the vendor's token", []byte(token))
	if err := os.MkdirAll(filepath.Dir(site.Identity()), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{site.Identity(): id.String() + "\n", filepath.Join(site.Dir, "secret.vars"): fmt.Sprintf("token = %q\n", token)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return site, c
}

// allowed are the files that hold secrets because they are there for that.
func allowed() []string { return []string{"/identity.age", "/secret.vars"} }

// TestCanaryIsFoundWhereItIs checks that the search finds what is there, in each form.
func TestCanaryIsFoundWhereItIs(t *testing.T) {
	key, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed([]byte("0123456789abcdef0123456789ABCDEF")))
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	c := canaries{}
	if err := c.addKeys("key", text); err != nil || len(c) != 1 {
		t.Fatalf("%v, %d keys", err, len(c))
	}
	for name, data := range map[string][]byte{
		"PEM": text, "DER": key, "PEM in base64": []byte(base64.StdEncoding.EncodeToString(key)), "shifted": []byte(base64.URLEncoding.EncodeToString(append([]byte{1}, key...))),
		"hex": []byte(hex.EncodeToString(key)), "printed": []byte(fmt.Sprint(key)),
	} {
		if len(c.in(data)) != 1 {
			t.Errorf("the key is not found in %s: %q", name, data)
		}
	}
	if found := c.in([]byte(strings.Repeat("0123456789abcdef ", 100))); len(found) > 0 {
		t.Errorf("found %v where it is not", found)
	}
}

// TestCanary lets a cluster live, on a vendor that is built in and on one that is a plug-in.
func TestCanary(t *testing.T) {
	program := buildProgram(t, t.TempDir())
	t.Run("built in", func(t *testing.T) {
		site, c := newCanarySite(t, program, fmt.Sprintf(canaryCluster, "fake", ""))
		canaryLife(t, site, c)
	})
	t.Run("plug-in", func(t *testing.T) {
		pin, env := fakePlugin(t)
		site, c := newCanarySite(t, program, fmt.Sprintf(canaryCluster, "fakeplug", pin))
		site.Env = env
		canaryLife(t, site, c)
	})
}

// canaryLife lets a cluster be planned, made, scaled and destroyed, with failures between, and looks for its secrets in all
// that this leaves and shows.
func canaryLife(t *testing.T, site *crashtest.Site, c canaries) {
	vars := []string{"--var-file", "secret.vars"}
	procs := watchProcesses()
	said := ""
	run := func(ok bool, args ...string) {
		t.Helper()
		o, err := site.Run(append(args, vars...)...)
		if err != nil || o.OK() != ok {
			t.Errorf("%v %v", o, err)
		}
		said += o.Output
		if len(c) < 5 { // as soon as there are any
			if err := c.addState(site); err != nil {
				t.Error(err)
			}
		}
		found, searched := c.files(site.Dir, allowed()...)
		if len(found) > 0 || searched < 1 {
			t.Errorf("provision %v: of %d files: %v", args, searched, found)
		}
	}
	run(true, "plan")
	run(true, "plan", "--json")
	run(true, "plan", "--out", "next.plan")
	run(false, "apply", "--auto-approve", "--var", "latency=nonsense") // an attribute that is wrong, and secret
	run(true, "apply", "next.plan", "--auto-approve")
	run(true, "apply", "--auto-approve", "--json", "--var", "workers=4")
	run(true, "plan", "--out", "less.plan", "--var", "workers=1")
	run(false, "plan", "--var", "workers=none")
	run(true, "apply", "--auto-approve", "--var", "workers=1")
	run(true, "validate")
	run(true, "destroy", "--auto-approve")
	if found := c.in([]byte(said)); len(found) > 0 {
		t.Errorf("%v in what the command said:\n%s", found, said)
	}
	found, seen := procs.end(c, "auto-approve")
	if len(found) > 0 || seen == 0 {
		t.Errorf("%d processes of ours were seen; %v", seen, found)
	}
	if len(c) < 6 {
		t.Errorf("only %v were looked for", slices.Sorted(maps.Keys(c)))
	}
	t.Logf("%d secrets are nowhere: %v", len(c), slices.Sorted(maps.Keys(c)))
}

// TestCanaryNoCore kills the command in the middle so that the system writes its memory to a file, if it may.
func TestCanaryNoCore(t *testing.T) {
	site, c := newCanarySite(t, buildProgram(t, t.TempDir()), fmt.Sprintf(canaryCluster, "fake", ""))
	if o, err := site.Run("apply", "--auto-approve", "--var-file", "secret.vars"); err != nil || !o.OK() {
		t.Fatalf("%v %v", o, err)
	}
	if err := c.addState(site); err != nil {
		t.Fatal(err)
	}
	abort := func(program string, args ...string) (crashtest.Outcome, []string) {
		t.Helper()
		s := *site
		s.Program, s.Env = "/bin/sh", []string{"GOTRACEBACK=crash"}
		o, err := s.Interrupted(func(send func(syscall.Signal)) {
			time.Sleep(300 * time.Millisecond)
			send(syscall.SIGABRT)
		}, append([]string{"-c", `ulimit -c unlimited; exec "$0" "$@"`, program}, args...)...)
		if err != nil || o.Exit.Signal != syscall.SIGABRT {
			t.Fatalf("%s was not aborted: %v %v", program, o, err)
		}
		cores, err := filepath.Glob(filepath.Join(site.Dir, "core*"))
		if err != nil {
			t.Fatal(err)
		}
		return o, cores
	}
	if _, cores := abort("/bin/sleep", "9"); len(cores) == 0 {
		pattern, _ := os.ReadFile("/proc/sys/kernel/core_pattern")
		t.Fatalf("no program leaves a core here, as core_pattern is %q: this shows nothing", pattern)
	} else if err := os.Remove(cores[0]); err != nil {
		t.Fatal(err)
	}
	o, cores := abort(site.Program, "apply", "--auto-approve", "--var-file", "secret.vars", "--var", "workers=4", "--var", "latency=9s")
	if found := c.in([]byte(o.Output)); len(found) > 0 {
		t.Errorf("%v in the trace", found)
	}
	for _, f := range cores {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("it left a core of %d MB, with %v in it", len(b)>>20, c.in(b))
	}
}
