//go:build e2e && linux && amd64

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/provisionhq/provision/cmd/provision/internal/crashtest"
)

const canaryE2ECluster = `
variable "workers" { default = 1 }
provider "local" {}
cluster %q {
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

// TestE2ECanary makes, scales and destroys a real cluster and looks for all that is secret in it: in what the command says and
// keeps, in the command lines and environments of all processes on the host and the machines, and in the machines' files.
func TestE2ECanary(t *testing.T) {
	program, err := filepath.Abs("../../bin/provision")
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("canary-%d", os.Getpid())
	site, err := crashtest.NewSite(t.TempDir(), program, fmt.Sprintf(canaryE2ECluster, name))
	if err != nil {
		t.Fatal(err)
	}
	site.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=/tmp"}
	c := canaries{}
	userIdentity(t, site, c)
	t.Cleanup(func() { site.Run("destroy", "--auto-approve") })
	procs := watchProcesses()
	said := ""
	run := func(args ...string) string {
		t.Helper()
		o, err := site.Run(args...)
		if err != nil || !o.OK() {
			t.Fatalf("%v %v", o, err)
		}
		said += o.Output
		return o.Output
	}
	run("apply", "--auto-approve", "--json")
	if err := c.addState(site); err != nil {
		t.Fatal(err)
	}
	secretInCluster(t, site, c, run)
	kubeconfig, err := site.Run("kubeconfig")
	if err != nil || !kubeconfig.OK() {
		t.Fatalf("%v %v", kubeconfig, err)
	}
	if err := c.addKubeconfig(kubeconfig.Output); err != nil {
		t.Fatal(err)
	}
	tokens := watchTokens(name)
	run("plan", "--out", filepath.Join(site.Dir, "next.plan"), "--var", "workers=2")
	run("apply", "--auto-approve", "--var", "workers=2")
	run("status", "--json")
	met := tokens()
	for n, token := range met {
		c.add(fmt.Sprintf("join token %d", n), []byte(token))
	}
	if len(met) == 0 {
		t.Error("no join token was seen")
	}
	searchMachines(t, c, name)
	run("destroy", "--auto-approve")

	if found := c.in([]byte(said)); len(found) > 0 {
		t.Errorf("%v in what the command said:\n%s", found, said)
	}
	if found, n := c.files(site.Dir, append(allowed(), "/in-cluster")...); len(found) > 0 || n == 0 {
		t.Errorf("of %d files: %v", n, found)
	}
	if found, n := c.files("/tmp/provision-0"); len(found) > 0 {
		t.Errorf("of %d temporary files: %v", n, found)
	}
	found, seen := procs.end(c, "kubelet")
	if len(found) > 0 || seen == 0 {
		t.Errorf("%d command lines with a kubelet were seen; %v", seen, found)
	}
	t.Logf("looked for %v", slices.Sorted(keysOf(c)))
}

func keysOf(c canaries) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range c {
			if !yield(k) {
				return
			}
		}
	}
}

// userIdentity gives the site's user an age identity.
func userIdentity(t *testing.T, site *crashtest.Site, c canaries) {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(site.Identity()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(site.Identity(), []byte(id.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.add("the user's age identity", []byte(id.String()))
}

// secretInCluster makes a Secret in Kubernetes, which etcd has to encrypt and the audit log must not have.
func secretInCluster(t *testing.T, site *crashtest.Site, c canaries, run func(...string) string) {
	t.Helper()
	text := fmt.Sprintf("canary-in-cluster-%x", time.Now().UnixNano())
	path := filepath.Join(site.Dir, "in-cluster")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run("kubectl", "--", "create", "secret", "generic", "canary", "--from-file="+path)
	c.add("a Secret of the cluster", []byte(text))
}

// addKubeconfig notes the client key in a kubeconfig.
func (c canaries) addKubeconfig(text string) error {
	m := regexp.MustCompile(`client-key-data"?: *"?([A-Za-z0-9+/=]+)`).FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("the kubeconfig has no client key:\n%s", text)
	}
	return c.addTree("kubeconfig", m[1])
}

// A root is the root folder of a machine, as a process in it has it.
type root struct{ node, path string }

// machineRoots finds the machines of a cluster on this host.
func machineRoots(cluster string) (roots []root) {
	seen := map[string]bool{}
	files, _ := filepath.Glob("/proc/[0-9]*/root/etc/provision/node.json")
	for _, f := range files {
		var n struct{ Name, Cluster string }
		b, err := os.ReadFile(f)
		if err != nil || json.Unmarshal(b, &n) != nil || n.Cluster != cluster || seen[n.Name] {
			continue
		}
		seen[n.Name] = true
		roots = append(roots, root{n.Name, strings.TrimSuffix(f, "/etc/provision/node.json")})
	}
	return roots
}

// watchTokens looks for the tokens that new nodes get to join with, which live for a few seconds, until it is asked for them.
func watchTokens(cluster string) func() []string {
	token := regexp.MustCompile(`[a-z0-9]{6}\.([a-z0-9]{16})`) // its second part is what is secret
	stop, done := make(chan struct{}), make(chan []string)
	go func() {
		var tokens []string
		for {
			select {
			case <-stop:
				done <- tokens
				return
			case <-time.After(20 * time.Millisecond):
			}
			for _, r := range machineRoots(cluster) {
				b, _ := os.ReadFile(r.path + "/etc/kubernetes/bootstrap.conf")
				if m := token.FindSubmatch(b); m != nil && !slices.Contains(tokens, string(m[1])) {
					tokens = append(tokens, string(m[1]))
				}
			}
		}
	}()
	return func() []string { close(stop); return <-done }
}

// searchMachines looks at the files of all machines: all that is written while they work, temporary files and logs among them,
// and not the programs of the bundle. Keys are in /etc/kubernetes/pki of the control plane, and nowhere else; a join token is
// nowhere once it is used.
func searchMachines(t *testing.T, c canaries, cluster string) {
	t.Helper()
	roots := machineRoots(cluster)
	if len(roots) != 3 {
		t.Fatalf("found the machines %v, want three", roots)
	}
	for _, r := range roots {
		var allow []string
		if strings.Contains(r.node, "-cp-") {
			for _, f := range []string{"ca.key", "etcd/ca.key", "front-proxy-ca.key", "sa.key", "encryption.json"} {
				allow = append(allow, "/etc/kubernetes/pki/"+f)
			}
		}
		for _, dir := range []string{"tmp", "var/tmp", "run", "dev/shm", "etc/kubernetes", "etc/provision", "etc/ssh", "var/lib/kubelet", "var/lib/etcd", "var/lib/provision", "var/log"} {
			found, n := c.files(r.path+"/"+dir, allow...)
			if len(found) > 0 {
				t.Errorf("%s: of %d files below /%s: %v", r.node, n, dir, found)
			}
		}
	}
}
