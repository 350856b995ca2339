package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestUpstreamVersion: Kubernetes' own cases are of the version that the bundle has.
func TestUpstreamVersion(t *testing.T) {
	staged := regexp.MustCompile(`(?m)^\s*k8s\.io/\S+ => k8s\.io/\S+ v\S+$|^.*\bk8s\.io/kubernetes v\S+$`)
	read := func(name string) map[string]string {
		text, err := os.ReadFile("../../controlplane/" + name + "/go.mod")
		if err != nil {
			t.Fatal(err)
		}
		versions := map[string]string{}
		for _, line := range staged.FindAllString(string(text), -1) {
			f := strings.Fields(line)
			versions[f[len(f)-2]] = f[len(f)-1]
		}
		return versions
	}
	bundled, cases := read("kube"), read("conformance")
	if len(bundled) < 30 {
		t.Fatalf("read %d modules of Kubernetes from controlplane/kube/go.mod", len(bundled))
	}
	for module, version := range bundled {
		if cases[module] != version {
			t.Errorf("%s is %s in the bundle and %q in controlplane/conformance/go.mod", module, version, cases[module])
		}
	}
}
