//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
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
		r.parts([]haPart{{"apply", (*haRig).partFound}, {"count", (*haRig).partCount}, {"endpoint", (*haRig).partEndpoint}, {"addresses", (*haRig).partAddresses}, {"replace", (*haRig).partReplace}})
	})
	before.compare(t, takeSnapshot(t, "e2e"))
}

// restarted is how long the API may stay away when etcd's first member starts anew: one of several has other settings than
// one alone.
const restarted = 15 * time.Second

// partCount: 3, 5, 3, 1, 3.
func (r *haRig) partCount() { r.counts(5, 3, 1, 3) }

// counts gives the control plane so many machines, one number after another.
func (r *haRig) counts(numbers ...int) {
	for _, to := range numbers {
		s := r.spec
		what := fmt.Sprintf("%d to %d", s.controlPlane, to)
		away := bound
		if to == 1 || s.controlPlane == 1 {
			away = restarted
		}
		s.controlPlane = to
		ps, pods := r.probe(), probes{r.serviceProbe("workers-0"), r.serviceProbe("workers-1")}
		w := r.write(strings.ReplaceAll(what, " ", "-"))
		time.Sleep(time.Second)
		r.want(s)
		r.applied(what, 5*time.Minute)
		r.whole(what, to, time.Minute)
		w.end(r.t)
		ps.seen(r.t, what, away)
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

// partAddresses: the file gives the network another range, and the endpoint an address of it; one apply moves every machine
// there, one after another, and each lives on.
func (r *haRig) partAddresses() {
	before, old := r.addresses(nil), r.network
	boots := r.boots()
	ways := r.ways()
	ps, page := r.probe(ways[0]), probes{r.serviceAnywhere(ways[0])}
	w := r.write("addresses", ways[0])
	time.Sleep(time.Second)
	r.network = freeNetwork(r.t)
	s := r.spec
	s.address = "202"
	r.want(s)
	out := r.applied("every machine at another address", 10*time.Minute)
	_, timings, _ := strings.Cut(out, "\n   start ")
	r.t.Logf("   start %s", timings)
	r.whole("all moved", 3, time.Minute)
	w.end(r.t)
	ps.seen(r.t, "every machine at another address", 2*bound)
	page.seen(r.t, "every machine at another address", bound)
	ps.end()
	page.end()
	r.addresses(before)
	if now := r.boots(); !maps.Equal(now, boots) {
		r.t.Errorf("machines booted so often: %v, before the move %v", now, boots)
	}
	for _, m := range r.status().Etcd.Members {
		if !strings.HasPrefix(m.Address.String(), r.network+".") {
			r.t.Errorf("etcd looks for %s at %s", m.Name, m.Address)
		}
	}
	if l, err := linkOf(net.ParseIP(old + ".1")); err == nil {
		r.t.Errorf("%s has the old range's address still", l.Name)
	}
	last := r.probe()
	time.Sleep(2 * time.Second)
	last.seen(r.t, "afterwards, on all ways", bound)
	last.end()
}

// boots is how often each machine was started.
func (r *haRig) boots() map[string]int {
	r.t.Helper()
	all := map[string]int{}
	for _, n := range r.status().Nodes {
		b, err := os.ReadFile(filepath.Join("/var/lib/provision/local", r.name, "machines", n.Name, "state.json"))
		var s struct{ Boots int }
		if err == nil {
			err = json.Unmarshal(b, &s)
		}
		if err != nil {
			r.t.Fatal(err)
		}
		all[n.Name] = s.Boots
	}
	return all
}

// partReplace: every machine is replaced by another one, in one apply.
func (r *haRig) partReplace() {
	before := r.hostKeys()
	ways := r.ways()[1:] // no node stays
	ps, page := r.probe(ways...), probes{r.serviceAnywhere(ways[1])}
	w := r.write("replaced", ways...)
	time.Sleep(time.Second)
	out := r.applied("every machine replaced", 10*time.Minute, "--replace", "control-plane[*]", "--replace", "workers[*]")
	_, timings, _ := strings.Cut(out, "\n   start ")
	r.t.Logf("   start %s", timings)
	r.whole("all replaced", 3, time.Minute)
	w.end(r.t)
	ps.seen(r.t, "every machine replaced", 2*bound)
	page.seen(r.t, "every machine replaced", bound)
	ps.end()
	page.end()
	for name, key := range r.hostKeys() {
		if before[name] == key {
			r.t.Errorf("%s is the machine that it was", name)
		}
	}
	last := r.probe()
	time.Sleep(2 * time.Second)
	last.seen(r.t, "afterwards", bound)
	last.end()
}

// hostKeys are what tells apart machines of one name: an address may be given again.
func (r *haRig) hostKeys() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	for _, n := range r.status().Nodes {
		b, err := os.ReadFile(filepath.Join("/var/lib/provision/local", r.name, "machines", n.Name, "record.json"))
		var record struct {
			Keys []string `json:"host_keys"`
		}
		if err == nil {
			err = json.Unmarshal(b, &record)
		}
		if err != nil || len(record.Keys) == 0 {
			r.t.Fatalf("%s: host keys %q, %v", n.Name, record.Keys, err)
		}
		all[n.Name] = strings.Join(record.Keys, "\n")
	}
	return all
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

// serviceAnywhere fetches the demo's page while machines are replaced or moved: as a client on a worker that takes pods, and so
// may have clients, at the moment. Which those are it asks on the way.
func (r *haRig) serviceAnywhere(by way) *probe {
	nodes := r.client(by, 2*time.Second, true)
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
