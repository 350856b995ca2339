package fake_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// grow makes n machines and returns how long it took.
func grow(t *testing.T, n int) time.Duration {
	f := fake.New(fake.Options{})
	spec := network("main")
	spec.CIDR = netip.MustParsePrefix("10.0.0.0/12")
	net := must[providers.Network](t)(f.Networks().Create(t.Context(), spec))
	start := time.Now()
	for i := range n {
		must[providers.Machine](t)(f.Machines().Create(t.Context(), machine(net.ID, fmt.Sprintf("demo-workers-%d", i))))
	}
	all := must[[]providers.Machine](t)(f.Machines().List(t.Context(), "demo"))
	if len(all) != n {
		t.Errorf("List has %d machines, want %d", len(all), n)
	}
	for _, m := range all {
		if err := f.Machines().Delete(t.Context(), m.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Networks().Delete(t.Context(), net.ID); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

// TestTenThousandMachines finds what is quadratic: ten times as many must not take much more than ten times as long.
func TestTenThousandMachines(t *testing.T) {
	for attempt := 1; ; attempt++ {
		small := max(grow(t, 1000), 10*time.Millisecond)
		large := grow(t, 10000)
		t.Logf("1,000 machines made, listed and deleted in %s, 10,000 in %s", small, large)
		switch {
		case large <= 40*small:
			return
		case attempt == 3: // others may keep the processors busy, but not each time just then
			t.Errorf("10,000 machines took %s, 1,000 took %s: that is worse than in proportion", large, small)
			return
		}
	}
}

func BenchmarkCreateMachine(b *testing.B) {
	b.Run("memory", func(b *testing.B) { benchmark(b, fake.New(fake.Options{})) })
	b.Run("file", func(b *testing.B) {
		f, err := fake.Open(filepath.Join(b.TempDir(), "cloud"), fake.Options{})
		if err != nil {
			b.Fatal(err)
		}
		benchmark(b, f)
	})
}

func benchmark(b *testing.B, f *fake.Fake) {
	spec := network("main")
	spec.CIDR = netip.MustParsePrefix("10.0.0.0/8")
	n, err := f.Networks().Create(b.Context(), spec)
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		if _, err := f.Machines().Create(b.Context(), machine(n.ID, fmt.Sprintf("m-%d", i))); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// TestManyAtOnceShareTheDisk makes 10,000 machines over 64 goroutines in the form of a file. One write and one wait for
// the disk for each would be 20,000 of them.
func TestManyAtOnceShareTheDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud")
	f := open(t, path, fake.Options{})
	spec := network("main")
	spec.CIDR = netip.MustParsePrefix("10.0.0.0/12")
	n := must[providers.Network](t)(f.Networks().Create(t.Context(), spec))
	const machines, callers = 10000, 64
	start := time.Now()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := c; i < machines; i += callers {
				if _, err := f.Machines().Create(t.Context(), machine(n.ID, fmt.Sprintf("m-%d", i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	start = time.Now()
	other := open(t, path, fake.Options{})
	opened := time.Since(start)
	start = time.Now()
	all := must[[]providers.Machine](t)(other.Machines().List(t.Context(), "demo"))
	t.Logf("%d machines over %d goroutines, on the disk, in %s; opened in %s, listed in %s", machines, callers, took, opened, time.Since(start))
	if len(all) != machines {
		t.Errorf("there are %d machines, want %d", len(all), machines)
	}
	if took > 30*time.Second {
		t.Errorf("it took %s: they do not share their waits for the disk", took)
	}
}
