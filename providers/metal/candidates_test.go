package metal

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
)

// TestCandidates looks for hosts as doctor does: before anything is claimed, and whatever is wrong with them.
func TestCandidates(t *testing.T) {
	cs := newChambers(t, 8)
	a := cs.attributes()
	a["type"] = []any{
		map[string]any{"name": "control", "labels": map[string]any{"use": "control"}}, map[string]any{"name": "work"},
	}
	hostBlock(a, 0)["labels"] = map[string]any{"use": "control"}
	hostBlock(a, 1)["role"] = Worker
	hostBlock(a, 2)["private"] = "10.1.0.99"
	hostBlock(a, 3)["gone"] = true
	hostBlock(a, 4)["reserve"] = true
	hostBlock(a, 5)["role"] = "others"
	p := cs.open(a)
	uses := []Use{{ControlPlane, "control"}, {"workers", "work"}}

	// The first of its kind is claimed by us, the last by others. One shows another key, one asks for a password, of one the key
	// is not known.
	n := network1(t, p, "demo")
	s := spec(n, "demo-cp-0")
	s.Pool, s.Type = ControlPlane, "control"
	if _, err := p.Machines().Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	theirs := cs.attributes()
	theirs["host"] = theirs["host"].([]any)[7:]
	other := cs.open(theirs)
	if _, err := other.Machines().Create(t.Context(), spec(network1(t, other, "green"), "green-a")); err != nil {
		t.Fatal(err)
	}
	cs.all[1].Fail(sudoAsks)
	cs.all[2].ChangeHostKey()
	delete(hostBlock(a, 6), "host_key")
	all, err := cs.open(a).Candidates(t.Context(), "demo", uses)
	if err != nil {
		t.Fatal(err)
	}
	type row struct{ host, machine, taken, pools, address string }
	want := []row{
		{"host-0", "demo-cp-0", "", ControlPlane, "10.1.0.1"},
		{"host-1", "", "", "workers", "10.1.0.2"},
		{"host-2", "", "", "workers", "10.1.0.99"},
		{"host-6", "", "", "workers", "10.1.0.7"},
		{"host-7", "", "green", "workers", "10.1.0.8"},
	}
	var got []row
	for _, c := range all {
		got = append(got, row{c.Host, c.Machine, string(c.Taken), strings.Join(c.Pools, " "), c.Address.String()})
	}
	if !slices.Equal(got, want) {
		t.Fatalf("candidates:\ngot  %v\nwant %v", got, want)
	}
	dial := func(i int) error {
		c, err := all[i].Dial(t.Context())
		if err == nil {
			_, err = c.Run(t.Context(), ssh.Command{Line: "true"})
			err = errors.Join(err, c.Close(), c.Close())
		}
		return err
	}
	if err := dial(0); err != nil {
		t.Errorf("our own machine: %v", err)
	}
	if err := dial(1); !errors.As(err, new(*ssh.SudoError)) {
		t.Errorf("sudo that asks: %v", err)
	}
	if err := dial(2); !errors.As(err, new(*ssh.HostKeyChanged)) {
		t.Errorf("another host key: %v", err)
	}
	if err := dial(3); !errors.As(err, new(*ssh.HostKeyUnknown)) {
		t.Errorf("a key that nobody has told: %v", err)
	}
	cs.all[1].Fail(sshtest.Faults{})
}
