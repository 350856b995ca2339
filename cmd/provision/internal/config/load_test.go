package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// loadText loads a file of that text.
func loadText(t *testing.T, text string, o Options) (*Cluster, diag.Diagnostics) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cluster.hcl")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(file, o)
}

// mustLoad is loadText for a file without mistakes.
func mustLoad(t *testing.T, text string, o Options) *Cluster {
	t.Helper()
	c, ds := loadText(t, text, o)
	if len(ds) > 0 {
		t.Fatalf("Load: %s", diag.Text{}.Render(ds))
	}
	return c
}

const everything = `
variable "token" {
  type      = string
  sensitive = true
}
variable "nothing" {
  default = null
}
locals {
  tier = "web"
}
provider "fake" {
  folder   = "/tmp/x"
  latency  = 1.5
  quota    = 12
  faults   = ["a", 1, true]
  token    = "Bearer ${var.token}"
  nested   = { a = { b = [null] } }
  strict   = false
  nothing  = var.nothing
}
cluster "all" {
  kubernetes  = "1.36.3-rc.1"
  cloud_agent = false
  network {
    machines  = "192.168.0.0/24"
    pods      = "10.0.0.0/14"
    services  = "172.16.0.0/20"
    domain    = "k8s.example"
    backend   = "host-gw"
    node_bits = 25
    ssh_from  = ["0.0.0.0/0"]
    api_from  = ["192.0.2.0/24", "198.51.100.7/32"]
    balancers = ["192.168.0.224/28", "192.168.0.250 - 192.168.0.251"]
  }
  control_plane {
    machine = "medium"
    labels  = { "node-restriction.kubernetes.io/team" = "infra" }
  }
  pool "web" {
    count   = "3"
    machine = "small"
    image   = "debian"
    zones   = ["a", "b"]
    disk    = 40
    spot    = true
    labels  = { tier = local.tier, gpu = true, gone = null, "node-role.kubernetes.io/web" = "" }
    taints  = ["dedicated=web:NoSchedule", "dedicated:NoExecute"]
    drain   = "90s"
  }
  pool "db" {
    count   = 0
    machine = "large"
    labels  = var.nothing
    drain   = "0s"
  }
}
`

func TestEverything(t *testing.T) {
	c := mustLoad(t, everything, Options{Env: []string{"PROVISION_VAR_token=hunter2"}})
	wantAttributes := map[string]any{
		"folder": "/tmp/x", "latency": 1.5, "quota": int64(12), "faults": []any{"a", int64(1), true}, "token": "Bearer hunter2",
		"nested": map[string]any{"a": map[string]any{"b": []any{nil}}}, "strict": false,
	}
	if !reflect.DeepEqual(c.Provider.Attributes, wantAttributes) || !slices.Equal(c.Provider.Sensitive, []string{"token"}) {
		t.Errorf("provider: got %#v, sensitive %v", c.Provider.Attributes, c.Provider.Sensitive)
	}
	n := c.Network
	if got := strings.Join([]string{n.Machines.String(), n.Pods.String(), n.Services.String(), n.Domain, n.Backend}, " "); n.NodeBits != 25 ||
		got != "192.168.0.0/24 10.0.0.0/14 172.16.0.0/20 k8s.example host-gw" || len(n.SSHFrom) != 1 || len(n.APIFrom) != 2 ||
		fmt.Sprint(n.Balancers) != "[192.168.0.224-192.168.0.239 192.168.0.250-192.168.0.251]" {
		t.Errorf("network: got %+v", n)
	}
	if c.CloudAgent {
		t.Error("the cloud agent is there against the file's words")
	}
	if c.ControlPlane.Count != 1 || c.ControlPlane.Name != ControlPlaneName || c.ControlPlane.Machine != "medium" || c.Machines() != 4 {
		t.Errorf("control plane: got %+v; %d machines", c.ControlPlane, c.Machines())
	}
	web := c.Pools[1]
	web.Range = diag.Range{}
	want := Pool{
		Name: "web", Count: 3, Machine: "small", Image: "debian", Zones: []string{"a", "b"}, DiskGiB: 40, Spot: true,
		Labels: map[string]string{"tier": "web", "gpu": "true", "node-role.kubernetes.io/web": ""},
		Taints: []Taint{{"dedicated", "web", "NoSchedule"}, {"dedicated", "", "NoExecute"}}, Drain: 90 * time.Second,
	}
	if !reflect.DeepEqual(web, want) {
		t.Errorf("pool web: got %+v, want %+v", web, want)
	}
	if db := c.Pools[0]; db.Name != "db" || db.Drain != 0 || db.Labels != nil {
		t.Errorf("pool db: got %+v", db)
	}
}

// TestRangesCoverTheFile looks each attribute of the file up by its key.
func TestRangesCoverTheFile(t *testing.T) {
	c := mustLoad(t, everything, Options{Vars: map[string]string{"token": "x"}})
	for key, r := range c.Ranges {
		if got := everything[r.Start.Byte:r.End.Byte]; !strings.Contains(r.Source, strings.SplitN(got, "\n", 2)[0]) || got == "" {
			t.Errorf("Ranges[%q] is %q, and its line %q", key, got, r.Source)
		}
		if _, last, ok := cutLast(key); ok && !strings.Contains(r.Source, last) {
			t.Errorf("Ranges[%q] is on the line %q", key, r.Source)
		}
	}
	for _, key := range []string{"cluster", "kubernetes", "provider", "provider.quota", "network", "network.node_bits", "control_plane", "control_plane.labels", "pool.web", "pool.web.taints", "pool.db.count"} {
		if _, ok := c.Ranges[key]; !ok {
			t.Errorf("Ranges has no %q; it has %v", key, slices.Sorted(maps.Keys(c.Ranges)))
		}
	}
	for _, key := range []string{"control_plane.count", "type", "default"} {
		if _, ok := c.Ranges[key]; ok {
			t.Errorf("Ranges has %q, which the file does not say", key)
		}
	}
}

func cutLast(s string) (string, string, bool) {
	i := strings.LastIndexByte(s, '.')
	return s[:max(i, 0)], s[i+1:], i >= 0
}

// TestAllAtOnce has many mistakes in one file, none of which may hide another.
func TestAllAtOnce(t *testing.T) {
	_, ds := loadText(t, `
provider "local" { x = var.none }
cluster "a_b" {
  kubernetes = "one"
  network {
    pods     = "10.244.0.0/17"
    services = "10.244.64.0/18"
    machines = "nonsense"
  }
  control_plane {
    count   = 2
    machine = 1 + "x"
    colour  = "red"
  }
  pool "w" {
    count  = -1
    labels = { "/" = "x" }
  }
  pool "w" {}
}
`, Options{Vars: map[string]string{"y": "1"}})
	var got []diag.ID
	for _, d := range ds {
		got = append(got, d.ID)
	}
	want := []diag.ID{
		diag.UndefinedVariable, diag.UndefinedVariable, diag.BadName, diag.BadVersion, diag.OverlappingRanges, diag.BadRange,
		diag.ControlPlaneCount, diag.BadExpression, diag.UnknownAttribute, diag.MissingAttribute, diag.BadCount, diag.BadLabel, diag.DuplicateBlock,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v\n%s", got, want, diag.Text{}.Render(ds))
	}
	if ds.ExitCode() != diag.ExitRefused {
		t.Errorf("exit code %d", ds.ExitCode())
	}
}

// TestBrokenValuesAreReportedOnce uses values that have no value.
func TestBrokenValuesAreReportedOnce(t *testing.T) {
	_, ds := loadText(t, `
variable "n" {}
locals {
  range = cidrsubnet("10.0.0.0/8", 99, 0)
  name  = local.range
}
provider "local" { a = local.name }
cluster "demo" {
  kubernetes = "1.37.${var.n}"
  network { pods = local.range }
  control_plane { machine = local.name }
  pool "w" {
    count   = var.n + 1
    machine = local.name
    labels  = { a = local.name }
    taints  = [local.name]
  }
}
`, Options{})
	if len(ds) != 2 || ds[0].ID != diag.MissingVariable || ds[1].ID != diag.BadExpression {
		t.Errorf("want one for the variable and one for the range, got\n%s", diag.Text{}.Render(ds))
	}
}

// TestFunctions computes expressions by way of a label.
func TestFunctions(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("tier.txt", []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]string{
		`cidrhost("10.0.0.0/24", 5)`:                                "10.0.0.5",
		`cidrhost("10.0.0.0/24", -2)`:                               "10.0.0.254",
		`cidrnetmask("10.0.0.0/12")`:                                "255.240.0.0",
		`cidrnetmask("0.0.0.0/0")`:                                  "0.0.0.0",
		`replace(cidrsubnet("10.0.0.0/8", 8, 255), "/", "-")`:       "10.255.0.0-16",
		`replace(cidrsubnet("10.1.2.3/8", 0, 0), "/", "-")`:         "10.0.0.0-8",
		`trimspace(file("tier.txt"))`:                               "from-file",
		`format("%s-%02d", "a", 7)`:                                 "a-07",
		`join("-", sort(concat(["b"], ["a"])))`:                     "a-b",
		`lookup({ a = "x" }, "b", "y")`:                             "y",
		`merge({ a = "x" }, { a = "z" }).a`:                         "z",
		`startswith("abc", "ab") && !endswith("abc", "ab") ? 1 : 2`: "1",
		`try(tonumber("x"), 3)`:                                     "3",
		`can(tonumber("x"))`:                                        "false",
		`length([for i in range(5) : i if i > 2])`:                  "2",
		`upper(substr(jsonencode({ a = 1 }), 2, 1))`:                "A",
	} {
		c, ds := loadText(t, `
provider "local" {}
cluster "demo" {
  kubernetes = "1.37.2"
  control_plane {
    machine = "small"
    labels  = { x = `+strings.ReplaceAll(expr, `"tier.txt"`, `"`+mustAbs(t, "tier.txt")+`"`)+` }
  }
  pool "w" {
    count   = 1
    machine = "small"
  }
}
`, Options{})
		if len(ds) > 0 {
			t.Errorf("%s: %s", expr, diag.Text{}.Render(ds))
		} else if got := c.ControlPlane.Labels["x"]; got != want {
			t.Errorf("%s = %q, want %q", expr, got, want)
		}
	}
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// TestFunctionsRefuse has arguments that make no sense.
func TestFunctionsRefuse(t *testing.T) {
	for _, expr := range []string{
		`cidrhost("10.0.0.0/24", 256)`, `cidrhost("10.0.0.0/24", -257)`, `cidrhost("fd00::/64", 1)`, `cidrhost("x", 1)`,
		`cidrsubnet("10.0.0.0/24", 9, 0)`, `cidrsubnet("10.0.0.0/24", 1, 2)`, `cidrsubnet("10.0.0.0/24", -1, 0)`, `cidrsubnet("10.0.0.0/24", 1, 0.5)`,
		`cidrsubnet("10.0.0.0/24", 1e30, 0)`, `file("/")`, `file("/dev/zero")`,
	} {
		_, ds := loadText(t, "locals {\n  x = "+expr+"\n}\nprovider \"local\" {}\ncluster \"demo\" {\n  kubernetes = \"1.37.2\"\n  control_plane { machine = \"small\" }\n}\n", Options{})
		if !slices.ContainsFunc(ds, func(d diag.Diagnostic) bool {
			return d.ID == diag.BadExpression && d.Range != nil && d.Range.Start.Line == 2
		}) {
			t.Errorf("%s was not refused: %v", expr, ds)
		}
	}
}

// TestFolder reads a cluster from two files, and not from what lies beside them.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.hcl":      "provider \"local\" {}\nlocals {\n  n = 2\n}\n",
		"b.hcl":      "cluster \"demo\" {\n  kubernetes = file(\"version\")\n  control_plane { machine = \"small\" }\n  pool \"w\" {\n    count   = local.n\n    machine = \"small\"\n  }\n}\n",
		"c.vars.hcl": "nonsense", ".hidden.hcl": "nonsense", "d.txt": "nonsense", "version": "1.37.2",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, ds := Load(dir, Options{})
	if len(ds) > 0 || c.Pools[0].Count != 2 || c.File != dir || c.Kubernetes != "1.37.2" {
		t.Errorf("got %+v, %v", c, ds)
	}
}

func TestNamesTooLongForTheVendor(t *testing.T) {
	c := mustLoad(t, "provider \"local\" {}\ncluster \"demo\" {\n  kubernetes = \"1.37.2\"\n  control_plane { machine = \"small\" }\n  pool \"workers\" {\n    count   = 11\n    machine = \"small\"\n  }\n}\n", Options{})
	if ds := NamesTooLong(c, 0); len(ds) > 0 {
		t.Errorf("without a limit: %v", ds)
	}
	if ds := NamesTooLong(c, 15); len(ds) > 0 { // demo-workers-10
		t.Errorf("limit 15: %v", ds)
	}
	if ds := NamesTooLong(c, 14); len(ds) != 1 || ds[0].In != `pool "workers"` || !strings.Contains(ds[0].Detail, "demo-workers-10, which has 15") {
		t.Errorf("limit 14: %v", ds)
	}
	want := []string{"demo-cp-0", "demo-workers-0", "demo-workers-1"}
	if got := Names(c.File, Options{}); len(got) != 12 || !slices.Equal(got[:3], want) {
		t.Errorf("Names: got %v", got)
	}
	if got := Names("none", Options{}); got != nil {
		t.Errorf("Names of nothing: %v", got)
	}
}

func TestFormat(t *testing.T) {
	src := "# head\ncluster \"demo\" {\nkubernetes=\"1.37.2\" # why\n   pool \"w\" {\n count=1\n machine = \"small\"\n}\n\n\n// end\n}\n"
	want := "# head\ncluster \"demo\" {\n  kubernetes = \"1.37.2\" # why\n  pool \"w\" {\n    count   = 1\n    machine = \"small\"\n  }\n\n\n  // end\n}\n"
	got, ds := Format("x.hcl", []byte(src))
	if len(ds) > 0 || string(got) != want {
		t.Errorf("got %v\n%s\nwant\n%s", ds, got, want)
	}
	if again, _ := Format("x.hcl", got); string(again) != string(got) {
		t.Errorf("formatting twice differs:\n%s", again)
	}
	broken := []byte("a = \n")
	if got, ds := Format("x.hcl", broken); len(ds) != 1 || ds[0].ID != diag.SyntaxError || string(got) != string(broken) {
		t.Errorf("of a syntax error: got %q, %v", got, ds)
	}
}
