package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const restOfCluster = `
cluster "demo" {
  kubernetes = "1.37.2"
  control_plane { machine = "small" }
  pool "workers" {
    count   = 1
    machine = "small"
  }
}
`

// loadIn writes files into a folder and loads cluster.hcl from there.
func loadIn(t *testing.T, files map[string]string, o Options) (*Cluster, string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, ds := Load(filepath.Join(dir, "cluster.hcl"), o)
	if ds.HasErrors() {
		return nil, dir, ds
	}
	return c, dir, nil
}

func TestNestedBlocks(t *testing.T) {
	c, dir, err := loadIn(t, map[string]string{
		"cluster.hcl": `variable "secret" {
  default   = "s3cret"
  sensitive = true
}
provider "metal" {
  user      = "ops"
  key       = "./keys/id"
  inventory = "hosts.hcl"
  host "a" {
    address = "10.0.0.1"
    labels  = { rack = "r1" }
    bmc {
      password = var.secret
    }
  }
}
` + restOfCluster,
		"hosts.hcl": `port = 2222
host "b" {
  address = "10.0.0.2"
  key     = "../id"
}
nameless {}
`,
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"user": "ops", "key": filepath.Join(dir, "keys/id"), "port": int64(2222),
		"host": []any{
			map[string]any{
				"name": "a", "range": filepath.Join(dir, "cluster.hcl") + ":9", "address": "10.0.0.1", "labels": map[string]any{"rack": "r1"},
				"bmc": []any{map[string]any{"range": filepath.Join(dir, "cluster.hcl") + ":12", "password": "s3cret"}},
			},
			map[string]any{"name": "b", "range": filepath.Join(dir, "hosts.hcl") + ":2", "address": "10.0.0.2", "key": filepath.Join(filepath.Dir(dir), "id")},
		},
		"nameless": []any{map[string]any{"range": filepath.Join(dir, "hosts.hcl") + ":6"}},
	}
	if d := cmp.Diff(want, c.Provider.Attributes); d != "" {
		t.Errorf("attributes (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"host"}, c.Provider.Sensitive); d != "" {
		t.Errorf("sensitive (-want +got):\n%s", d)
	}
	for key, line := range map[string]int{
		"provider.host": 9, "provider.host[0].address": 10, "provider.host[0].bmc[0].password": 13, "provider.host[1]": 2, "provider.port": 1,
	} {
		if got := c.Ranges[key].Start.Line; got != line {
			t.Errorf("%s is at line %d, want %d", key, got, line)
		}
	}
}

func TestNestedBlocksRefused(t *testing.T) {
	for words, block := range map[string]string{
		"has one name at most":                     `host "a" "b" {}`,
		`already set as an attribute`:              "host = 1\n host \"a\" {}",
		`has no attribute "name"`:                  "host \"a\" {\n name = \"b\"\n}",
		`has no attribute "range"`:                 "host \"a\" {\n range = \"b\"\n}",
		`The attribute "user" was already set at`:  "user = \"a\"\n inventory = \"more.hcl\"",
		"There is no file":                         `inventory = "none.hcl"`,
		"which should hold the rest of the block ": `inventory = "/proc/1/mem/x.hcl"`,
	} {
		_, _, err := loadIn(t, map[string]string{
			"cluster.hcl": "provider \"metal\" {\n" + block + "\n}\n" + restOfCluster,
			"more.hcl":    `user = "b"`,
		}, Options{})
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s:\ngot %v, want %q", block, err, words)
		}
	}
}

// TestFolderWithInventory loads a folder: the inventory is no cluster.
func TestFolderWithInventory(t *testing.T) {
	_, dir, err := loadIn(t, map[string]string{
		"cluster.hcl":         "provider \"metal\" {\n inventory = \"hosts.inventory.hcl\"\n}\n" + restOfCluster,
		"hosts.inventory.hcl": "host \"a\" {\n address = \"10.0.0.1\"\n}\n",
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, ds := Load(dir, Options{})
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	if hosts, _ := c.Provider.Attributes["host"].([]any); len(hosts) != 1 {
		t.Errorf("the folder's cluster has hosts %v, want one", c.Provider.Attributes["host"])
	}
}
