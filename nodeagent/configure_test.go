package nodeagent

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/templates"
)

func payload(t *testing.T, n templates.Node, files ...templates.File) *bytes.Reader {
	t.Helper()
	b, err := templates.RenderPayload(templates.Payload{Node: n, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b)
}

func TestConfigure(t *testing.T) {
	root := t.TempDir()
	n := testNode(templates.Worker, 0)
	ca := templates.File{Path: "/etc/kubernetes/pki/ca.crt", Mode: "0600", Content: []byte("ca")}
	configured := func(n templates.Node, files ...templates.File) string {
		t.Helper()
		changed, err := configure(root, payload(t, n, files...))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(changed, " ")
	}
	if got := configured(n, ca); got != ca.Path+" "+templates.NodePath {
		t.Errorf("at first %q changed", got)
	}
	if got := configured(n, ca); got != "" {
		t.Errorf("with the same payload %q changed", got)
	}
	ca.Content = []byte("new")
	if got := configured(n, ca); got != ca.Path {
		t.Errorf("with a new certificate %q changed", got)
	}
	n.Labels = map[string]string{"a": "b"}
	if got := configured(n); got != templates.NodePath {
		t.Errorf("with a new label %q changed", got)
	}
	for _, path := range []string{ca.Path, templates.NodePath} {
		if info, err := os.Stat(filepath.Join(root, path)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(root, templates.NodePath))
	if err != nil {
		t.Fatal(err)
	}
	want, err := templates.RenderNode(n)
	if err != nil || !bytes.Equal(raw, want) {
		t.Errorf("node.json is not in its canonical form: %s", raw)
	}
}

func TestConfigureRefuses(t *testing.T) {
	root := t.TempDir()
	n := testNode(templates.ControlPlane, 1)
	if _, err := configure(root, payload(t, n)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		why    string
		change func(*templates.Node)
		want   string
	}{
		{"another cluster of the same name", func(n *templates.Node) { n.UID = "u-2" }, "node-agent reset"},
		{"another node of the cluster", func(n *templates.Node) { n.Name = "demo-w-0" }, "node-agent reset"},
		{"no bundle", func(n *templates.Node) { n.Bundle = "" }, "bundle"},
		{"an unknown role", func(n *templates.Node) { n.Role = "boss" }, `"boss"`},
		{"no endpoints", func(n *templates.Node) { n.Endpoints = nil }, "endpoints"},
		{"a control plane without etcd", func(n *templates.Node) { n.Etcd = nil }, "etcd"},
	} {
		bad := n
		bad.Endpoints = slices.Clone(n.Endpoints)
		test.change(&bad)
		_, err := configure(root, payload(t, bad))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want words about %s", test.why, err, test.want)
		}
	}
	if _, err := configure(root, strings.NewReader("garbage")); err == nil {
		t.Error("garbage was accepted")
	}
	outside := templates.File{Path: "/etc/passwd", Mode: "0600"}
	if _, err := configure(root, payload(t, n, outside)); err == nil {
		t.Error("a file outside was accepted")
	}
	if _, err := os.Stat(root + "/etc/passwd"); err == nil {
		t.Error("a file outside was written")
	}
}

func TestDamagedNodeIsWrittenAnew(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(root+"/etc/provision", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+templates.NodePath, []byte(`{"cluster":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := configure(root, payload(t, testNode(templates.Worker, 0))); err != nil {
		t.Error(err)
	}
}
