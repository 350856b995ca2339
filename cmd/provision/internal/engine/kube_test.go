package engine

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/templates"
)

// answer is the part of a real API server's answer that parseNodes reads.
const answer = `{"kind":"NodeList","items":[{"metadata":{"name":"demo-workers-0","resourceVersion":"417",
"labels":{"tier":"web","theirs":"x","kubernetes.io/hostname":"demo-workers-0"},
"annotations":{"provision.sh/labels":"old,tier","provision.sh/taints":"k=v:NoSchedule"}},
"spec":{"unschedulable":true,"taints":[{"key":"node.kubernetes.io/unschedulable","effect":"NoSchedule"},{"key":"k","value":"v","effect":"NoSchedule"}]},
"status":{"conditions":[{"type":"MemoryPressure","status":"False"},{"type":"Ready","status":"True"}],"nodeInfo":{"kubeletVersion":"v1.37.2"}}}]}`

func TestParseNodes(t *testing.T) {
	nodes, err := parseNodes([]byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	n := nodes["demo-workers-0"]
	if !n.Ready || !n.Unschedulable || n.Version != "v1.37.2" || n.Revision != "417" {
		t.Errorf("got %+v, want it ready, cordoned, at v1.37.2 and revision 417", n)
	}
	if len(n.Taints) != 2 || n.Taints[1] != "k=v:NoSchedule" || len(n.Managed.Labels) != 2 || len(n.Managed.Taints) != 1 {
		t.Errorf("got taints %q, managed %+v", n.Taints, n.Managed)
	}
	if _, err := parseNodes([]byte(`{"items":[`)); err == nil {
		t.Error("an answer that is cut short is no error")
	}
}

func TestDressing(t *testing.T) {
	nodes, err := parseNodes([]byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	pool := &config.Pool{Name: "workers", Labels: map[string]string{"tier": "db"}, Taints: []config.Taint{{Key: "new", Effect: "NoExecute"}}}
	m := plan.Member{Role: templates.Worker, Pool: pool, Name: "demo-workers-0"}
	b, err := json.Marshal(dressing(m, nodes["demo-workers-0"]))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"metadata":{"resourceVersion":"417","labels":{"node-role.kubernetes.io/workers":"","old":null,"provision.sh/pool":"workers","tier":"db"},` +
		`"annotations":{"provision.sh/labels":"node-role.kubernetes.io/workers,provision.sh/pool,tier","provision.sh/taints":"new:NoExecute"}},` +
		`"spec":{"taints":[{"key":"new","effect":"NoExecute"},{"key":"node.kubernetes.io/unschedulable","effect":"NoSchedule"}]}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	pool.Taints = []config.Taint{{Key: "k", Value: "v", Effect: "NoSchedule"}}
	if p := dressing(m, nodes["demo-workers-0"]); p.Spec != nil {
		t.Errorf("taints are as they should be, and the patch has %+v", p.Spec)
	}
}

// cutHost is a machine that answers every command alike.
type cutHost struct {
	ssh.Host
	err  error
	asks *int
}

func (h cutHost) Run(context.Context, ssh.Command) (ssh.Result, error) {
	*h.asks++
	return ssh.Result{Stdout: []byte("done")}, h.err
}

// TestKubeGoesOn loses the machine that serves the API: another one goes on, but not for ever, and not after a refusal.
func TestKubeGoesOn(t *testing.T) {
	lost, refused := &ssh.LostError{Host: "demo-cp-0"}, &ssh.ExitError{Host: "demo-cp-0"}
	for _, c := range []struct {
		name         string
		first, other error
		asks         int
		ok           bool
	}{
		{"well", nil, nil, 1, true},
		{"lost once", lost, nil, 2, true},
		{"refused", refused, nil, 1, false},
		{"lost again and again", lost, lost, 4, false},
	} {
		asks := 0
		k := kube{host: cutHost{err: c.first, asks: &asks}, other: func(context.Context) (ssh.Host, error) { return cutHost{err: c.other, asks: &asks}, nil }}
		if err := k.uncordon(t.Context(), "demo-workers-0"); (err == nil) != c.ok || asks != c.asks {
			t.Errorf("%s: got %v after %d commands, want %d", c.name, err, asks, c.asks)
		}
	}
}

// A flaky machine's kubectl fails with each of these words before it succeeds.
type flaky struct {
	ssh.Host
	words []string
	calls int
}

func (f *flaky) Run(_ context.Context, c ssh.Command) (ssh.Result, error) {
	f.calls++
	if f.calls > len(f.words) {
		return ssh.Result{}, nil
	}
	return ssh.Result{}, &ssh.ExitError{Host: "demo-cp-0", Command: "kubectl", Status: 1, Stderr: []byte(f.words[f.calls-1])}
}

func TestChangeWhileTheAPIStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := "Unable to connect to the server: unexpected EOF\n"
		f := &flaky{words: []string{away, "Error from server (ServiceUnavailable): apiserver not ready\n", "Error from server: etcdserver: leader changed\n"}}
		if err := (kube{host: f}).apply(t.Context(), []byte("{}")); err != nil || f.calls != 4 {
			t.Errorf("three failures that pass: %v after %d calls, want success after 4", err, f.calls)
		}
		f = &flaky{words: []string{"Error from server (Invalid): Service is invalid\n"}}
		if err := (kube{host: f}).apply(t.Context(), []byte("{}")); err == nil || f.calls != 1 {
			t.Errorf("a refusal: %v after %d calls, want it told after 1", err, f.calls)
		}
		f = &flaky{words: make([]string, 1000)}
		for i := range f.words {
			f.words[i] = away
		}
		begun := time.Now()
		if err := (kube{host: f}).forget(t.Context(), "demo-cp-0"); err == nil || time.Since(begun) > 2*changePatience {
			t.Errorf("an API that stays away: %v after %v, want the failure told after %v", err, time.Since(begun), changePatience)
		}
	})
}
