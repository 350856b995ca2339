package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/provisionhq/provision/providers"
)

func TestKinded(t *testing.T) {
	for _, c := range []struct {
		err  error
		want providers.Kind
	}{
		{fmt.Errorf("a: %w", providers.Conflict), providers.Conflict},
		{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, providers.Denied},
		{syscall.EPERM, providers.Denied},
		{syscall.ENOSPC, providers.Quota},
		{syscall.ENODEV, providers.Unsupported},
		{context.Canceled, providers.Unavailable},
		{errors.New("whatever"), providers.Unavailable},
	} {
		got := kinded(c.err)
		if providers.KindOf(got) != c.want || !errors.Is(got, c.err) {
			t.Errorf("kinded(%v) = %v; want %s that wraps it", c.err, got, c.want)
		}
	}
	if err := kinded(nil); err != nil {
		t.Errorf("kinded(nil) = %v", err)
	}
}

func TestAbout(t *testing.T) {
	err := syscall.ENOSPC.Error()
	var e error = syscall.ENOSPC
	about("create", providers.MachineNoun, providers.Key{Owner: "demo", Name: "a"}, &e)
	if want := "create machine demo/a: quota: " + err; e.Error() != want {
		t.Errorf("about = %q, want %q", e, want)
	}
}
