package nodeagent

import (
	"encoding/json"
	"testing"
)

// TestZoneIsWaitedFor reads nodes before and after the cloud agent completed them.
func TestZoneIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		node, zone string
		known      bool
	}{
		{`{"spec":{"taints":[{"key":"node.cloudprovider.kubernetes.io/uninitialized","value":"true","effect":"NoSchedule"}]}}`, "", false},
		{`{"metadata":{"labels":{"topology.kubernetes.io/zone":"eu-west-1b"}},"spec":{"taints":[{"key":"own","effect":"NoSchedule"}]}}`, "eu-west-1b", true},
		{`{"metadata":{"labels":{"a":"b"}}}`, "", true},
	} {
		var n nodePlace
		if err := json.Unmarshal([]byte(c.node), &n); err != nil {
			t.Fatal(err)
		}
		if zone, known := n.zone(); zone != c.zone || known != c.known {
			t.Errorf("%s: got %q %v, want %q %v", c.node, zone, known, c.zone, c.known)
		}
	}
}
