package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// TestState: all that a state block can have, and what it is without one.
func TestState(t *testing.T) {
	const rest = `
provider "local" {}
cluster "demo" {
  kubernetes = "1.37.2"
  control_plane { machine = "small" }
  pool "workers" {
    count   = 1
    machine = "small"
  }
}
`
	for _, c := range []struct {
		block string
		want  State
	}{
		{"", State{}},
		{"state {}", State{}},
		{`state {
  url         = "s3://team/${"pre"}fix?region=eu-west-1"
  recipients  = ["age1abc", "ssh-ed25519 AAAA alice"]
  key_command = ["kms", "--key", "x"]
}`, State{URL: "s3://team/prefix?region=eu-west-1", Recipients: []string{"age1abc", "ssh-ed25519 AAAA alice"}, KeyCommand: []string{"kms", "--key", "x"}}},
		{"state {\n  url = \"file:///srv/states\"\n  passphrase = true\n}", State{URL: "file:///srv/states", Passphrase: true}},
	} {
		path := filepath.Join(t.TempDir(), "cluster.hcl")
		if err := os.WriteFile(path, []byte(c.block+rest), 0o600); err != nil {
			t.Fatal(err)
		}
		got, ds := Load(path, Options{})
		if ds.HasErrors() {
			t.Errorf("%s: %v", c.block, ds)
		} else if !reflect.DeepEqual(got.State, c.want) {
			t.Errorf("%s: got %+v; want %+v", c.block, got.State, c.want)
		}
	}
}
