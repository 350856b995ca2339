package templates

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestStorage(t *testing.T) {
	with, err := RenderStorage(Storage{Vendor: "aws", Snapshots: true})
	if err != nil {
		t.Fatal(err)
	}
	without, err := RenderStorage(Storage{Vendor: "aws"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`provisioner: "aws.csi.provision.sh"`, `name: "aws.csi.provision.sh"`, "WaitForFirstConsumer", "allowVolumeExpansion: true", `is-default-class: "true"`} {
		if !strings.Contains(string(with), want) {
			t.Errorf("%s is missing", want)
		}
	}
	if n := strings.Count(string(with), "kind: CustomResourceDefinition"); n != 3 {
		t.Errorf("%d definitions, want 3", n)
	}
	if strings.Contains(string(without), "snapshot.storage.k8s.io") {
		t.Error("there is something about snapshots, of which the vendor has none")
	}
	if strings.Contains(string(with), "secrets") {
		t.Error("the sidecars may read Secrets")
	}
	if _, err := RenderStorage(Storage{}); err == nil {
		t.Error("no vendor is no error")
	}
}

// TestSnapshotsAreUpstreams compares the definitions with those of the module that the sidecars are linked with.
func TestSnapshotsAreUpstreams(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/kubernetes-csi/external-snapshotter/client/v8").Output()
	if err != nil {
		t.Fatal(err)
	}
	ours := static("snapshots.yaml")
	for _, kind := range []string{"classes", "contents", "s"} {
		theirs, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "config/crd/snapshot.storage.k8s.io_volumesnapshot"+kind+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(ours, theirs) {
			t.Errorf("volumesnapshot%s is not as upstream has it", kind)
		}
	}
}
