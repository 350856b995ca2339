//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/providers/local/keeper"
)

// A boxRig is a cluster of an example, made by the real program at a vendor in a box, with machines that are real.
type boxRig struct {
	*rig
	folder string
	box    struct {
		Endpoint    string            `json:"endpoint"`
		Environment map[string]string `json:"environment"`
		PID         int               `json:"pid"`
	}
}

// newBox starts a vendor's box, which ends with the test at the latest, and makes the rig's commands use it.
func (r *rig) newBox(vendor string) *boxRig {
	r.t.Helper()
	b := &boxRig{rig: r, folder: filepath.Join(filepath.Dir(r.file), "box")}
	keeper.Keep(r.t, keeper.Kept{Folder: filepath.Join(b.folder, "machines")}, local.Clear)
	c := exec.Command(filepath.Join(r.bin, "cloud-box"), vendor, "--folder", b.folder, "--tied")
	in, err := c.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	var said lockedBuffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		r.t.Fatalf("%v: run make build", err)
	}
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.diagnose()
		}
		r.try(2*time.Minute, "destroy", r.file, "--auto-approve")
		r.file += ".gone" // for the rig's own clean-up, which comes after: there is no vendor any more
		in.Close()
		if err := c.Wait(); err != nil || said.String() != "" {
			r.t.Errorf("the box ended with %v and said:\n%s", err, said.String())
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &b.box)
	}
	if err != nil {
		r.t.Fatalf("the box said %q: %v\n%s", line, err, said.String())
	}
	if b.box.PID != c.Process.Pid {
		r.t.Fatalf("the box says that it is process %d, it is %d", b.box.PID, c.Process.Pid)
	}
	for k, v := range b.box.Environment {
		r.environ = append(r.environ, k+"="+v)
	}
	return b
}

// A boxRequest is a line of the box's log.
type boxRequest struct {
	Service, Action, Code string
	Mutating              bool
	Status                int
}

// requests are those since the last call.
func (b *boxRig) requests(since int) (all []boxRequest) {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.folder, "requests.ndjson"))
	if err != nil {
		b.t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var r boxRequest
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			b.t.Fatalf("line %d, %q: %v", i, line, err)
		}
		if i >= since {
			all = append(all, r)
		}
	}
	return all
}

// reader runs the vendor's own command line, which knows nothing of us, and decodes its JSON.
func (b *boxRig) reader(into any, program string, args ...string) {
	b.t.Helper()
	c := exec.Command(program, args...)
	c.Env = b.environ
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		b.t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, said.String())
	}
}

// kubeNode is a node as Kubernetes has it.
type kubeNode struct {
	Metadata struct{ Name string }
	Spec     struct{ ProviderID string }
	Status   struct {
		Conditions []struct{ Type, Status string }
	}
}

func (n kubeNode) ready() bool {
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// nodes are the cluster's.
func (b *boxRig) nodes() []kubeNode {
	b.t.Helper()
	var list struct{ Items []kubeNode }
	out := b.kubectl("get", "nodes", "-o", "json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		b.t.Fatalf("%v\n%s", err, out)
	}
	return list.Items
}

// still applies again, which asks for nothing.
func (b *boxRig) still() {
	b.t.Helper()
	time.Sleep(200 * time.Millisecond) // boxes write their logs a moment later
	since := len(b.requests(0))
	begun := time.Now()
	if out := b.run(time.Minute, "apply", b.file, "--auto-approve"); !strings.Contains(out, "No changes") {
		b.t.Errorf("a second apply changes something:\n%s", out)
	}
	took := time.Since(begun)
	time.Sleep(200 * time.Millisecond)
	again := b.requests(since)
	for _, r := range again {
		if r.Mutating {
			b.t.Errorf("a second apply asks for %s", r.Action)
		}
	}
	if len(again) == 0 {
		b.t.Error("a second apply asks for nothing at all: the log is not read")
	}
	b.t.Logf("second apply %.1f s, %d requests, none of which changes anything", took.Seconds(), len(again))
}

// joined compares the cluster's nodes with the machines that the vendor has: each bears the provider ID of one, and is ready.
func (b *boxRig) joined(ids ...string) {
	b.t.Helper()
	var have []string
	for _, n := range b.nodes() {
		if have = append(have, n.Spec.ProviderID); !n.ready() {
			b.t.Errorf("node %s is not ready", n.Metadata.Name)
		}
	}
	slices.Sort(have)
	slices.Sort(ids)
	if !slices.Equal(have, ids) {
		b.t.Errorf("nodes' provider IDs are %q, the vendor's machines are %q", have, ids)
	}
}

// boxed runs a test of an example at a vendor in a box, and compares the host before and after.
func boxed(t *testing.T, vendor, example string, do func(*boxRig)) {
	before := takeSnapshot(t, "e2e-box")
	t.Run("cluster", func(t *testing.T) {
		r := newRig(t)
		text, err := os.ReadFile("../../examples/" + example + "/cluster.hcl")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		r.name = example
		do(r.newBox(vendor))
	})
	before.compare(t, takeSnapshot(t, "e2e-box"))
}
