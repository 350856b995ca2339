package plan

import (
	"testing"

	"github.com/provisionhq/provision/templates"
)

// TestCloudAgentMachines looks which machines may change the owner's objects: those of the control plane, if an agent there asks the vendor.
func TestCloudAgentMachines(t *testing.T) {
	c := demo(1)
	for _, tt := range []struct {
		name  string
		cloud *templates.NodeCloud
		want  bool
	}{
		{"no agent", nil, false},
		{"an agent that asks the vendor", &templates.NodeCloud{Vendor: "aws", External: true}, true},
		{"an agent that gives addresses only", &templates.NodeCloud{Vendor: "metal", Announced: true}, false},
	} {
		for _, m := range Members(c) {
			want := tt.want && m.Role == templates.ControlPlane
			if got := m.MachineSpec(c, Identity{Cloud: tt.cloud}, "n1").CloudAgent; got != want {
				t.Errorf("%s: machine %s: %v, want %v", tt.name, m.Name, got, want)
			}
		}
	}
}
