//go:build e2e

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// TestE2ECloud has a cluster give addresses to Services and volumes to claims.
func TestE2ECloud(t *testing.T) {
	before := takeSnapshot(t, "e2e")
	t.Run("cluster", func(t *testing.T) {
		firewall(t)
		r := newRig(t)
		for _, p := range []struct {
			name string
			do   func(*rig)
		}{
			{"apply", (*rig).partCloudApply}, {"service", (*rig).partService}, {"source address", (*rig).partSourceAddress}, {"node lost", (*rig).partAnnouncerLost},
			{"source ranges", (*rig).partSourceRanges}, {"service gone", (*rig).partServiceGone},
			{"claim", (*rig).partClaim}, {"claim grows", (*rig).partClaimGrows}, {"claim moves", (*rig).partClaimMoves}, {"claim gone", (*rig).partClaimGone}, {"destroy", (*rig).partDestroy},
		} {
			ok := t.Run(p.name, func(t *testing.T) {
				r.t = t
				p.do(r)
			})
			r.t = t
			if !ok {
				t.FailNow()
			}
		}
	})
	before.compare(t, takeSnapshot(t, "e2e"))
}

// partCloudApply: the nodes are looked at by the agent, which is soon, and a second apply changes nothing.
func (r *rig) partCloudApply() {
	start := time.Now()
	r.run(5*time.Minute, "apply", r.file, "--auto-approve")
	r.t.Logf("apply %.1f s", time.Since(start).Seconds())
	waited := r.eventually("nodes are taken up by the agent", time.Minute, func() (bool, string) {
		out := r.ask("kubectl", r.file, "--", "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.providerID} {.metadata.labels.node\.kubernetes\.io/instance-type} {.spec.taints[*].key}{"\n"}{end}`)
		return strings.Count(out, "local:///") == 3 && strings.Count(out, " small") == 3 && !strings.Contains(out, "uninitialized"), out
	})
	r.t.Logf("nodes known to the agent %.1f s after apply", waited.Seconds())
	if out := r.run(time.Minute, "apply", r.file, "--auto-approve"); !strings.Contains(out, "No changes") {
		r.t.Errorf("a second apply changes something:\n%s", out)
	}
	r.kubectl("apply", "-f", "../../examples/local/web.yaml")
	r.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
}

// balanced is a Service of type LoadBalancer before the demo.
const balanced = `apiVersion: v1
kind: Service
metadata:
  name: balanced
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
%s`

func (r *rig) applyText(text string) {
	r.t.Helper()
	file := r.file + ".yaml"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.kubectl("apply", "-f", file)
}

// address is the Service's; the zero Addr if it has none.
func (r *rig) address() netip.Addr {
	out := r.ask("kubectl", r.file, "--", "get", "service", "balanced", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
	a, _ := netip.ParseAddr(strings.TrimSpace(out))
	return a
}

// page is what is behind an address, from this host, which is outside of the cluster.
func page(a netip.Addr) (string, error) {
	c := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://" + a.String() + "/")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return string(b), err
}

// partService: an address that this host reaches, within five seconds.
func (r *rig) partService() {
	r.applyText(fmt.Sprintf(balanced, ""))
	begun := time.Now()
	took := r.eventually("the Service is reached", slack(30*time.Second), func() (bool, string) {
		a := r.address()
		if !a.IsValid() {
			return false, r.ask("kubectl", r.file, "--", "describe", "service", "balanced")
		}
		_, err := page(a)
		return err == nil, fmt.Sprint(a, err)
	})
	r.t.Logf("Service reached from outside %.1f s after it was made, at %s, load %s", took.Seconds(), r.address(), load())
	if time.Since(begun) > slack(5*time.Second) {
		r.t.Errorf("it took %v, want 5 s", took)
	}
}

// partSourceAddress: a pod sees this host's own address.
func (r *rig) partSourceAddress() {
	a := r.address()
	host := netip.PrefixFrom(a, 24).Masked().Addr().Next() // this host is the gateway of the machines' network
	text, err := page(a)
	if err != nil || !strings.Contains(text, host.String()+":") {
		r.t.Errorf("%v: the page does not show %s as its client:\n%s", err, host, text)
	}
}

// announcer is the node that has the address on a link.
func (r *rig) announcer(a netip.Addr) string {
	var has []string
	for _, n := range []string{"cp-0", "workers-0", "workers-1"} {
		if strings.Contains(r.on(n, "ip -o -4 addr show"), " "+a.String()+"/") {
			has = append(has, n)
		}
	}
	if len(has) != 1 {
		r.t.Fatalf("%s is on %v, want one node", a, has)
	}
	return has[0]
}

// partAnnouncerLost: the node that announces the address loses its power; another one has it within five seconds.
func (r *rig) partAnnouncerLost() {
	a := r.address()
	lost := r.announcer(a)
	r.cutPower(lost)
	begun, last := time.Now(), time.Now()
	var longest time.Duration
	for time.Since(begun) < 15*time.Second {
		if _, err := page(a); err == nil {
			longest, last = max(longest, time.Since(last)), time.Now()
		}
		time.Sleep(50 * time.Millisecond)
	}
	longest = max(longest, time.Since(last))
	r.t.Logf("%s, which announced %s, lost its power: longest without an answer %.1f s, load %s", lost, a, longest.Seconds(), load())
	if longest > slack(5*time.Second) {
		r.t.Errorf("%v without an answer, want 5 s", longest)
	}
	r.run(4*time.Minute, "apply", r.file, "--auto-approve")
	r.ready("after the power loss", 3, 2*time.Minute)
	r.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
}

// partSourceRanges: who is not in them is not answered, and the address stays.
func (r *rig) partSourceRanges() {
	a := r.address()
	r.applyText(fmt.Sprintf(balanced, "  loadBalancerSourceRanges: [203.0.113.0/24]\n"))
	r.eventually("this host is refused", slack(20*time.Second), func() (bool, string) {
		_, err := page(a)
		return err != nil, "it is answered"
	})
	r.applyText(fmt.Sprintf(balanced, ""))
	r.eventually("this host is answered again", slack(20*time.Second), func() (bool, string) {
		_, err := page(a)
		return err == nil, fmt.Sprint(err)
	})
	if now := r.address(); now != a {
		r.t.Errorf("the address was %s and is %s", a, now)
	}
}

// partServiceGone: no node has the address any more.
func (r *rig) partServiceGone() {
	a := r.address()
	r.kubectl("delete", "service", "balanced")
	r.eventually("no node has the address", slack(20*time.Second), func() (bool, string) {
		for _, n := range []string{"cp-0", "workers-0", "workers-1"} {
			o, e, err := r.try(time.Minute, "ssh", r.file, r.name+"-"+n, "--", "ip -o -4 addr show")
			if err != nil || strings.Contains(o, " "+a.String()+"/") {
				return false, n + ": " + o + e
			}
		}
		return true, ""
	})
}
