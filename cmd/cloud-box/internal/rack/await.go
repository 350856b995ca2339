//go:build linux

package rack

import (
	"context"
	"fmt"
	"time"
)

// For APIs whose operations last until the hardware has done its part.

// RunNow makes a machine, or starts one that is stopped, and waits until it runs.
func (r *Rack) RunNow(ctx context.Context, o Order) error {
	switch phase, _ := r.Phase(o.ID); phase {
	case None, Gone, Failed:
		if err := r.Run(o); err != nil {
			return err
		}
	case Stopping, Stopped:
		r.Start(o.ID)
	}
	return r.await(ctx, o.ID, Running)
}

// StopNow switches a machine off and waits until it is.
func (r *Rack) StopNow(ctx context.Context, id string) error {
	r.Stop(id)
	return r.await(ctx, id, Stopped)
}

// EndNow removes a machine and waits until it is gone. Removing what is not there succeeds.
func (r *Rack) EndNow(ctx context.Context, id string) error {
	if phase, _ := r.Phase(id); phase == None || phase == Failed {
		return nil
	}
	r.End(id)
	return r.await(ctx, id, Gone)
}

// await waits until the machine is in that phase.
func (r *Rack) await(ctx context.Context, id string, want Phase) error {
	for {
		phase, err := r.Phase(id)
		switch {
		case phase == want:
			return nil
		case err != nil:
			return err
		case phase == None, phase == Gone:
			return fmt.Errorf("machine %s is gone", id)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
