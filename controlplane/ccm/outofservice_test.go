package ccm

import (
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vendorfake "github.com/provisionhq/provision/providers/fake"
)

// TestStoppedMachineIsOutOfService: the vendor's word moves the pods and their volumes; a node that is merely silent keeps them, and
// what a person said of a node stays.
func TestStoppedMachineIsOutOfService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vendorfake.Options{})
		w.run()
		m := w.joined("stopped", "silent", "persons")
		time.Sleep(time.Second)
		theirs := w.get("persons").DeepCopy()
		theirs.Spec.Taints = append(theirs.Spec.Taints, v1.Taint{Key: v1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: v1.TaintEffectNoExecute})
		if _, err := w.client.CoreV1().Nodes().Update(t.Context(), theirs, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := w.vendor.Stop(t.Context(), m[0].ID); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{"stopped", "silent", "persons"} {
			w.unready(n, v1.ConditionUnknown)
		}
		check := func(when string, want map[string]string) {
			t.Helper()
			time.Sleep(3 * lookEvery)
			for name, value := range want {
				got := ""
				for _, x := range w.get(name).Spec.Taints {
					if x.Key == v1.TaintNodeOutOfService {
						got = x.Value
					}
				}
				if got != value {
					t.Errorf("%s: node %s is out of service by %q, want %q", when, name, got, value)
				}
			}
		}
		check("stopped", map[string]string{"stopped": machineStopped, "silent": "", "persons": "nodeshutdown"})
		for _, n := range []string{"stopped", "persons"} {
			w.unready(n, v1.ConditionTrue)
		}
		check("runs again", map[string]string{"stopped": "", "persons": "nodeshutdown"})
	})
}
