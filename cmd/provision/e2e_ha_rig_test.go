//go:build e2e

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/engine"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
	"golang.org/x/sys/unix"
)

// An haRig is a cluster with several control-plane machines, a virtual address and a balancer before its API.
type haRig struct {
	*rig
	network string // first three numbers of the machines' range
	spec    haSpec
	tls     *tls.Config   // of an administrator
	service string        // address of the demo's Service
	took    time.Duration // by the last apply
}

// haSpec is what the file says.
type haSpec struct {
	controlPlane, workers int
	address               string // last number of the virtual address
	names                 string // quoted, with commas
}

// newHARig prepares a file for such a cluster, in a range that nobody uses.
func newHARig(t *testing.T) *haRig {
	t.Helper()
	r := &haRig{rig: newRig(t), network: freeNetwork(t)}
	r.want(haSpec{controlPlane: 3, workers: 2, address: "200", names: `"api.ha.test"`})
	return r
}

// freeNetwork returns the first three numbers of a range that nobody uses.
func freeNetwork(t *testing.T) string {
	t.Helper()
	used, err := exec.Command("ip", "-4", "route", "show", "table", "all").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, used)
	}
	for i := 100; ; i++ {
		if n := fmt.Sprintf("10.88.%d", i); !strings.Contains(string(used), n+".") {
			return n
		}
	}
}

// want writes the file.
func (r *haRig) want(s haSpec) {
	r.t.Helper()
	text := fmt.Sprintf(`provider "local" {}

cluster %q {
  kubernetes = "1.37.2"

  network {
    machines = "%s.0/24"
  }

  control_plane {
    count   = %d
    machine = "small"
    endpoint {
      address  = %q
      balancer = true
      names    = [%s]
    }
  }

  pool "workers" {
    count   = %d
    machine = "small"
    drain   = "2m"
  }
}
`, r.name, r.network, s.controlPlane, r.network+"."+s.address, s.names, s.workers)
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.spec = s
}

// applied runs apply, and sees that nothing is left to do after it.
func (r *haRig) applied(what string, limit time.Duration, args ...string) string {
	r.t.Helper()
	begun := time.Now()
	out := r.run(limit, append([]string{"apply", r.file, "--auto-approve", "--timings"}, args...)...)
	r.took = time.Since(begun)
	begun = time.Now()
	again := r.run(time.Minute, "apply", r.file, "--auto-approve")
	if !strings.Contains(again, "No changes") {
		r.t.Errorf("%s: a second apply changes something:\n%s", what, again)
	}
	r.t.Logf("%s: apply %.1f s, a second one %.1f s, load %s", what, r.took.Seconds(), time.Since(begun).Seconds(), load())
	return out
}

// load is how busy the computer is: a figure without it says little.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err.Error()
	}
	return strings.Fields(string(b))[0]
}

// status asks the program.
func (r *haRig) status() engine.Status {
	r.t.Helper()
	s, err := r.tryStatus()
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *haRig) tryStatus() (s engine.Status, err error) {
	o, e, err := r.try(time.Minute, "status", r.file, "--json")
	if err != nil {
		return s, fmt.Errorf("status: %w\n%s", err, e)
	}
	return s, json.Unmarshal([]byte(o), &s)
}

// whole waits until so many members of etcd vote, are well and in step, somebody has the virtual address, and all nodes are ready.
func (r *haRig) whole(what string, members int, limit time.Duration) time.Duration {
	r.t.Helper()
	return r.eventually(what, slack(limit), func() (bool, string) {
		s, err := r.tryStatus()
		if err != nil {
			return false, err.Error()
		}
		well := s.Etcd != nil && s.Etcd.Quorum && len(s.Etcd.Members) == members && s.Ready && s.Address != nil && s.Address.Holder != ""
		for _, m := range s.Etcd.Members {
			well = well && m.Healthy && !m.Learner && m.Lag < 100 // in step
		}
		b, _ := json.Marshal(s)
		return well, string(b)
	})
}

// full is a machine's name: r.name-cp-0.
func (r *haRig) full(node string) string { return r.name + "-" + node }

// pid is that of a machine's process 1; 0 if it does not run.
func (r *haRig) pid(node string) int {
	b, err := os.ReadFile(filepath.Join("/var/lib/provision/local", r.name, "machines", r.full(node), "state.json"))
	if err != nil {
		return 0
	}
	var s struct{ Init struct{ PID int } }
	if json.Unmarshal(b, &s) != nil || s.Init.PID <= 1 || syscall.Kill(s.Init.PID, 0) != nil {
		return 0
	}
	return s.Init.PID
}

// inside does something in a machine's network. do must stay on its goroutine; sockets that it opens belong to that network
// for good.
func (r *haRig) inside(node string, do func() error) error {
	pid := r.pid(node)
	if pid == 0 {
		return fmt.Errorf("%s does not run", node)
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if unix.Gettid() == os.Getpid() {
			defer runtime.UnlockOSThread() // but for the first, which stays: it is held while another one goes
			done <- r.inside(node, do)
			return
		}
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err == nil {
			defer f.Close()
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// dial connects as a machine does, or as the host does if from is "".
func (r *haRig) dial(from string) func(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if from == "" {
		return d.DialContext
	}
	return func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = r.inside(from, func() (err error) { c, err = d.DialContext(ctx, network, address); return err })
		return c, err
	}
}

// A way is one way to the API.
type way struct {
	name, from, address string
}

// ways are those that must always work: a node's own, the virtual address and the balancer.
func (r *haRig) ways() []way {
	r.t.Helper()
	all, err := local.New(local.Options{}).LoadBalancers().List(context.Background(), providers.Owner(r.name))
	if err != nil || len(all) != 1 {
		r.t.Fatalf("the balancer: %v, %v", all, err)
	}
	return []way{
		{"local endpoint", "workers-0", "127.0.0.1:7443"},
		{"virtual address", "", r.network + "." + r.spec.address + ":6443"},
		{"balancer", "", all[0].Address.String() + ":6443"},
	}
}

// client is an administrator's, on one way to the API.
func (r *haRig) client(w way, limit time.Duration, keep bool) *http.Client {
	host, _, _ := net.SplitHostPort(w.address)
	c := r.tls.Clone()
	c.ServerName = host
	return &http.Client{Timeout: limit, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return r.dial(w.from)(ctx, network, w.address)
		},
		TLSClientConfig: c, DisableKeepAlives: !keep,
	}}
}

// login makes an administrator's certificate.
func (r *haRig) login() {
	r.t.Helper()
	var conf struct {
		Clusters []struct {
			Cluster struct {
				CA []byte `json:"certificate-authority-data"`
			}
		}
		Users []struct {
			User struct {
				Cert []byte `json:"client-certificate-data"`
				Key  []byte `json:"client-key-data"`
			}
		}
	}
	o, e, err := r.try(time.Minute, "kubeconfig", r.file)
	if err == nil {
		err = json.Unmarshal([]byte(o), &conf)
	}
	if err != nil || len(conf.Users) == 0 {
		r.t.Fatalf("kubeconfig: %v\n%s", err, e)
	}
	pair, err := tls.X509KeyPair(conf.Users[0].User.Cert, conf.Users[0].User.Key)
	if err != nil {
		r.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(conf.Clusters[0].Cluster.CA)
	r.tls = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
}

// request asks the API for something and returns the answer's code, 0 if there was none.
func request(c *http.Client, method, url, body string) (int, []byte, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, err
	}
	if res.StatusCode >= 300 {
		err = fmt.Errorf("%s: %.200s", res.Status, b)
	}
	return res.StatusCode, b, err
}

// web deploys the demo with three pods, of which two must stay, and notes its Service's address.
func (r *haRig) web() {
	r.t.Helper()
	budget := "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {minAvailable: 2, selector: {matchLabels: {app: web}}}\n"
	if err := os.WriteFile(r.file+".budget.yaml", []byte(budget), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.kubectl("apply", "-f", "../../examples/local/web.yaml", "-f", r.file+".budget.yaml")
	r.kubectl("scale", "deployment/web", "--replicas=3")
	r.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
	r.service = strings.TrimSpace(r.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
	r.fetch("workers-0", "http://"+r.service+"/")
}

// kill takes the power from a machine.
func (r *haRig) kill(node string) {
	r.t.Helper()
	pid := r.pid(node)
	if pid == 0 {
		r.t.Fatalf("%s does not run", node)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
}

// remove deletes a machine at the vendor, as somebody at a vendor's console does.
func (r *haRig) remove(node string) {
	r.t.Helper()
	p := local.New(local.Options{})
	all, err := p.Machines().List(context.Background(), providers.Owner(r.name))
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(m providers.Machine) bool { return m.Name == r.full(node) })
	if i < 0 {
		r.t.Fatalf("there is no machine %s", node)
	}
	if err := p.Machines().Delete(context.Background(), all[i].ID); err != nil {
		r.t.Fatal(err)
	}
}
