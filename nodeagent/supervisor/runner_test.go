package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/templates"
)

func itoa(n int) string { return strconv.Itoa(n) }

// fake is a process that lives for a while of fake time.
type fake struct{ end chan struct{} }

func live(d time.Duration) *fake {
	f := &fake{make(chan struct{})}
	time.AfterFunc(d, func() { close(f.end) })
	return f
}

func (f *fake) pid() int              { return 1 << 30 }
func (f *fake) startTime() uint64     { return 0 }
func (f *fake) done() <-chan struct{} { return f.end }
func (f *fake) exit() string          { return "exit status 1" }
func (f *fake) signal(syscall.Signal) {}
func (f *fake) kill()                 {}

func TestBackoff(t *testing.T) {
	for _, test := range []struct {
		why   string
		lives []time.Duration
		want  string
	}{
		{"dies at once, always", []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 0}, "[100ms 200ms 400ms 800ms 1.6s 3.2s 6.4s 10s 10s]"},
		{"lives for a while in between", []time.Duration{0, 0, 10 * time.Second, 0}, "[100ms 200ms 100ms 200ms]"},
		{"lives nearly long enough", []time.Duration{0, 9 * time.Second, 9 * time.Second}, "[100ms 200ms 400ms]"},
	} {
		var b backoff
		var got []time.Duration
		for _, life := range test.lives {
			got = append(got, b.next(life))
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%s: got %v, want %s", test.why, got, test.want)
		}
	}
}

// TestBackoffInTime lets a process die again and again and looks at when it is started.
func TestBackoffInTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		lives := []time.Duration{time.Second, time.Second, time.Second, 20 * time.Second, time.Hour}
		var starts []time.Duration
		s := newSupervisor(Options{}, &records{path: filepath.Join(dir, "r"), all: map[string]record{}})
		s.o = Options{Log: newLog(), start: func(controlplane.Process) (child, error) {
			starts = append(starts, time.Since(begun))
			if len(starts) == 2 {
				return nil, errors.New("no memory") // counts as a death
			}
			life := lives[0]
			lives = lives[1:]
			return live(life), nil
		}}
		if err := s.Set([]controlplane.Process{{Name: "x"}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s.Close()
		// Lives 1s, waits 100ms; cannot start, waits 200ms; lives 1s, waits 400ms; 1s, 800ms; 20s, 100ms.
		want := "[0s 1.1s 1.3s 2.7s 4.5s 24.6s]"
		if fmt.Sprint(starts) != want {
			t.Errorf("started at %v, want %s", starts, want)
		}
		time.Sleep(2 * time.Hour) // the last fake ends before the bubble does
	})
}

// TestReadyIsLostAfterTwoFailures lets the probe of a process fail and looks at when the process counts as not ready.
func TestReadyIsLostAfterTwoFailures(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var bad atomic.Bool
		s := newSupervisor(Options{}, &records{path: filepath.Join(dir, "r"), all: map[string]record{}})
		s.o = Options{Log: newLog(), start: func(controlplane.Process) (child, error) { return live(time.Hour), nil }}
		err := s.Set([]controlplane.Process{{Name: "x", Ready: func(context.Context) error {
			if bad.Load() {
				return errors.New("overloaded")
			}
			return nil
		}}})
		if err != nil {
			t.Fatal(err)
		}
		status := func() templates.ProcessStatus { synctest.Wait(); return s.Status()[0] }
		if p := status(); !p.Ready || p.State != templates.Running {
			t.Errorf("at first: %+v", p)
		}
		bad.Store(true)
		time.Sleep(probePeriod)
		if p := status(); !p.Ready || p.LastProbe != "overloaded" {
			t.Errorf("after one failure: %+v", p)
		}
		time.Sleep(probePeriod)
		if p := status(); p.Ready || p.State != templates.Running {
			t.Errorf("after two failures: %+v", p)
		}
		bad.Store(false)
		time.Sleep(probePeriod)
		if p := status(); !p.Ready || p.LastProbe != "" {
			t.Errorf("after all is well again: %+v", p)
		}
		s.Close()
		time.Sleep(2 * time.Hour)
	})
}

func newLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
