//go:build e2e

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/nodeagent/welcome"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/templates"
)

// elastic writes a file with one worker and a pool whose machines the cluster itself decides on.
func (r *rig) elastic() {
	r.t.Helper()
	r.workers(1, `tier = "web"`)
	b, err := os.ReadFile(r.file)
	if err != nil {
		r.t.Fatal(err)
	}
	text := strings.TrimSuffix(strings.TrimSpace(string(b)), "}") + "\n  pool \"burst\" {\n    max      = 3\n    machines = [\"micro\", \"small\"]\n  }\n}\n"
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// invite makes a token for a node and returns the invitation.
func (r *rig) invite(name string) templates.Invitation {
	r.t.Helper()
	token, err := pki.NewToken()
	if err != nil {
		r.t.Fatal(err)
	}
	until := time.Now().Add(10 * time.Minute)
	secret, err := templates.RenderToken(templates.Token{ID: token.ID, Secret: token.Secret, Node: name, Expires: until, Bound: true})
	if err != nil {
		r.t.Fatal(err)
	}
	file := filepath.Join(r.t.TempDir(), "token.yaml")
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.kubectl("apply", "-f", file)
	node, err := templates.ParseNode([]byte(r.on("cp-0", "cat "+templates.NodePath)))
	if err != nil {
		r.t.Fatal(err)
	}
	agent, err := os.ReadFile(filepath.Join(r.bin, "node-agent"))
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := bundle.Open(filepath.Join(r.bin, "bundle-linux-amd64.tar.zst"))
	if err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.Sum256(agent)
	return templates.Invitation{
		Cluster: r.name, UID: node.UID, Name: name, CA: strings.TrimSpace(r.on("cp-0", "cat "+pki.ClusterCA.File())),
		Servers: []string{fmt.Sprintf("%s:%d", node.Address, templates.WelcomePort)}, Token: token.Clear(), Expires: until,
		Agent: hex.EncodeToString(sum[:]), Bundle: b.Manifest.ID, Labels: map[string]string{"example.org/by": "itself"},
		Taints: []templates.Taint{{Key: "example.org/new", Effect: "NoSchedule"}},
	}
}

// TestE2EJoin lets a machine become a node by its user data alone, and sees that its token is good for that and nothing else.
func TestE2EJoin(t *testing.T) {
	firewall(t)
	r := newRig(t)
	r.elastic()
	r.run(5*time.Minute, "apply", r.file, "--auto-approve")
	if out, _, err := r.try(time.Minute, "plan", r.file, "--detailed-exitcode"); err != nil {
		t.Errorf("a plan after apply: %v\n%s", err, out)
	}
	name := r.name + "-burst-aaaaa"
	inv := r.invite(name)
	data, err := templates.RenderUserData(inv)
	if err != nil {
		t.Fatal(err)
	}
	vendor := local.New(local.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	networks, err := vendor.Networks().List(ctx, providers.Owner(r.name))
	if err != nil || len(networks) != 1 {
		t.Fatal(networks, err)
	}
	start := time.Now()
	m, err := vendor.Machines().Create(ctx, providers.MachineSpec{
		Owner: providers.Owner(r.name), Name: name, Pool: "burst", Network: networks[0].ID, Type: "small", UserData: data,
		AuthorizedKeys: nil, Tags: map[string]string{"provision.sh/uid": inv.UID},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("machine %s after %.1f s", m.Private, time.Since(start).Seconds())
	r.kubectl("wait", "--for=create", "node/"+name, "--timeout=120s")
	t.Logf("node registered after %.1f s", time.Since(start).Seconds())
	r.kubectl("wait", "--for=condition=Ready", "node/"+name, "--timeout=120s")
	took := time.Since(start)
	t.Logf("node Ready %.1f s after its machine was asked for", took.Seconds())
	if took > time.Minute {
		t.Errorf("a machine took %v to be a node", took)
	}
	if got := r.kubectl("get", "node", name, "-o", `jsonpath={.metadata.labels.example\.org/by} {.spec.taints[*].key}`); !strings.Contains(got, "itself") || !strings.Contains(got, "example.org/new") {
		t.Errorf("the node has %q, want its label and its taint", got)
	}
	r.partTokenIsUsed(inv)
	r.partPlanLeavesItAlone(name)
}

// partTokenIsUsed: a token that a node has joined with opens nothing.
func (r *rig) partTokenIsUsed(inv templates.Invitation) {
	r.t.Helper()
	groups := r.on("cp-0", "cat "+pki.ClusterCA.File())
	ca := filepath.Join(r.t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte(groups), 0o600); err != nil {
		r.t.Fatal(err)
	}
	host, _, _ := strings.Cut(inv.Servers[0], ":")
	ask, err := welcome.Ask(fmt.Sprintf("https://%s:%d", host, templates.APIPort), ca)
	if err != nil {
		r.t.Fatal(err)
	}
	r.eventually("the used token is refused", 10*time.Second, func() (bool, string) {
		_, err := ask(context.Background(), inv.Token)
		return err == welcome.ErrStranger, fmt.Sprint(err)
	})
	code := strings.TrimSpace(r.on("cp-0", fmt.Sprintf("curl -s -o /dev/null -w '%%{http_code}' --cacert %s -H 'Authorization: Bearer %s' https://%s/v1/node", pki.ClusterCA.File(), inv.Token, inv.Servers[0])))
	if code != fmt.Sprint(http.StatusUnauthorized) {
		r.t.Errorf("a used token gets %s from the node agent", code)
	}
}

// partPlanLeavesItAlone: the file's plan knows such a machine, and changes nothing of it; destroy removes it.
func (r *rig) partPlanLeavesItAlone(name string) {
	r.t.Helper()
	if out, errs, err := r.try(time.Minute, "plan", r.file, "--detailed-exitcode"); err != nil {
		r.t.Errorf("a plan beside an autoscaled machine: %v\n%s%s", err, out, errs)
	}
	out := r.run(2*time.Minute, "destroy", r.file, "--auto-approve")
	if !strings.Contains(out, name) {
		r.t.Errorf("destroy says nothing of %s:\n%s", name, out)
	}
	ms, err := local.New(local.Options{}).Machines().List(context.Background(), providers.Owner(r.name))
	if err != nil || len(ms) > 0 {
		r.t.Errorf("machines left: %v, %v", ms, err)
	}
}
