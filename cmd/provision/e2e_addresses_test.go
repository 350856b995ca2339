//go:build e2e

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/templates"
)

// TestE2EAddresses has an address of a Service on real machines, asked for from outside the cluster all the while, and takes
// from whoever announces it: the agent, the machine, the cluster's API. No cloud agent is needed: the table is written by hand.
func TestE2EAddresses(t *testing.T) {
	before := takeSnapshot(t, "e2e")
	t.Run("cluster", func(t *testing.T) {
		r := newAddressRig(t)
		r.run(5*time.Minute, "apply", r.file, "--auto-approve")
		for _, n := range r.nodes {
			r.announces(n)
			r.answer(n)
		}
		r.expose()
		asks := newProbe(r.address.String(), func() error { _, err := r.ask(); return err })
		defer asks.end()
		for _, p := range []struct {
			name string
			do   func(*addressRig)
		}{
			{"moves", (*addressRig).partMoves}, {"agent killed", (*addressRig).partAgent}, {"power lost", (*addressRig).partPower},
			{"reset", (*addressRig).partReset}, {"API away", (*addressRig).partAway},
		} {
			asks.gap()
			asks.words()
			p.do(r)
			gap := asks.gap()
			t.Logf("%s (load %s): no answer for %.1f s at most; %s", p.name, load(), gap.Seconds(), asks.words())
			if gap > slack(5*time.Second) {
				t.Errorf("%s: no answer for %v", p.name, gap)
			}
		}
	})
	before.compare(t, takeSnapshot(t, "e2e"))
}

// An addressRig is a cluster of three nodes with one Service, whose server on each node says which it is and who asks.
type addressRig struct {
	*haRig
	nodes   []string // in the order in which they may have the address
	address netip.Addr
	client  netip.Addr // of the host on the cluster's network
	servers map[string]*http.Server
}

func newAddressRig(t *testing.T) *addressRig {
	t.Helper()
	r := &addressRig{haRig: &haRig{rig: newRig(t), network: freeNetwork(t)}, nodes: []string{"workers-0", "workers-1", "cp-0"}, servers: map[string]*http.Server{}}
	r.address, r.client = netip.MustParseAddr(r.network+".240"), netip.MustParseAddr(r.network+".1")
	text := fmt.Sprintf(`provider "local" {}

cluster %q {
  kubernetes  = "1.37.2"
  cloud_agent = false

  network {
    machines = "%s.0/24"
  }

  control_plane {
    count   = 1
    machine = "small"
  }

  pool "workers" {
    count   = 2
    machine = "small"
  }
}
`, r.name, r.network)
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

// announces sees to it that a node announces addresses, whatever the file says.
func (r *addressRig) announces(node string) {
	r.t.Helper()
	r.on(node, `grep -q '"announced": true' /etc/provision/node.json || {
		sed -i 's/^  "schema": 1,/  "schema": 1,\n  "cloud": {"vendor": "local", "announced": true},/' /etc/provision/node.json && `+templates.AgentPath+` restart node-agent; }`)
}

// ip is a node's address.
func (r *addressRig) ip(node string) string {
	for _, n := range r.status().Nodes {
		if n.Name == r.full(node) {
			return n.IP
		}
	}
	r.t.Fatalf("%s has no address", node)
	return ""
}

// answer serves on a node, as a pod of the host's network does, until the node is gone.
func (r *addressRig) answer(node string) {
	r.t.Helper()
	var l net.Listener
	if err := r.inside(node, func() (err error) { l, err = net.Listen("tcp4", ":9000"); return err }); err != nil {
		r.t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { fmt.Fprintf(w, "%s %s", node, q.RemoteAddr) })}
	go s.Serve(l)
	r.servers[node] = s
	r.t.Cleanup(func() { s.Close() })
}

// die takes the power from a machine. The server in its network is this process's: as long as it listens, the network lives on.
func (r *addressRig) die(node string) {
	r.t.Helper()
	r.kill(node)
	r.servers[node].Close()
}

// ask asks the Service from the host, and returns which node answered. Nobody may have changed who asks.
func (r *addressRig) ask() (string, error) {
	c := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://" + netip.AddrPortFrom(r.address, 80).String())
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	node, from, _ := strings.Cut(string(b), " ")
	if a, err := netip.ParseAddrPort(from); err != nil || a.Addr() != r.client {
		return "", fmt.Errorf("%s saw %q as client, want %s", node, from, r.client)
	}
	return node, nil
}

// expose makes the Service, and the table that says who may have its address.
func (r *addressRig) expose() {
	r.t.Helper()
	text := `apiVersion: v1
kind: Service
metadata: {name: who}
spec:
  type: LoadBalancer
  loadBalancerClass: test.example/by-hand
  externalTrafficPolicy: Local
  ports: [{port: 80, targetPort: 9000}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: who-1, labels: {kubernetes.io/service-name: who}}
addressType: IPv4
ports: [{port: 9000, protocol: TCP}]
endpoints:
`
	for _, n := range r.nodes {
		text += fmt.Sprintf("- {addresses: [%q], nodeName: %q, conditions: {ready: true}}\n", r.ip(n), r.full(n))
	}
	if err := os.WriteFile(r.file+".who.yaml", []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.kubectl("apply", "-f", r.file+".who.yaml")
	r.kubectl("patch", "service", "who", "--subresource=status", "--type=merge", "-p", fmt.Sprintf(`{"status":{"loadBalancer":{"ingress":[{"ip":%q,"ipMode":"VIP"}]}}}`, r.address))
	r.table(r.nodes...)
	r.arrives(r.nodes[0], 5*time.Second)
}

// table writes which nodes may have the address.
func (r *addressRig) table(nodes ...string) {
	r.t.Helper()
	a := templates.Announcement{Address: r.address}
	for _, n := range nodes {
		a.Nodes = append(a.Nodes, templates.Announcer{Name: r.full(n), Address: netip.MustParseAddr(r.ip(n))})
	}
	b, err := json.Marshal(templates.Announcements{Addresses: []templates.Announcement{a}})
	if err != nil {
		r.t.Fatal(err)
	}
	object, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]string{"name": templates.AnnouncementsName, "namespace": templates.AnnouncementsNamespace},
		"data":     map[string]string{templates.AnnouncementsKey: string(b)}})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.file+".table.json", object, 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.kubectl("apply", "-f", r.file+".table.json")
}

// arrives waits until a node answers.
func (r *addressRig) arrives(node string, limit time.Duration) {
	r.t.Helper()
	took := r.eventually(node+" answers", slack(limit), func() (bool, string) {
		got, err := r.ask()
		return got == node, fmt.Sprintf("%q, %v", got, err)
	})
	r.t.Logf("%s answers after %.1f s", node, took.Seconds())
}

// partMoves: another order moves the address, and status says where it is.
func (r *addressRig) partMoves() {
	r.table("workers-1", "workers-0", "cp-0")
	r.arrives("workers-1", 5*time.Second)
	r.table(r.nodes...)
	r.arrives("workers-0", 5*time.Second)
	if out := r.run(time.Minute, "status", r.file); !slices.ContainsFunc(strings.Split(out, "\n"), func(l string) bool {
		f := strings.Fields(l)
		return len(f) == 2 && f[0] == r.address.String() && f[1] == r.full("workers-0")
	}) {
		r.t.Errorf("status does not say that %s has %s:\n%s", r.full("workers-0"), r.address, out)
	}
}

// partAgent: the holder's agent is killed; it is started again and goes on.
func (r *addressRig) partAgent() {
	r.on("workers-0", `kill -9 $(pgrep -x -o node-agent)`)
	time.Sleep(5 * time.Second)
	r.arrives("workers-0", time.Second)
}

// partPower: the holder loses power. The next one has the address until the first has been back for a while.
func (r *addressRig) partPower() {
	r.die("workers-0")
	r.arrives("workers-1", 5*time.Second)
	r.eventually("workers-0 has no power", 10*time.Second, func() (bool, string) { return r.pid("workers-0") == 0, "it runs" })
	spec := providers.MachineSpec{Owner: providers.Owner(r.name), Name: r.full("workers-0"), Type: "small"} // it is there: this starts it
	if _, err := local.New(local.Options{}).Machines().Create(context.Background(), spec); err != nil {
		r.t.Fatal(err)
	}
	r.answer("workers-0")
	r.arrives("workers-0", time.Minute)
}

// partReset: the holder is taken out of the cluster. Nothing of the address stays on it.
func (r *addressRig) partReset() {
	r.on("workers-0", templates.AgentPath+" reset")
	if out := r.on("workers-0", "ip -4 -o addr show"); strings.Contains(out, r.address.String()+"/") {
		r.t.Errorf("after a reset the machine has the address:\n%s", out)
	}
	r.arrives("workers-1", 5*time.Second)
}

// partAway: the API answers nobody when the holder is lost, and when the next one's agent starts anew.
func (r *addressRig) partAway() {
	r.on("cp-0", "pkill -STOP -x kube-apiserver; kill -9 $(pgrep -x -o node-agent)")
	r.die("workers-1")
	r.arrives("cp-0", 5*time.Second)
	if out := r.on("cp-0", "grep State: /proc/$(pgrep -x -o kube-apiserver)/status; pkill -CONT -x kube-apiserver"); !strings.Contains(out, "T (stopped)") {
		r.t.Errorf("the API server did not stay stopped, so nothing was shown: %s", out)
	}
}
