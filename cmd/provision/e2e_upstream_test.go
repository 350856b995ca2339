//go:build e2e

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	upstreamOnly  = flag.String("upstream.only", "", "balancers or volumes; both without it")
	upstreamFocus = flag.String("upstream.focus", "", "a `regular expression`: only these of Kubernetes' own cases")
	upstreamProcs = flag.Int("upstream.procs", 4, "how many of Kubernetes' own cases run at once")
	upstreamOut   = flag.String("upstream.out", "", "a `folder` that gets upstream's logs and reports")
)

// TestUpstream runs Kubernetes' own end-to-end cases about what this project adds to it, at a cluster of provider local: those of
// Services of type LoadBalancer, and the external-storage suite with the CSI driver. make conformance builds what it needs. It is no part of
// TestE2E, as it takes most of an hour.
func TestUpstream(t *testing.T) {
	before := takeSnapshot(t, "e2e")
	t.Run("cluster", func(t *testing.T) {
		firewall(t)
		u := &upstream{rig: newRig(t), top: t, out: *upstreamOut}
		for _, f := range []string{"upstream.test", "ginkgo", "agnhost"} {
			if _, err := os.Stat(filepath.Join(u.bin, f)); err != nil {
				t.Fatalf("%v: run make conformance", err)
			}
		}
		if u.out == "" {
			u.out = t.TempDir()
		}
		for _, p := range []struct {
			name string
			do   func(*upstream)
			must bool // the next ones stand on it
		}{
			{"apply", (*upstream).cluster, true}, {"images", (*upstream).images, true}, {"balancers", (*upstream).balancers, false},
			{"volumes", (*upstream).volumes, false}, {"destroy", func(u *upstream) { u.partDestroy() }, false},
		} {
			if *upstreamOnly != "" && !p.must && p.name != *upstreamOnly && p.name != "destroy" {
				continue
			}
			ok := t.Run(p.name, func(t *testing.T) {
				u.t = t
				p.do(u)
			})
			u.t = t
			if p.must && !ok {
				t.FailNow()
			}
		}
	})
	before.compare(t, takeSnapshot(t, "e2e"))
}

// An upstream is a cluster that Kubernetes' own cases are run at.
type upstream struct {
	*rig
	top        *testing.T
	out        string // a folder
	kubeconfig string
	kubectl    string // the program
}

// cluster is the one to try, with its kubectl and its kubeconfig.
func (u *upstream) cluster() {
	text, err := os.ReadFile(u.file)
	if err != nil {
		u.t.Fatal(err)
	}
	pool := regexp.MustCompile(`(?s)(pool.*machine *= *)"small"`).ReplaceAllString(string(text), `$1"medium"`) // many pods at once
	if err := os.WriteFile(u.file, []byte(pool), 0o600); err != nil {
		u.t.Fatal(err)
	}
	u.run(5*time.Minute, "apply", u.file, "--auto-approve")
	u.ready("the cluster", 3, 2*time.Minute)
	u.rig.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")
	cache := filepath.Join(filepath.Dir(u.file), "cache")
	u.environ = append(u.environ, "XDG_CACHE_HOME="+cache)
	u.rig.kubectl("version") // takes kubectl out of the bundle
	found, err := filepath.Glob(cache + "/provision/*/kubectl")
	if err != nil || len(found) != 1 {
		u.t.Fatalf("kubectl: %v, %v", found, err)
	}
	u.kubectl = found[0]
	u.kubeconfig = filepath.Join(filepath.Dir(u.file), "kubeconfig")
	if err := os.WriteFile(u.kubeconfig, []byte(u.stdout("kubeconfig", u.file, "--days", "1")), 0o600); err != nil {
		u.t.Fatal(err)
	}
	u.outside()
}

// outside gives this host an address by which it comes to the nodes from afar. Without it it comes from their own network, which a case takes for the
// address of a node.
func (u *upstream) outside() {
	const client = "198.18.0.1" // for benchmarks between networks, RFC 2544
	node := strings.TrimSpace(u.stdout("kubectl", u.file, "--", "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`))
	route, err := exec.Command("ip", "-j", "route", "get", node).Output()
	var hops []struct{ Dev string }
	if err == nil {
		err = json.Unmarshal(route, &hops)
	}
	if err != nil || len(hops) != 1 {
		u.t.Fatalf("route to %s: %v\n%s", node, err, route)
	}
	u.top.Cleanup(func() { exec.Command("ip", "addr", "del", client+"/32", "dev", "lo").Run() })
	network := netip.PrefixFrom(netip.MustParseAddr(node), 24).Masked().String()
	for _, line := range []string{"ip addr add " + client + "/32 dev lo", "ip route change " + network + " dev " + hops[0].Dev + " src " + client} {
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			u.t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
}

func (u *upstream) balancers() {
	u.cases("balancers", `\[Feature:LoadBalancer\]`, "")
}

// volumes leaves out the disruptive cases, which stop a node's kubelet with systemctl by SSH, and what needs abilities that the driver does not claim.
func (u *upstream) volumes() {
	driver, err := filepath.Abs("testdata/upstream/driver.yaml")
	if err != nil {
		u.t.Fatal(err)
	}
	skip := `\[Feature:LoadBalancer\]|\[Disruptive\]|\[Feature:VolumeAttributesClass\]|\[Feature:volumegroupsnapshot\]`
	if !u.mayResize() {
		const needs = `\(default fs\).*(PVC is edited while pod is using it|expansion of pvcs created for ephemeral pvcs)`
		u.t.Logf("not tried, as root lacks CAP_SYS_RESOURCE here, without which ext4 does not grow in use: cases like %s", needs)
		skip += "|" + needs
	}
	u.cases("volumes", `External.Storage`, skip, "--storage.testdriver="+driver)
}

// mayResize says whether root of the machines has CAP_SYS_RESOURCE, which the kernel asks of who grows ext4 in use.
func (u *upstream) mayResize() bool {
	var caps uint64
	_, err := fmt.Sscanf(u.on("workers-0", "grep CapEff: /proc/self/status"), "CapEff: %x", &caps)
	if err != nil {
		u.t.Fatal(err)
	}
	return caps&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// cases runs those that match, several at once, and reports each.
func (u *upstream) cases(name, focus, skip string, flags ...string) {
	if *upstreamFocus != "" {
		focus = *upstreamFocus
	}
	report := filepath.Join(u.out, name+".json")
	log, err := os.Create(filepath.Join(u.out, name+".log"))
	if err != nil {
		u.t.Fatal(err)
	}
	defer log.Close()
	args := append([]string{fmt.Sprintf("--procs=%d", *upstreamProcs), "--no-color", "--timeout=2h", "--focus=" + focus, "--skip=" + skip, "--json-report=" + name + ".json", "--output-dir=" + u.out,
		filepath.Join(u.bin, "upstream.test"), "--", "--kubeconfig=" + u.kubeconfig, "--kubectl-path=" + u.kubectl, "--provider=skeleton", "--num-nodes=2", "--e2e-output-dir=" + u.out}, flags...)
	c := exec.CommandContext(u.t.Context(), filepath.Join(u.bin, "ginkgo"), args...)
	c.Env, c.Stdout, c.Stderr, c.Dir = u.environ, log, log, u.out
	start := time.Now()
	ran := c.Run()
	u.report(name, report, time.Since(start), ran)
}

// report prints each case and counts them. Whoever was not chosen is not counted.
func (u *upstream) report(name, file string, took time.Duration, ran error) {
	var suites []struct {
		SpecReports []struct {
			ContainerHierarchyTexts []string
			LeafNodeType            string
			LeafNodeText            string
			State                   string
			RunTime                 time.Duration
			Failure                 struct{ Message string }
		}
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &suites)
	}
	if err != nil {
		u.t.Fatalf("%v (%v)", err, ran)
	}
	count := map[string]int{}
	for _, s := range suites {
		for _, c := range s.SpecReports {
			message, _, _ := strings.Cut(strings.TrimSpace(c.Failure.Message), "\n")
			if c.LeafNodeType != "It" && c.State != "failed" || c.State == "skipped" && message == "" {
				continue
			}
			state := c.State
			if state != "passed" && state != "skipped" {
				u.t.Errorf("failed: %s %s: %s", strings.Join(c.ContainerHierarchyTexts, " "), c.LeafNodeText, c.Failure.Message)
				state = "failed"
			}
			count[state]++
			u.t.Logf("%-8s %6.1f s  %s %s  %s", state, c.RunTime.Seconds(), strings.Join(c.ContainerHierarchyTexts, " "), c.LeafNodeText, message)
		}
	}
	u.t.Logf("%s: %d passed, %d failed, %d not for this cluster, in %.0f s, load %s", name, count["passed"], count["failed"], count["skipped"], took.Seconds(), load())
	if ran != nil && count["failed"] == 0 || count["passed"] == 0 {
		u.t.Errorf("upstream's program: %v, %d cases passed", ran, count["passed"])
	}
}
