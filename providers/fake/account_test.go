package fake_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// TestAccount holds a need against what is planted and what is there, whoever owns it.
func TestAccount(t *testing.T) {
	cpus := 10.
	f := fake.New(fake.Options{
		Quota: map[providers.Noun]int{providers.MachineNoun: 3, providers.VolumeNoun: 7},
		Account: &fake.Account{CPUs: &cpus, Missing: []string{"b", "a"}, Problems: []providers.Problem{
			{Kind: providers.NotFound, Noun: providers.MachineNoun, Name: "c", Text: "gone"},
			{Kind: providers.NotFound, Noun: providers.MachineNoun, Name: "not needed", Text: "gone"},
			{Kind: providers.Conflict, Noun: providers.NetworkNoun, Text: "overlaps"},
		}},
	})
	n := must[providers.Network](t)(f.Networks().Create(t.Context(), providers.NetworkSpec{Owner: "other", Name: "main"}))
	for _, name := range []string{"a", "b"} {
		must[providers.Machine](t)(f.Machines().Create(t.Context(), providers.MachineSpec{Owner: "other", Name: name, Type: "medium", Network: n.ID}))
	}
	need := providers.Need{Owner: "demo", Machines: []providers.MachineSpec{{Owner: "demo", Name: "c", Type: "small"}, {Owner: "demo", Name: "d", Type: "small", Zone: "nowhere"}}}
	r := must[providers.Report](t)(f.Account().Check(t.Context(), need))
	if got, want := fmt.Sprint(r.Limits), "[CPUs: 8 of 10 vCPU used, 4 needed machines: 2 of 3 used, 2 needed]"; got != want || !r.Limits[0].Exceeded() || !r.Limits[1].Exceeded() {
		t.Errorf("limits %s, want %s, both exceeded", got, want)
	}
	if got, want := fmt.Sprint(r.Missing), "[a b]"; got != want {
		t.Errorf("missing %s, want %s", got, want)
	}
	if len(r.Problems) != 2 || r.Problems[0].Name != "c" || r.Problems[1].Field != "zone" {
		t.Errorf("problems %+v, want that of c and the zone of d", r.Problems)
	}
	f.SetFaults([]fake.Fault{{Noun: providers.AccountNoun, Error: providers.Denied}})
	if _, err := f.Account().Check(t.Context(), need); !errors.Is(err, providers.Denied) {
		t.Errorf("Check with a fault = %v", err)
	}
	if r := must[providers.Report](t)(fake.New(fake.Options{}).Account().Check(t.Context(), need)); fmt.Sprint(r) != fmt.Sprint(providers.Report{}) {
		t.Errorf("without an account: %+v", r)
	}
}
