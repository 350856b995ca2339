package nodeagent

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/templates"
)

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "a command is missing"},
		{"dance", 2, `no command "dance"`},
		{"install", 2, "--bundle is missing"},
		{"install --bundle", 2, "flag needs an argument"},
		{"install --bundle /nothing extra", 2, "takes 0 arguments, not 1"},
		{"install --bundle /nothing", 1, "no such file"},
		{"logs", 2, "takes 1 arguments, not 0"},
		{"logs x -n many", 2, "invalid value"},
		{"restart", 2, "takes 1 arguments"},
		{"status --wait ready --timeout soon", 2, "invalid value"},
		{"version", 0, "node-agent "},
		{"--help", 0, "usage: node-agent"},
		{"run --help", 0, "usage: node-agent"},
	} {
		var out, errOut bytes.Buffer
		code := Main(strings.Fields(test.args), strings.NewReader(""), &out, &errOut)
		if text := out.String() + errOut.String(); code != test.code || !strings.Contains(text, test.want) {
			t.Errorf("node-agent %s: got %d and %q, want %d and %q", test.args, code, text, test.code, test.want)
		}
	}
}

func TestTail(t *testing.T) {
	dir := t.TempDir()
	put := func(text string) {
		if err := os.WriteFile(supervisor.LogFile(dir, "etcd"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("x", 100<<10) + "\n"
	for _, test := range []struct {
		text string
		n    int
		want string
	}{
		{"", 5, ""},
		{"a\nb\nc\n", 2, "b\nc\n"},
		{"a\nb\nc", 2, "b\nc"},
		{"a\nb\n", 5, "a\nb\n"},
		{"a\n", 0, ""},
		{"first\n" + long + "last\n", 1, "last\n"},
		{"first\n" + long + "last\n", 3, "first\n" + long + "last\n"},
	} {
		put(test.text)
		got, err := tail(dir, "etcd", test.n)
		if err != nil || string(got) != test.want {
			t.Errorf("last %d lines of %.20q: got %.40q, %v, want %.40q", test.n, test.text, got, err, test.want)
		}
	}
	if _, err := tail(dir, "etc", 1); err == nil || !strings.Contains(err.Error(), "there are logs of: etcd") {
		t.Errorf("an unknown name: %v", err)
	}
	if _, err := tail(dir, "../etcd", 1); err == nil {
		t.Error("a path was taken for a name")
	}
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	write := func(text string, flag int) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	at := int64(0)
	next := func(want string) {
		t.Helper()
		out.Reset()
		var err error
		if at, err = added(path, at, &out); err != nil || out.String() != want {
			t.Errorf("got %q, %v, want %q", out.String(), err, want)
		}
	}
	write("one\n", 0)
	next("one\n")
	next("")
	write("two\n", os.O_APPEND)
	next("two\n")
	write("3\n", os.O_TRUNC) // the log was put away
	next("3\n")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	out.Reset()
	if err := printLogs(ctx, filepath.Dir(path), "x", 1, true, &out); err != nil || out.String() != "3\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestParseSubnet(t *testing.T) {
	good := "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
	dir := t.TempDir()
	env, conf := dir+"/subnet.env", dir+"/net.d/10-provision.conflist"
	if err := os.WriteFile(env, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeCNI(env, conf); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"subnet": "10.244.3.0/24"`, `"mtu": 1450`, `"dst": "10.244.0.0/16"`, `"ipMasq": false`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the configuration does not hold %s:\n%s", want, b)
		}
	}
	for _, bad := range []string{"", "FLANNEL_MTU=1450\n", strings.Replace(good, "1450", "x", 1), strings.Replace(good, "/24", "", 1), strings.Replace(good, "1450", "10", 1)} {
		if err := os.WriteFile(env, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := writeCNI(env, conf); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func status(procs ...templates.ProcessStatus) templates.Status {
	return templates.Status{Processes: procs}
}

func TestConditions(t *testing.T) {
	ready := func(name string) templates.ProcessStatus { return templates.ProcessStatus{Name: name, Ready: true} }
	not := func(name string) templates.ProcessStatus { return templates.ProcessStatus{Name: name} }
	for _, test := range []struct {
		condition string
		status    templates.Status
		want      bool
	}{
		{"ready", templates.Status{Ready: true}, true},
		{"ready", status(ready("etcd")), false},
		{"etcd", status(ready("etcd"), not("kubelet")), true},
		{"etcd,kubelet", status(ready("etcd"), not("kubelet")), false},
		{"etcd", status(), false},
		{"api", status(ready("kube-apiserver"), not("kubelet")), true},
		{"runtime", status(ready("containerd"), not("images")), false},
		{"runtime", status(ready("containerd"), ready("images")), true},
	} {
		if got := holds(test.status, test.condition); got != test.want {
			t.Errorf("%s of %+v: got %v, want %v", test.condition, test.status.Processes, got, test.want)
		}
	}
}

func TestNewsAndBlame(t *testing.T) {
	seen := map[string]string{}
	waits := templates.ProcessStatus{Name: "kubelet", State: templates.Waiting, WaitingFor: "containerd"}
	dies := templates.ProcessStatus{Name: "etcd", State: templates.BackOff, LastExit: "exit status 1"}
	first := status(dies, waits)
	if got := strings.Join(news(first, seen), "; "); got != "etcd back-off: exit status 1; kubelet waits for containerd" {
		t.Errorf("at first %q", got)
	}
	if got := news(first, seen); len(got) != 0 {
		t.Errorf("with nothing new %q", got)
	}
	second := status(templates.ProcessStatus{Name: "etcd", State: templates.Running, Ready: true}, waits)
	second.Problems = []string{"bundle is not installed"}
	if got := strings.Join(news(second, seen), "; "); got != "etcd ready; problem: bundle is not installed" {
		t.Errorf("then %q", got)
	}
	if got, ok := failing(status(waits, dies)); !ok || got.Name != "etcd" {
		t.Errorf("to blame is %+v, want what dies before what waits", got)
	}
	if got, ok := failing(second); !ok || got.Name != "kubelet" {
		t.Errorf("to blame is %+v", got)
	}
	if _, ok := failing(status()); ok {
		t.Error("nobody is there to blame")
	}
	var out bytes.Buffer
	second.ConfigHash = "x"
	if err := print(&out, second); err != nil || !strings.Contains(out.String(), "problem: bundle") || !strings.Contains(out.String(), "waits for containerd") {
		t.Errorf("printed %q, %v", out.String(), err)
	}
}
