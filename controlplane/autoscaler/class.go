package autoscaler

import (
	"slices"
	"sync"

	"github.com/awslabs/operatorpkg/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	_ "embed"
)

// classCRD is what the API server must know of MachineClass.
//
//go:embed machineclass.yaml
var classCRD []byte

// classGroup is where MachineClass is.
var classGroup = schema.GroupVersion{Group: "provision.sh", Version: "v1"}

// A MachineClass is what of a pool of cluster.hcl Karpenter has no word for, and whether the vendor can be asked for its machines.
// The agent writes it; what a person changes in it is changed back.
type MachineClass struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   MachineClassSpec   `json:"spec,omitempty"`
	Status MachineClassStatus `json:"status,omitempty"`
}

// A MachineClassSpec is how machines are made.
type MachineClassSpec struct {
	Image   string `json:"image,omitempty"`   // as the vendor names it
	DiskGiB int64  `json:"diskGiB,omitempty"` // of the root disk
}

// A MachineClassStatus says whether machines can be made.
type MachineClassStatus struct {
	Conditions []status.Condition `json:"conditions,omitempty"`
}

// A MachineClassList is several of them.
type MachineClassList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MachineClass `json:"items"`
}

// StatusConditions returns the conditions to read and to set.
func (c *MachineClass) StatusConditions(o ...status.ForOption) status.ConditionSet {
	return status.NewReadyConditions().For(c, o...)
}

// GetConditions returns the conditions.
func (c *MachineClass) GetConditions() []status.Condition { return c.Status.Conditions }

// SetConditions sets the conditions.
func (c *MachineClass) SetConditions(all []status.Condition) { c.Status.Conditions = all }

// DeepCopyObject returns a copy.
func (c *MachineClass) DeepCopyObject() runtime.Object {
	d := *c
	d.ObjectMeta = *c.ObjectMeta.DeepCopy()
	d.Status.Conditions = slices.Clone(c.Status.Conditions)
	return &d
}

// DeepCopyObject returns a copy.
func (l *MachineClassList) DeepCopyObject() runtime.Object {
	d := *l
	d.ListMeta = *l.ListMeta.DeepCopy()
	d.Items = nil
	for i := range l.Items {
		d.Items = append(d.Items, *l.Items[i].DeepCopyObject().(*MachineClass))
	}
	return &d
}

// register tells the scheme of MachineClass. It is client-go's own, as Karpenter looks kinds up there.
var register = sync.OnceFunc(func() {
	metav1.AddToGroupVersion(scheme.Scheme, classGroup)
	scheme.Scheme.AddKnownTypes(classGroup, &MachineClass{}, &MachineClassList{})
})
