//go:build e2e

package main

import (
	"fmt"
	"strings"
	"time"
)

// claimed is a pod with a claim that names no class.
const claimed = `apiVersion: apps/v1
kind: StatefulSet
metadata: { name: keeper }
spec:
  serviceName: keeper
  replicas: 1
  selector: { matchLabels: { app: keeper } }
  template:
    metadata: { labels: { app: keeper } }
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      securityContext: { runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 4711 }
      containers:
        - name: keeper
          image: provision.sh/web:1
          imagePullPolicy: Never
          volumeMounts: [{ name: data, mountPath: /data }]
  volumeClaimTemplates:
    - metadata: { name: data }
      spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } }
`

// keeper is the node of the pod, once it is ready and not in the way of being deleted; "" before.
func (r *rig) keeper() string {
	out := r.ask("kubectl", r.file, "--", "get", "pod", "keeper-0", "--ignore-not-found", "-o", `jsonpath={.spec.nodeName} {.status.conditions[?(@.type=="Ready")].status} {.metadata.deletionTimestamp}`)
	if f := strings.Fields(out); len(f) == 2 && f[1] == "True" {
		return strings.TrimPrefix(f[0], r.name+"-")
	}
	return ""
}

func (r *rig) keeperReady(what string, limit time.Duration, not string) (node string) {
	r.t.Helper()
	took := r.eventually(what, slack(limit), func() (bool, string) {
		if node = r.keeper(); node != "" && node != not {
			return true, ""
		}
		return false, tail(r.ask("kubectl", r.file, "--", "describe", "pod/keeper-0", "pvc/data-keeper-0"), 60)
	})
	r.t.Logf("%s after %.1f s, on %s", what, took.Seconds(), node)
	return node
}

// mounted is where the node has the pod's volume.
const mounted = "$(ls -d /var/lib/kubelet/pods/*/volumes/kubernetes.io~csi/*/mount)"

// partClaim: a claim becomes a disk of the pod's node, with the pod's group.
func (r *rig) partClaim() {
	r.applyText(claimed)
	node := r.keeperReady("a pod with a claim is ready", time.Minute, "")
	if out := r.on(node, "stat -c '%g' "+mounted+"; findmnt -n -o FSTYPE "+mounted+"; echo kept >"+mounted+"/file; sync"); !strings.Contains(out, "4711") || !strings.Contains(out, "ext4") {
		r.t.Errorf("the volume on %s:\n%s", node, out)
	}
}

// partClaimGrows: the disk grows, and the file system with it at the latest when the pod is made anew.
func (r *rig) partClaimGrows() {
	r.kubectl("patch", "pvc", "data-keeper-0", "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`)
	r.eventually("the volume has grown", slack(time.Minute), func() (bool, string) {
		out := r.ask("kubectl", r.file, "--", "get", "pv", "-o", "jsonpath={.items[*].spec.capacity.storage}")
		return strings.TrimSpace(out) == "2Gi", out
	})
	r.kubectl("delete", "pod", "keeper-0")
	node := r.keeperReady("the pod is back", time.Minute, "")
	r.eventually("its file system has grown", slack(time.Minute), func() (bool, string) {
		out := r.ask("ssh", r.file, r.name+"-"+node, "--", "df -Pk "+mounted+" | tail -1; cat "+mounted+"/file")
		var dev string
		var kib int
		_, err := fmt.Sscan(out, &dev, &kib)
		return err == nil && kib > 1_700_000 && strings.Contains(out, "kept"), out
	})
}

// partClaimMoves: the pod's node loses its power, the vendor says so, and the pod is elsewhere with its data.
func (r *rig) partClaimMoves() {
	lost := r.keeperReady("the pod is where it was", time.Minute, "")
	r.cutPower(lost)
	node := r.keeperReady("the pod is on another node", 3*time.Minute, lost)
	if out := r.on(node, "cat "+mounted+"/file"); !strings.Contains(out, "kept") {
		r.t.Errorf("the data on %s: %q", node, out)
	}
}

// partClaimGone: with the claim goes the volume.
func (r *rig) partClaimGone() {
	r.kubectl("delete", "statefulset", "keeper", "--wait=false")
	r.kubectl("delete", "pvc", "data-keeper-0", "--wait=false")
	r.eventually("the volume is gone", slack(2*time.Minute), func() (bool, string) {
		o, e, err := r.try(time.Minute, "kubectl", r.file, "--", "get", "pv,volumeattachments", "-o", "name")
		return err == nil && strings.TrimSpace(o) == "", o + e
	})
}
