package engine

import (
	"fmt"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/providers"
)

// TestWrongAttribute: what the vendor says is wrong with its block is refused input, with the attribute's own line.
func TestWrongAttribute(t *testing.T) {
	c := &config.Cluster{Name: "demo", File: "cluster.hcl", Provider: config.Provider{Name: "far"}, Ranges: map[string]diag.Range{
		"provider":        {File: "cluster.hcl", Start: diag.Pos{Line: 1}},
		"provider.region": {File: "cluster.hcl", Start: diag.Pos{Line: 2}},
	}}
	e := New(Options{Cluster: c})
	for attribute, line := range map[string]int{"region": 2, "zones": 1} {
		err := fmt.Errorf("list machine types: %w", providers.BadAttribute(attribute, "there is no mars"))
		ds := diag.AsDiagnostics(e.vendorError("list machine types", err))
		if len(ds) != 1 || ds.ExitCode() != diag.ExitRefused || ds[0].Range == nil || ds[0].Range.Start.Line != line {
			t.Errorf("%s: %+v", attribute, ds)
		}
	}
}

// unknown is an error that knows its diagnostic.
type unknown struct{}

func (unknown) Error() string              { return "denied: who are you" }
func (unknown) Unwrap() error              { return providers.Denied }
func (unknown) DiagnosticID() string       { return string(diag.VendorDenied) }
func (unknown) Advice() (string, []string) { return "Say it:", []string{"whoami"} }

// TestVendorKnowsWhatToDo: what a vendor advises who is not let in is told with the block's line.
func TestVendorKnowsWhatToDo(t *testing.T) {
	c := &config.Cluster{Name: "demo", File: "cluster.hcl", Provider: config.Provider{Name: "far", Range: diag.Range{File: "cluster.hcl", Start: diag.Pos{Line: 3}}}}
	e := New(Options{Cluster: c})
	ds := diag.AsDiagnostics(e.vendorError("look at the account", fmt.Errorf("check account: %w", unknown{})))
	if len(ds) != 1 || ds[0].ID != diag.VendorDenied || ds[0].Range == nil || ds[0].Range.Start.Line != 3 || len(ds[0].Commands) != 1 || ds[0].Commands[0] != "whoami" {
		t.Errorf("%+v", ds)
	}
}
