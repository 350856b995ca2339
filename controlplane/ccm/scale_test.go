package ccm

import (
	"flag"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/provisionhq/provision/providers"
	vendorfake "github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/limit"
)

// full makes the scale test as large as `make bench` has it.
var full = flag.Bool("ccm.full", false, "count the calls of 1,000 nodes and 200 Services: two minutes with the race detector")

// callsAnHour is what a steady state may cost, however large the cluster is.
const callsAnHour = 60

// TestCallsOfAnHour counts the vendor's calls of a large cluster in which nothing happens, at a vendor with AWS's
// documented limits. Calls are counted on their way to the vendor, behind the client's own limits.
func TestCallsOfAnHour(t *testing.T) {
	manyNodes, manyServices := 100, 40
	if *full {
		manyNodes, manyServices = 1000, 200
	}
	watch.DefaultChanSize = 100_000 // of the API in memory, which panics where the real one makes its clients begin anew
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{Limits: awsLimits()})
		var machines []providers.Machine
		for i := range manyNodes {
			machines = append(machines, w.machine(fmt.Sprintf("w%d", i)))
			time.Sleep(time.Second) // no faster than the vendor lets anybody
		}
		w.limits = limit.For("aws")
		w.run()
		for _, m := range machines {
			w.node(m.Name, m.NodeID, m.Private)
		}
		time.Sleep(time.Minute)
		for i := range manyServices {
			w.create(newService(fmt.Sprintf("s%d", i), func(s *v1.Service) { s.Spec.ClusterIP = "" }))
		}
		time.Sleep(20 * time.Minute) // one balancer in five seconds is what AWS lets anybody make
		for i := range manyServices {
			if name := fmt.Sprintf("s%d", i); w.address(name) == "" {
				t.Fatalf("Service %s has no address: %v", name, w.events(name))
			}
		}
		if n := w.called("machine.list") + w.called("balancer.list"); n > 30 {
			t.Errorf("%d nodes and %d Services took %d lists to come", manyNodes, manyServices, n)
		}
		before := w.allCalls()
		time.Sleep(time.Hour)
		t.Logf("%d nodes, %d Services: %d calls in an hour in which nothing happened, %d throttled; all calls: %v; %d MB of heap live, with the API server's objects and the vendor's",
			manyNodes, manyServices, w.allCalls()-before, w.throttled, w.calls, live()>>20)
		if got := w.allCalls() - before; got > callsAnHour {
			t.Errorf("%d calls in an hour, want at most %d", got, callsAnHour)
		}
		if w.throttled > 0 {
			t.Errorf("%d calls were throttled", w.throttled)
		}
	})
}

// live is how much of the heap is in use, in bytes.
func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// awsLimits are the documented limits, on the vendor's side.
func awsLimits() (all []vendorfake.Limit) {
	for _, r := range limit.For("aws") {
		all = append(all, vendorfake.Limit{Nouns: r.Nouns, Verbs: r.Verbs, PerSecond: r.PerSecond, Burst: r.Burst})
	}
	return all
}
