package remote_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/remote"
)

// TestCheckCrossesThePipe: what is needed goes there, and all that was found comes back, as if the plug-in were built in.
func TestCheckCrossesThePipe(t *testing.T) {
	t.Parallel()
	const options = `{"quota": {"machine": 1}, "prices": {"date": "2026-11-01", "source": "a list", "region": "here", "unknown": ["traffic"]},
		"account": {"identity": "ops", "place": "here", "cpus": 3, "missing": ["b", "a"], "unseen": ["the weather"],
		"problems": [{"kind": "not found", "noun": "machine", "name": "a", "field": "image", "text": "it is gone"}]}}`
	o, err := fake.Parse([]byte(options))
	if err != nil {
		t.Fatal(err)
	}
	need := providers.Need{Owner: "demo", Machines: []providers.MachineSpec{{Owner: "demo", Name: "a", Type: "small"}, {Owner: "demo", Name: "b", Type: "small", Zone: "x"}}}
	want, err := fake.New(o).Account().Check(t.Context(), need)
	if err != nil || len(want.Limits) != 2 || len(want.Problems) != 2 || len(want.Missing) != 2 {
		t.Fatalf("Check of the fake = %+v, %v", want, err)
	}
	p := open(t, map[string]any{"path": filepath.Join(t.TempDir(), "cloud"), "options": options})
	got, err := p.Account().Check(t.Context(), need)
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("Check over the pipe: %v (-want +got):\n%s", err, d)
	}
	if d := cmp.Diff(o.Prices, p.Caps().Prices); d != "" {
		t.Errorf("prices (-want +got):\n%s", d)
	}
	p.Caps().Prices.Unknown[0] = "scribbled"
	if got := p.Caps().Prices.Unknown[0]; got != "traffic" {
		t.Errorf("what a caller did to the prices shows in the next: %q", got)
	}
}

// TestCheckOfPlugins tries what plug-ins may say to a check, that of an older provision among them.
func TestCheckOfPlugins(t *testing.T) {
	t.Parallel()
	for lie, want := range map[string]struct {
		identity string
		reason   remote.Reason
		text     string
	}{
		"report":           {identity: "ops"},
		"old":              {},
		"nothing":          {reason: remote.Bug, text: "there is no result"},
		"escaping report":  {reason: remote.Bug, text: "cannot be printed"},
		"negative report":  {reason: remote.Bug, text: "negative"},
		"nameless report":  {reason: remote.Bug, text: "the name of a limit is empty"},
		"empty permission": {reason: remote.Bug, text: "a missing permission is empty"},
		"odd problem":      {reason: remote.Bug, text: `of kind "odd"`},
		"panic":            {reason: remote.Died, text: "ended (exit status 2)"},
		"exit":             {reason: remote.Died, text: "ended (exit status 3)"},
		"busy":             {reason: remote.Hung, text: "did not end the call within 1s"},
	} {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			p, err := remote.Open(t.Context(), lying(t, lie))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			r, err := p.Account().Check(t.Context(), providers.Need{Owner: "demo"})
			var f *remote.Fault
			switch {
			case want.reason == "" && (err != nil || r.Identity != want.identity):
				t.Errorf("Check = %+v, %v, want %q", r, err, want.identity)
			case want.reason != "" && (!errors.As(err, &f) || f.Reason != want.reason || !strings.Contains(err.Error(), want.text) || f.Call != "check account demo"):
				t.Errorf("Check = %+v, %v, want %s and %q", r, err, want.reason, want.text)
			}
			if _, err := p.Machines().Types(t.Context()); err != nil {
				t.Errorf("the next call = %v, want that it goes on", err)
			}
		})
	}
}
