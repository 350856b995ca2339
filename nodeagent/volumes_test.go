package nodeagent

import (
	"encoding/json"
	"testing"
)

// TestPlaceIsWaitedFor reads nodes before and after the cloud agent completed them.
func TestPlaceIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		node  string
		at    place
		known bool
	}{
		{`{"spec":{"taints":[{"key":"node.cloudprovider.kubernetes.io/uninitialized","value":"true","effect":"NoSchedule"}]}}`, place{}, false},
		{`{"metadata":{"labels":{"topology.kubernetes.io/zone":"eu-west-1b","provision.sh/volumes":"26"}},"spec":{"taints":[{"key":"own","effect":"NoSchedule"}]}}`, place{"eu-west-1b", 26}, true},
		{`{"metadata":{"labels":{"a":"b","provision.sh/volumes":"some"}}}`, place{}, true},
	} {
		var n nodePlace
		if err := json.Unmarshal([]byte(c.node), &n); err != nil {
			t.Fatal(err)
		}
		if at, known := n.place(); at != c.at || known != c.known {
			t.Errorf("%s: got %v %v, want %v %v", c.node, at, known, c.at, c.known)
		}
	}
}
