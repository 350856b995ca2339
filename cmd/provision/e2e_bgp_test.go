//go:build e2e

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
	"github.com/vishvananda/netlink"
)

const (
	bgpMachines = "10.88.231.0/24"
	bgpGate     = "10.88.231.1" // this host, which is the router
	bgpAddress  = "10.89.231.1" // on no link
	bgpPassword = "open-sesame"
)

// A bgpRouter is this host: it speaks BGP with the machines, and does with its routes what a router does.
type bgpRouter struct {
	t *testing.T
	s *server.BgpServer

	mu   sync.Mutex
	hops []netip.Addr
}

func newBGPRouter(t *testing.T, machines []netip.Addr) *bgpRouter {
	t.Helper()
	r := &bgpRouter{t: t, s: server.NewBgpServer()}
	go r.s.Serve()
	err := r.s.StartBgp(t.Context(), &api.StartBgpRequest{Global: &api.Global{Asn: 64500, RouterId: bgpGate, ListenPort: 179, ListenAddresses: []string{bgpGate}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range machines {
		if err := r.s.AddPeer(t.Context(), &api.AddPeerRequest{Peer: &api.Peer{
			Conf:      &api.PeerConf{NeighborAddress: m.String(), PeerAsn: 64512, AuthPassword: bgpPassword},
			Transport: &api.Transport{PassiveMode: true, LocalAddress: bgpGate},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() { r.route(ctx) })
	t.Cleanup(func() { cancel(); ended.Wait(); r.s.Stop() })
	return r
}

// route keeps the kernel's route to the address as BGP says, until ctx ends.
func (r *bgpRouter) route(ctx context.Context) {
	to := netlink.Route{Dst: &net.IPNet{IP: net.ParseIP(bgpAddress).To4(), Mask: net.CIDRMask(32, 32)}}
	defer func() { _ = netlink.RouteDel(&to) }()
	for ctx.Err() == nil {
		var hops []netip.Addr
		_ = r.s.ListPath(apiutil.ListPathRequest{TableType: api.TableType_TABLE_TYPE_GLOBAL, Family: bgp.RF_IPv4_UC}, func(p bgp.NLRI, paths []*apiutil.Path) {
			for _, path := range paths {
				if p.String() == bgpAddress+"/32" {
					hops = append(hops, path.PeerAddress)
				}
			}
		})
		slices.SortFunc(hops, netip.Addr.Compare)
		r.mu.Lock()
		changed := !slices.Equal(hops, r.hops)
		r.hops = hops
		r.mu.Unlock()
		if changed {
			_ = netlink.RouteDel(&to)
			if len(hops) > 0 {
				via := to
				for _, h := range hops {
					via.MultiPath = append(via.MultiPath, &netlink.NexthopInfo{Gw: h.AsSlice()})
				}
				if err := netlink.RouteReplace(&via); err != nil {
					r.t.Errorf("route by %v: %v", hops, err)
				}
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// until waits until so many machines announce the address, and returns how long that took.
func (r *bgpRouter) until(what string, want int, limit time.Duration) time.Duration {
	r.t.Helper()
	begun := time.Now()
	for {
		r.mu.Lock()
		have := slices.Clone(r.hops)
		r.mu.Unlock()
		if took := time.Since(begun); len(have) == want {
			r.t.Logf("%s: %d machines announce the address after %.1f s", what, want, took.Seconds())
			return took
		} else if took > limit {
			r.t.Fatalf("%s: after %v the address is at %v, want %d machines", what, limit, have, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A bgpProbe asks the API through the address ten times a second, each time by a new connection.
type bgpProbe struct {
	mu      sync.Mutex
	longest time.Duration // without an answer
	asked   int
	failed  int
}

func (p *bgpProbe) run(ctx context.Context) {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	last := time.Now()
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		res, err := client.Get("https://" + net.JoinHostPort(bgpAddress, "6443") + "/readyz")
		good := err == nil && res.StatusCode == http.StatusOK
		if err == nil {
			res.Body.Close()
		}
		p.mu.Lock()
		p.asked++
		if p.longest = max(p.longest, time.Since(last)); good {
			last = time.Now()
		} else {
			p.failed++
		}
		p.mu.Unlock()
	}
}

func (p *bgpProbe) take() (asked, failed int, longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked, failed, longest = p.asked, p.failed, p.longest
	p.asked, p.failed, p.longest = 0, 0, 0
	return asked, failed, longest
}

// TestE2EBGP has three machines announce the API's address to this host, which is their router: one whose API server hangs,
// and one that loses its power, are left out, and come back.
func TestE2EBGP(t *testing.T) {
	firewall(t)
	r := newRig(t)
	text := fmt.Sprintf(`provider "local" {}
variable "password" {
  type      = string
  sensitive = true
}
cluster %q {
  kubernetes = "1.37.2"
  network {
    machines = %q
  }
  control_plane {
    count   = 3
    machine = "small"
    endpoint {
      address = %q
      bgp {
        asn = 64512
        peer %q {
          asn      = 64500
          password = var.password
        }
      }
    }
  }
}
`, r.name, bgpMachines, bgpAddress, bgpGate)
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.environ = append(r.environ, "PROVISION_VAR_password="+bgpPassword)
	begun := time.Now()
	out := r.run(4*time.Minute, "apply", r.file, "--auto-approve", "--timings")
	t.Logf("apply %.1f s, load %s", time.Since(begun).Seconds(), load())
	router := newBGPRouter(t, r.bgpMachines())
	router.until("made", 3, slack(20*time.Second))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	probe := new(bgpProbe)
	go probe.run(ctx)

	if plan := r.run(time.Minute, "apply", r.file, "--auto-approve"); !strings.Contains(plan, "No changes") {
		t.Errorf("a second apply changes something:\n%s", plan)
	}
	if s := r.run(time.Minute, "status", r.file); !strings.Contains(s, "Virtual address "+bgpAddress+": at "+r.name+"-cp-0, "+r.name+"-cp-1, "+r.name+"-cp-2\n") {
		t.Errorf("status does not say who has the address:\n%s", s)
	}
	if k := r.stdout("kubeconfig", r.file); !strings.Contains(k, `"https://`+bgpAddress+`:6443"`) {
		t.Errorf("the kubeconfig does not lead to the address:\n%s", k)
	}
	if mode := strings.TrimSpace(r.stdout("ssh", r.file, r.name+"-cp-0", "--", "stat -c '%a %U' /etc/provision/bgp.json")); mode != "600 root" {
		t.Errorf("the file with the password is %q", mode)
	}
	if strings.Contains(out, bgpPassword) || strings.Contains(r.on("cp-0", "cat /etc/provision/node.json; node-agent logs node-agent -n 1000 || true"), bgpPassword) {
		t.Error("the password is in what apply says, in node.json or in the agent's log")
	}
	report := func(what string) {
		t.Helper()
		asked, failed, longest := probe.take()
		t.Logf("%s: %d of %d probes failed, longest without an answer %.1f s, load %s", what, failed, asked, longest.Seconds(), load())
		if longest > slack(bound) {
			t.Errorf("%s: %v without an answer, want %v at most", what, longest, bound)
		}
	}
	report("nothing happens")

	pid := r.apiServer("cp-0")
	r.on("cp-0", fmt.Sprintf("kill -STOP %d", pid))
	router.until("an API server hangs", 2, slack(4*time.Second))
	r.on("cp-0", fmt.Sprintf("kill -CONT %d || true", pid))
	router.until("it goes on", 3, slack(20*time.Second))
	report("an API server hung")

	r.cutPower("cp-1")
	router.until("a machine has no power", 2, slack(4*time.Second))
	report("a machine lost its power")
	r.run(3*time.Minute, "apply", r.file, "--auto-approve")
	router.until("it is back", 3, slack(20*time.Second))
	report("it came back")
}

// bgpMachines are the addresses of the control plane.
func (r *rig) bgpMachines() []netip.Addr {
	r.t.Helper()
	var s struct {
		Nodes []struct{ IP netip.Addr }
	}
	if err := json.Unmarshal([]byte(r.stdout("status", r.file, "--json")), &s); err != nil || len(s.Nodes) != 3 {
		r.t.Fatalf("status has %v, %v", s, err)
	}
	var all []netip.Addr
	for _, n := range s.Nodes {
		all = append(all, n.IP)
	}
	return all
}

// ask is stdout for what is asked again and again: a command that fails says nothing.
func (r *rig) ask(args ...string) string {
	o, _, err := r.try(time.Minute, args...)
	if err != nil {
		return ""
	}
	return o
}

// stdout is what the program writes there: warnings go elsewhere.
func (r *rig) stdout(args ...string) string {
	r.t.Helper()
	o, e, err := r.try(time.Minute, args...)
	if err != nil {
		r.t.Fatalf("provision %v: %v\n%s", args, err, e)
	}
	return o
}

// apiServer is the process of a node's API server, in the machine's own numbers.
func (r *rig) apiServer(node string) int {
	r.t.Helper()
	var s struct {
		Processes []struct {
			Name string
			PID  int
		}
	}
	b := []byte(r.stdout("ssh", r.file, r.name+"-"+node, "--", "node-agent status --json"))
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&s); err != nil {
		r.t.Fatal(err)
	}
	for _, p := range s.Processes {
		if p.Name == "kube-apiserver" && p.PID > 1 {
			return p.PID
		}
	}
	r.t.Fatalf("no API server in %s", b)
	return 0
}
