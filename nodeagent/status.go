package nodeagent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

// Names of the agent's own tasks in a status.
const (
	imagesTask  = "images"
	networkTask = "pod-network"
	nodeTask    = "node" // Ready in its cluster
)

// status says how the node is.
func (a *agent) status() templates.Status {
	procs := a.sup.Status()
	a.mu.Lock()
	s := templates.Status{
		Schema: templates.StatusSchema, Agent: Version(), InitSystem: a.host.initSystem(), Cgroup: a.host.cgroup,
		ConfigHash: a.hash, Problems: sorted(a.problems),
	}
	n, images, pod, joined, table, stale := a.node, a.images, a.pod, a.joined, a.table, a.stale
	a.mu.Unlock()
	for _, e := range a.balancer.State() {
		s.Endpoints = append(s.Endpoints, templates.EndpointStatus(e))
	}
	s.Processes = procs
	if s.ConfigHash == "" {
		s.Processes = []templates.ProcessStatus{}
		return s
	}
	s.Cluster, s.UID, s.Node, s.Role, s.Kubernetes, s.Bundle = n.Cluster, n.UID, n.Name, n.Role, n.Kubernetes, n.Bundle
	s.Processes = append(s.Processes, task(imagesTask, images.done, "containerd"), task(networkTask, pod == "", pod), task(nodeTask, joined == "", joined))
	s.Certificates = expiries("/", n)
	s.Warnings = ending(s.Certificates, time.Now())
	s.Addresses = a.services.status()
	if table != "" && s.Addresses != nil {
		s.Warnings = append(s.Warnings, table)
	}
	if n.Role == templates.ControlPlane {
		e := a.keeper.Status()
		s.Etcd = &e
		if e.Problem != "" {
			s.Problems = append(s.Problems, e.Problem)
		}
		s.VIP = a.vip.status()
	}
	s.Ready = len(s.Problems) == 0 && len(procs) > 0 && !stale
	for _, p := range s.Processes {
		s.Ready = s.Ready && p.Ready
	}
	return s
}

// task shows what the agent does itself beside the processes.
func task(name string, done bool, waits string) templates.ProcessStatus {
	if done {
		return templates.ProcessStatus{Name: name, State: templates.Done, Ready: true}
	}
	return templates.ProcessStatus{Name: name, State: templates.Waiting, WaitingFor: waits}
}

// expiries returns when the node's certificates end. Those that cannot be read are left out: what needs them says so.
func expiries(root string, n templates.Node) []templates.CertificateStatus {
	files := map[string]string{"kubelet-client": kubeletClient, "kubelet-server": kubeletServer, "ca": pki.ClusterCA.File()}
	for _, c := range certificates(n) {
		files[c.Name] = c.CertFile()
		files[string(c.Issuer)] = c.Issuer.File()
	}
	list := []templates.CertificateStatus{}
	for name, path := range files {
		if end, ok := expiry(filepath.Join(root, path)); ok {
			list = append(list, templates.CertificateStatus{Name: name, NotAfter: end})
		}
	}
	slices.SortFunc(list, func(x, y templates.CertificateStatus) int { return strings.Compare(x.Name, y.Name) })
	return list
}

// What is left of a certificate's life when somebody must know.
const (
	authorityNotice = 365 * 24 * time.Hour // from then on what it issues lives shorter and shorter
	leafNotice      = 60 * 24 * time.Hour  // it should have been renewed two months before
	kubeletNotice   = 30 * 24 * time.Hour
)

// ending returns a warning for each certificate that ends soon and that nobody has renewed.
func ending(list []templates.CertificateStatus, now time.Time) []string {
	var warnings []string
	for _, c := range list {
		left := c.NotAfter.Sub(now)
		authority := slices.Contains([]string{string(pki.ClusterCA), string(pki.EtcdCA), string(pki.FrontProxyCA)}, c.Name)
		notice, what := leafNotice, "certificate "+c.Name
		switch {
		case authority:
			notice, what = authorityNotice, "certificate authority "+c.Name
		case strings.HasPrefix(c.Name, "kubelet-"):
			notice = kubeletNotice
		}
		day := c.NotAfter.Format(time.DateOnly)
		switch {
		case left <= 0:
			warnings = append(warnings, fmt.Sprintf("%s ended on %s", what, day))
		case left < notice && authority:
			warnings = append(warnings, fmt.Sprintf("%s ends on %s, in %d days: the cluster needs a new one before", what, day, left/(24*time.Hour)))
		case left < notice:
			warnings = append(warnings, fmt.Sprintf("%s ends on %s, in %d days, and was not renewed: see the log of the node agent", what, day, left/(24*time.Hour)))
		}
	}
	return warnings
}

func expiry(path string) (time.Time, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return time.Time{}, false
	}
	// A kubelet's file holds the certificate first and then its key.
	c, err := pki.ParseCertificate(b)
	if err != nil {
		return time.Time{}, false
	}
	return c.NotAfter.UTC(), true
}
