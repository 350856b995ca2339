//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestE2EHAScale changes how many machines a control plane has, where its API is, and the address of every machine, each by
// the file and one apply, while pods answer.
func TestE2EHAScale(t *testing.T) {
	before := takeSnapshot(t, "e2e")
	t.Run("cluster", func(t *testing.T) {
		r := newHARig(t)
		r.parts([]haPart{{"apply", (*haRig).partFound}, {"count", (*haRig).partCount}, {"endpoint", (*haRig).partEndpoint}, {"addresses", (*haRig).partAddresses}})
	})
	before.compare(t, takeSnapshot(t, "e2e"))
}

// restarted is how long the API may stay away when etcd's first member starts anew: one of several has other settings than
// one alone.
const restarted = 15 * time.Second

// partCount: 3, 5, 3, 1, 3.
func (r *haRig) partCount() {
	for _, step := range []struct {
		to    int
		bound time.Duration
	}{{5, bound}, {3, bound}, {1, restarted}, {3, restarted}} {
		s := r.spec
		what := fmt.Sprintf("%d to %d", s.controlPlane, step.to)
		s.controlPlane = step.to
		ps, pods := r.probe(), probes{r.serviceProbe("workers-0"), r.serviceProbe("workers-1")}
		w := r.write(strings.ReplaceAll(what, " ", "-"))
		time.Sleep(time.Second)
		r.want(s)
		r.applied(what, 5*time.Minute)
		r.whole(what, step.to, time.Minute)
		w.end(r.t)
		ps.seen(r.t, what, step.bound)
		pods.seen(r.t, what, bound)
		pods.end()
		ps.end()
	}
}

// partEndpoint: another virtual address and other names.
func (r *haRig) partEndpoint() {
	s := r.spec
	pods := probes{r.serviceProbe("workers-0"), r.serviceProbe("workers-1")}
	old := r.ways()[1]
	s.address, s.names = "201", `"kube.ha.test", "api.ha.test"`
	r.want(s)
	r.applied("another virtual address and another name", time.Minute)
	r.whole("another virtual address", 3, time.Minute)
	moved := r.ways()[1]
	moved.name = "kube.ha.test"
	c := r.client(moved, 5*time.Second, false)
	for _, name := range []string{r.network + ".201", "kube.ha.test", "api.ha.test"} {
		c.Transport.(*http.Transport).TLSClientConfig.ServerName = name
		if _, _, err := request(c, http.MethodGet, "https://api/api/v1/namespaces/default", ""); err != nil {
			r.t.Errorf("the new virtual address as %s: %v", name, err)
		}
	}
	if _, _, err := request(r.client(old, 2*time.Second, false), http.MethodGet, "https://api/api/v1/namespaces/default", ""); err == nil {
		r.t.Error("the old virtual address answers still")
	}
	if conf := r.run(time.Minute, "kubeconfig", r.file); !strings.Contains(conf, "https://kube.ha.test:6443") || !strings.Contains(conf, r.network+".201:6443") {
		r.t.Errorf("the kubeconfig does not know the new ways")
	}
	pods.seen(r.t, "another virtual address and another name", bound)
	pods.end()
}

// partAddresses: every machine is replaced, and so at another address, in one apply.
func (r *haRig) partAddresses() {
	before := r.addresses(nil)
	ways := r.ways()[1:] // no node stays
	ps, page := r.probe(ways...), probes{r.serviceAnywhere()}
	w := r.write("addresses", ways...)
	time.Sleep(time.Second)
	out := r.applied("every machine at another address", 10*time.Minute, "--replace", "control-plane[*]", "--replace", "workers[*]")
	_, timings, _ := strings.Cut(out, "\n   start ")
	r.t.Logf("   start %s", timings)
	r.whole("all replaced", 3, time.Minute)
	w.end(r.t)
	ps.seen(r.t, "every machine at another address", 2*bound)
	page.seen(r.t, "every machine at another address", bound)
	ps.end()
	page.end()
	r.addresses(before)
	last := r.probe()
	time.Sleep(2 * time.Second)
	last.seen(r.t, "afterwards", bound)
	last.end()
}

// addresses returns all machines' addresses, and fails where one is as before.
func (r *haRig) addresses(before map[string]string) map[string]string {
	r.t.Helper()
	now := map[string]string{}
	for _, n := range r.status().Nodes {
		now[n.Name] = n.IP
		if before[n.Name] == n.IP {
			r.t.Errorf("%s is still at %s", n.Name, n.IP)
		}
	}
	return now
}

// serviceAnywhere fetches the demo's page while machines are replaced: as a client on a worker that takes pods, and so may have
// clients, at the moment.
func (r *haRig) serviceAnywhere() *probe {
	nodes := r.client(r.ways()[2], 2*time.Second, true)
	var mu sync.Mutex
	since := map[string]time.Time{} // it takes pods
	look := func() {
		_, b, err := request(nodes, http.MethodGet, "https://api/api/v1/nodes?resourceVersion=0", "")
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		takes := takesPods(b)
		for _, n := range []string{"workers-0", "workers-1"} {
			switch {
			case !takes[r.full(n)]:
				delete(since, n)
			case since[n].IsZero():
				since[n] = time.Now()
			}
		}
	}
	look()
	p := newProbe("the Service from a worker that takes pods", func() error {
		mu.Lock()
		from := ""
		for n, t := range since {
			if from == "" || t.Before(since[from]) {
				from = n
			}
		}
		mu.Unlock()
		if from == "" {
			return fmt.Errorf("no worker takes pods")
		}
		_, _, err := request(r.client(way{from: from, address: r.service + ":80"}, 2*time.Second, false), http.MethodGet, "http://"+r.service+"/", "")
		return err
	})
	p.all.Go(func() {
		for {
			select {
			case <-p.stop:
				return
			case <-time.After(200 * time.Millisecond):
				look()
			}
		}
	})
	return p
}

// takesPods says which nodes of a list are ready and not cordoned.
func takesPods(list []byte) map[string]bool {
	var l struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ Unschedulable bool }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if json.Unmarshal(list, &l) != nil {
		return nil
	}
	takes := map[string]bool{}
	for _, n := range l.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" && !n.Spec.Unschedulable {
				takes[n.Metadata.Name] = true
			}
		}
	}
	return takes
}
