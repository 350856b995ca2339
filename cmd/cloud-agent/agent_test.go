package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/remote/plugins"
	"github.com/provisionhq/provision/templates"
)

func TestFileThatChangesEndsTheAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud-agent.json")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		write("one")
		changed := false
		go func() {
			watch(t.Context(), path, []byte("one"))
			changed = true
		}()
		for _, step := range []struct {
			do   func()
			want bool
		}{
			{func() { write("one") }, false},
			{func() { _ = os.Remove(path) }, false},
			{func() { write("") }, false},
			{func() { write("two") }, true},
		} {
			step.do()
			time.Sleep(2 * watchEvery)
			synctest.Wait()
			if changed != step.want {
				t.Fatalf("the watch ended: %v, want %v", changed, step.want)
			}
		}
	})
}

func TestPartsEndTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []string
		broken := errors.New("broken")
		waits := part{"waits", always, func(ctx context.Context, _ *agent) error {
			<-ctx.Done()
			ended = append(ended, "waits")
			return nil
		}}
		never := part{"never", func(*agent) bool { return false }, func(context.Context, *agent) error { panic("it is not needed") }}
		fails := part{"fails", always, func(context.Context, *agent) error { time.Sleep(time.Minute); return broken }}
		if err := (&agent{}).run(t.Context(), []part{waits, never, fails}); !errors.Is(err, broken) || len(ended) != 1 {
			t.Errorf("the agent ended with %v, and of the others %v", err, ended)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := (&agent{}).run(ctx, []part{waits}); err != nil {
			t.Errorf("told to end, the agent said %v", err)
		}
	})
}

func TestAnswersAboutItself(t *testing.T) {
	stop, err := serve("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop()
	const address = "127.0.0.1:10961"
	if stop, err = serve(address); err != nil {
		t.Fatal(err)
	}
	defer stop()
	p := measured(fake.New(fake.Options{Faults: []fake.Fault{{Noun: providers.BalancerNoun, Verb: providers.ListVerb, Error: providers.Denied}}}))
	if _, err := p.Machines().List(t.Context(), "blue"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.LoadBalancers().List(t.Context(), "blue"); !errors.Is(err, providers.Denied) {
		t.Fatalf("got %v", err)
	}
	for path, want := range map[string][]string{
		"/healthz": {"ok"},
		"/readyz":  {"ok"},
		"/metrics": {`provision_vendor_calls_total{noun="machine",result="ok",verb="list"} 1`, `provision_vendor_calls_total{noun="balancer",result="denied",verb="list"} 1`},
	} {
		r, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		for _, w := range want {
			if !strings.Contains(string(body), w) {
				t.Errorf("%s has no %s", path, w)
			}
		}
	}
}

// TestErrorsKeepSecrets is a file that cannot be read, whose options are nobody's business.
func TestErrorsKeepSecrets(t *testing.T) {
	for _, text := range []string{
		`{"schema":1,"vendor":"fake","options":{"token":"hunter2"},"other":1}`,
		`{"schema":1,"vendor":"fake","options":{"token":"hunter2"`,
		`{"schema":1,"vendor":"fake","options":{"token":"hunter2"}}`,
	} {
		_, err := newAgent(t.Context(), []byte(text), kubeconfig(t))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestBlindNeedsNoVendor(t *testing.T) {
	b, err := templates.RenderCloud(templates.Cloud{Cluster: "blue", Vendor: "metal", Options: map[string]any{"inventory": "x"}, Blind: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := newAgent(t.Context(), b, kubeconfig(t))
	if err != nil || a.provider != nil {
		t.Fatalf("got %v, %v", a, err)
	}
	a.close()
}

func kubeconfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cloud-agent.conf")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n", "https://127.0.0.1:1")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPluginOfAnotherSum is a program in place of the one that the file names: it is not started.
func TestPluginOfAnotherSum(t *testing.T) {
	folder := t.TempDir()
	started := filepath.Join(folder, "started")
	program := filepath.Join(folder, "provision-provider-rack")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho >"+started+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	right, err := plugins.Sum(program)
	if err != nil {
		t.Fatal(err)
	}
	for sum, ran := range map[string]bool{strings.Repeat("ab", 32): false, right: true} { // the right one is started, and is no plug-in
		c := templates.Cloud{Vendor: "rack", Plugin: &templates.CloudPlugin{SHA256: sum}}
		p, err := openPlugin(t.Context(), c, folder, "")
		if err == nil {
			t.Fatalf("%v opened", p)
		}
		if _, there := os.Stat(started); (there == nil) != ran {
			t.Errorf("with the sum %s the program ran: %v, want %v; %v", sum, there == nil, ran, err)
		}
		_ = os.Remove(started)
	}
}
