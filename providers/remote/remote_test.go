package remote_test

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/providertest"
	"github.com/provisionhq/provision/providers/remote"
)

// fakeplug builds the fake as a plug-in, once.
func fakeplug(t *testing.T) string {
	t.Helper()
	path, err := buildFakeplug()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// built is the folder of what buildFakeplug built.
var built string

var buildFakeplug = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "fakeplug")
	if err != nil {
		return "", err
	}
	built = folder
	path := filepath.Join(folder, "provision-provider-fakeplug")
	c := exec.Command("go", "build", "-o", path, "./fakeplugin")
	c.Stderr = os.Stderr
	return path, c.Run()
})

// TestMain removes what was built.
func TestMain(m *testing.M) {
	if serveForTest() {
		return
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // most of these tests wait
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// open opens the fake in another process.
func open(t *testing.T, attributes map[string]any) *remote.Provider {
	t.Helper()
	p, err := remote.Open(t.Context(), remote.Options{Path: fakeplug(t), Name: "fakeplug", Attributes: attributes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestConformance runs the suite over the pipe, with the fake in another process. Its Stop and its faults are reached
// through another Fake over the same file.
func TestConformance(t *testing.T) {
	for name, options := range map[string]string{
		"all":     `{}`,
		"lacking": `{"lacks": ["balancer", "volume", "spot"]}`,
		"less":    `{"lacks": ["snapshot", "udp"]}`,
		"slow":    `{"latency": {"create": "20ms"}}`,
		"account": `{"account": {"identity": "ops", "cpus": 1000}, "quota": {"machine": 1000}, "prices": {"date": "2026-11-01", "source": "a list", "region": "here"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			providertest.Run(t, func(t *testing.T) providertest.Fixture {
				path := filepath.Join(t.TempDir(), "cloud")
				same, err := fake.Open(path, fake.Options{})
				if err != nil {
					t.Fatal(err)
				}
				p := open(t, map[string]any{"path": path, "options": options})
				return providertest.Fixture{Provider: p, Stop: same.Stop, Strip: func(ctx context.Context, _ providers.Noun, id providers.ID, tags ...string) error {
					return same.Strip(ctx, id, tags...)
				}}
			})
		})
	}
}
