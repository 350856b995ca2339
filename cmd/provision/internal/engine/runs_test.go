package engine

import (
	"context"
	"strings"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// TestStoppedAfterCreate: a vendor that says that a machine was made, and that it is stopped, is not believed the former.
func TestStoppedAfterCreate(t *testing.T) {
	p := fake.New(fake.Options{})
	st, c := replaceSite(t)
	if _, err := replaceApply(t, lazy{p}, st, c); err == nil || strings.Count(err.Error(), "says that it is stopped") != 9 {
		t.Errorf("Apply = %v; want each of the 9 machines told as stopped", err)
	}
	if _, err := replaceApply(t, p, st, c); err != nil {
		t.Error(err)
	}
}

// lazy makes machines and starts none.
type lazy struct{ providers.Provider }

func (l lazy) Machines() providers.Machines { return lazyMachines{l.Provider.Machines()} }

type lazyMachines struct{ providers.Machines }

func (l lazyMachines) Create(ctx context.Context, s providers.MachineSpec) (providers.Machine, error) {
	m, err := l.Machines.Create(ctx, s)
	m.State = providers.Stopped
	return m, err
}
