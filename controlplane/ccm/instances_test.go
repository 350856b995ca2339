package ccm

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	cloudapi "k8s.io/cloud-provider/api"

	"github.com/provisionhq/provision/providers"
	vendorfake "github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/templates"
)

func TestNodesAreCompleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		time.Sleep(time.Minute)
		m := w.machine("w1")
		before := w.called("machine.list")
		w.node("w1", "", m.Private)
		time.Sleep(time.Second)
		n := w.get("w1")
		if uninitialized(n) || n.Spec.ProviderID != m.NodeID || n.Labels[v1.LabelInstanceTypeStable] != m.Type || n.Labels[v1.LabelTopologyRegion] != "north" || n.Labels[templates.VolumeCount] != "24" {
			t.Errorf("a second after it joined, the node is not complete: %v %v %v", n.Spec, n.Labels, m)
		}
		if got := w.called("machine.list") - before; got != 1 {
			t.Errorf("completing a node took %d lists, want 1", got)
		}
	})
}

func TestNodeWaitsForItsMachineToBeListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{Lag: vendorfake.Duration(20 * time.Second)})
		w.run()
		m := w.machine("w1")
		w.node("w1", m.NodeID, m.Private)
		w.node("w2", "", netip.Addr{}) // never has a machine
		time.Sleep(30 * time.Second)
		if uninitialized(w.get("w1")) {
			t.Error("10 s after the vendor lists the machine, its node is not complete")
		}
		time.Sleep(time.Hour)
		if !uninitialized(w.get("w2")) {
			t.Error("a node without a machine was completed")
		}
		if got := w.called("machine.list"); got > 70 {
			t.Errorf("a node without a machine cost %d lists in an hour", got)
		}
	})
}

func TestForeignNodesAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		w.joined("w1")
		w.node("theirs", "other:///zone/i-1", netip.MustParseAddr("10.9.0.1"))
		w.node("nobodys", "", netip.MustParseAddr("10.9.0.2"))
		time.Sleep(time.Minute)
		w.unready("theirs", v1.ConditionUnknown)
		w.unready("nobodys", v1.ConditionUnknown)
		was := w.get("theirs").DeepCopy()
		time.Sleep(30 * time.Minute)
		now := w.get("theirs")
		if now == nil || !uninitialized(now) || len(now.Spec.Taints) != len(was.Spec.Taints) || len(now.Labels) != 0 {
			t.Errorf("another vendor's node was touched: %v", now)
		}
		if w.get("nobodys") == nil {
			t.Error("a node that says nothing of its vendor was deleted")
		}
	})
}

func TestNodeOfAMachineThatIsGoneIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		m := w.joined("w1", "w2")
		time.Sleep(time.Minute)
		w.unready("w1", v1.ConditionUnknown)
		w.unready("w2", v1.ConditionUnknown)
		time.Sleep(30 * time.Second)
		if w.get("w1") == nil || w.get("w2") == nil {
			t.Fatal("a node was deleted whose machine is there")
		}
		if err := w.vendor.Machines().Delete(t.Context(), m[0].ID); err != nil {
			t.Fatal(err)
		}
		// Somebody takes the owner's tag away: the list is without the machine, and the machine is there.
		if err := w.vendor.Strip(t.Context(), m[1].ID, providers.OwnerTag); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if w.get("w1") != nil {
			t.Error("the node of a machine that is gone is there after a minute")
		}
		if w.get("w2") == nil {
			t.Error("the node of a machine that lost its tag was deleted")
		}
	})
}

func TestGoneMachineIsNoticedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		m := w.joined("w1")
		time.Sleep(10 * time.Second)
		if err := w.vendor.Machines().Delete(t.Context(), m[0].ID); err != nil {
			t.Fatal(err)
		}
		w.unready("w1", v1.ConditionUnknown)
		time.Sleep(lookEvery + time.Second)
		if w.get("w1") != nil {
			t.Error("the node is there a round after it was lost with its machine")
		}
	})
}

func TestLaggingVendorDeletesNoNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lag = 40 * time.Second
		w := newWorld(t, vendorfake.Options{Lag: vendorfake.Duration(lag)})
		w.run()
		m := w.joined("w1")
		w.unready("w1", v1.ConditionFalse)
		for range 60 {
			time.Sleep(time.Second)
			if w.get("w1") == nil {
				t.Fatal("a node was deleted because the vendor did not list its machine yet")
			}
		}
		if err := w.vendor.Machines().Delete(t.Context(), m[0].ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		if w.get("w1") != nil {
			t.Error("the node of a machine that is gone is there after the lag")
		}
	})
}

func TestStoppedMachineIsTainted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		m := w.joined("w1")
		time.Sleep(time.Second)
		if err := w.vendor.Stop(t.Context(), m[0].ID); err != nil {
			t.Fatal(err)
		}
		w.unready("w1", v1.ConditionUnknown)
		tainted := func() bool {
			for _, x := range w.get("w1").Spec.Taints {
				if x.Key == cloudapi.TaintNodeShutdown {
					return true
				}
			}
			return false
		}
		time.Sleep(10 * time.Second)
		if !tainted() {
			t.Errorf("the node of a stopped machine has no taint: %v", w.get("w1").Spec.Taints)
		}
		w.unready("w1", v1.ConditionTrue)
		time.Sleep(10 * time.Second)
		if tainted() {
			t.Error("the node is ready again, and keeps the taint")
		}
	})
}

// TestBlind is the vendor that cannot be asked: Services get addresses, and nodes are what their kubelets say.
func TestBlind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.cloud.Vendor, w.cloud.Blind = "metal", true
		w.cloud.Balancers = []templates.Addresses{{First: netip.MustParseAddr("192.0.2.100"), Last: netip.MustParseAddr("192.0.2.100")}}
		w.run()
		w.node("h1", "metal://h1", netip.MustParseAddr("192.0.2.1"))
		w.unready("h1", v1.ConditionTrue)
		w.node("h2", "metal://h2", netip.MustParseAddr("192.0.2.2"))
		w.create(newService("web"))
		time.Sleep(time.Second)
		if got := w.address("web"); got != "192.0.2.100" {
			t.Errorf("the Service has the address %q", got)
		}
		w.unready("h2", v1.ConditionUnknown)
		time.Sleep(time.Minute)
		if w.get("h2") == nil || len(w.get("h1").Labels[v1.LabelTopologyZone]) > 0 {
			t.Errorf("nodes were touched: %v, %v", w.get("h1"), w.get("h2"))
		}
		if w.allCalls() != 0 {
			t.Errorf("the vendor was called: %v", w.calls)
		}
	})
}
