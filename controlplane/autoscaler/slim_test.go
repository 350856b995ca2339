package autoscaler

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSlim keeps of objects what Karpenter decides by, and drops what makes them large.
func TestSlim(t *testing.T) {
	managed := []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}
	size := corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}
	ports := []corev1.ContainerPort{{HostPort: 80}}
	for _, c := range []struct{ have, want any }{
		{
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", ManagedFields: managed}, Status: corev1.NodeStatus{Phase: "x", Images: []corev1.ContainerImage{{SizeBytes: 1}}}},
			&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.NodeStatus{Phase: "x"}},
		},
		{
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", ManagedFields: managed}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{
				{Name: "c", Image: "i", Resources: size, Ports: ports, Command: []string{"x"}, Args: []string{"y"}, Env: []corev1.EnvVar{{Name: "E"}}, ReadinessProbe: &corev1.Probe{}},
			}, InitContainers: []corev1.Container{{Name: "i", Resources: size, Env: []corev1.EnvVar{{Name: "E"}}}}}},
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i", Resources: size, Ports: ports}},
				InitContainers: []corev1.Container{{Name: "i", Resources: size}}}},
		},
		{&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "a", ManagedFields: managed}}, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "a"}}},
	} {
		if got, err := slim(c.have); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("got %+v, %v, want %+v", got, err, c.want)
		}
	}
}
