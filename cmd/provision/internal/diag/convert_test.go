package diag

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"syscall"
	"testing"

	"github.com/provisionhq/provision/providers"
)

// hostError is an error of a package that does not import this one.
type hostError struct{ id string }

func (e hostError) Error() string              { return "phase runtime: exit status 1" }
func (e hostError) DiagnosticID() string       { return e.id }
func (e hostError) Output() []string           { return []string{"no space left"} }
func (e hostError) Advice() (string, []string) { return "Look there:", []string{"provision logs"} }

func TestAsDiagnostics(t *testing.T) {
	ready := New(NotRoot, "already one").Next("Use sudo.")
	for _, test := range []struct {
		name string
		err  error
		want []ID
	}{
		{"nil", nil, nil},
		{"a diagnostic", ready, []ID{NotRoot}},
		{"wrapped", fmt.Errorf("machine.workers[2]: %w", ready), []ID{NotRoot}},
		{"diagnostics", Diagnostics{ready, New(Internal, "x")}, []ID{NotRoot, Internal}},
		{"diagnostics wrapped", fmt.Errorf("load: %w", Diagnostics{ready, ready}), []ID{NotRoot, NotRoot}},
		{"joined", errors.Join(ready, providers.Quota, nil, context.Canceled), []ID{NotRoot, QuotaExceeded, Interrupted}},
		{"joined within a join", errors.Join(errors.Join(ready, ready), errors.New("x")), []ID{NotRoot, NotRoot, Internal}},
		{"kind", fmt.Errorf("run instance a: %w: %w", providers.Capacity, errors.New("no m7i")), []ID{OutOfCapacity}},
		{"kind in a cancelled call", fmt.Errorf("list: %w: %w", providers.Unavailable, context.Canceled), []ID{Interrupted}},
		{"coded", fmt.Errorf("node a: %w", hostError{"bootstrap-failed"}), []ID{BootstrapFailed}},
		{"coded with nonsense", hostError{"nonsense"}, []ID{Internal}},
		{"deadline", fmt.Errorf("wait for a: %w", context.DeadlineExceeded), []ID{Deadline}},
		{"disk full", &fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, []ID{DiskFull}},
		{"not there", &fs.PathError{Op: "open", Path: "/x", Err: fs.ErrNotExist}, []ID{FileNotFound}},
		{"not allowed", &fs.PathError{Op: "open", Path: "/x", Err: os.ErrPermission}, []ID{FilePermission}},
		{"unknown", errors.New("x"), []ID{Internal}},
		{"silent", errors.New(""), []ID{Internal}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ds := AsDiagnostics(test.err)
			var got []ID
			for _, d := range ds {
				got = append(got, d.ID)
				if d.Detail == "" {
					t.Errorf("%s has no detail", d.ID)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Fatalf("got %v, want %v", got, test.want)
			}
			if len(ds) == 1 && !errors.As(error(ds), new(Diagnostic)) {
				t.Error("errors.As finds no Diagnostic in it")
			}
		})
	}
}

func TestAsDiagnosticsKeepsTheCause(t *testing.T) {
	err := fmt.Errorf("run instance a: %w: %w", providers.Capacity, errors.New("no m7i"))
	ds := AsDiagnostics(err)
	if providers.KindOf(ds) != providers.Capacity {
		t.Errorf("the kind is gone: %#v", ds)
	}
	if got, want := ds[0].Detail, "Run instance a: capacity: no m7i."; got != want {
		t.Errorf("detail: got %q, want %q", got, want)
	}
}

func TestCodedTellsOutputAndAdvice(t *testing.T) {
	d := AsDiagnostics(fmt.Errorf("node a: %w", hostError{"bootstrap-failed"}))[0]
	if !reflect.DeepEqual(d.Output, []string{"no space left"}) || d.Advice != "Look there:" || !reflect.DeepEqual(d.Commands, []string{"provision logs"}) {
		t.Errorf("got %+v", d)
	}
}

// TestEveryKindHasADiagnostic holds KindID against the contract.
func TestEveryKindHasADiagnostic(t *testing.T) {
	for _, k := range providers.Kinds() {
		if id := KindID(string(k)); id == Internal {
			t.Errorf("providers.Kind %q has no diagnostic", k)
		}
		if got := AsDiagnostics(fmt.Errorf("x: %w", k))[0].ID; got != KindID(string(k)) {
			t.Errorf("an error of kind %q becomes %s, want %s", k, got, KindID(string(k)))
		}
	}
	if got := FromKind("nonsense", "x").ID; got != Internal {
		t.Errorf("FromKind of an unknown kind: got %s", got)
	}
}
