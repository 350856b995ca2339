package engine

import (
	"strings"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// TestTogether: what is wrong with the state is said once, with the steps that it stopped; what is wrong with steps, of each.
func TestTogether(t *testing.T) {
	var ds diag.Diagnostics
	for range 20 {
		d := diag.New(diag.DiskFull, "the journal cannot be written.")
		d.Address = "machine.workers[1]"
		ds = append(ds, d, diag.New(diag.QuotaExceeded, "quota"))
	}
	ds = append(ds, diag.New(diag.StateFenced, "once"))
	got := together(ds)
	if len(got) != 22 || got[0].ID != diag.DiskFull || !strings.Contains(got[0].Detail, "these 20 steps") || !strings.Contains(got[0].Detail, "and 8 more") || got[0].Address != "" || got[21].Detail != "once" {
		t.Errorf("%d diagnostics: %+v", len(got), got[0])
	}
}
