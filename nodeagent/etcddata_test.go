package nodeagent

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/templates"
)

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"20260101T000000.000Z.db", "20260103T000000.000Z.db", "20260102T000000.000Z.db", "20260104T000000.000Z.db.part", "mine.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := prune(dir, 2); err != nil {
			t.Fatal(err)
		}
		left, err := filepath.Glob(filepath.Join(dir, "*"))
		for i := range left {
			left[i] = filepath.Base(left[i])
		}
		want := []string{"20260102T000000.000Z.db", "20260103T000000.000Z.db", "20260104T000000.000Z.db.part", "mine.txt"}
		if err != nil || !slices.Equal(left, want) {
			t.Errorf("left %v, want %v (%v)", left, want, err)
		}
	}
}

func TestEnding(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for _, c := range []struct {
		name string
		left time.Duration
		want string // part of the warning; "" none
	}{
		{"ca", 366 * day, ""},
		{"ca", 364 * day, "certificate authority ca ends on 2026-12-31, in 364 days: the cluster needs a new one"},
		{"etcd/ca", 10 * day, "authority etcd/ca ends"},
		{"apiserver", 121 * day, ""},
		{"apiserver", 59 * day, "certificate apiserver ends on 2026-03-01, in 59 days, and was not renewed"},
		{"kubelet-client", 36 * day, ""},
		{"kubelet-client", 29 * day, "kubelet-client ends"},
		{"etcd/server", -day, "certificate etcd/server ended on 2025-12-31"},
	} {
		got := strings.Join(ending([]templates.CertificateStatus{{Name: c.name, NotAfter: now.Add(c.left)}}, now), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s, %v left: %q, want %q", c.name, c.left, got, c.want)
		}
	}
}

// TestEtcdCommandLines sees that what cannot be meant is refused before anything is touched.
func TestEtcdCommandLines(t *testing.T) {
	for line, want := range map[string]string{
		"etcd":                            "etcd needs a command",
		"etcd shrink":                     `etcd has no command "shrink"`,
		"etcd add cp-1":                   "takes 2 arguments, not 1",
		"etcd add cp-1 somewhere":         "unable to parse IP",
		"etcd remove":                     "takes 1 arguments, not 0",
		"etcd snapshot --keep 0":          "--keep must be 1 or more",
		"etcd restore":                    "say so with --lose-what-only-others-hold",
		"etcd restore --snapshot /x/y.db": "they must never come back",
	} {
		var out, errOut bytes.Buffer
		code := Main(strings.Fields(line), nil, &out, &errOut)
		if code != 2 || !strings.Contains(errOut.String(), want) {
			t.Errorf("%s: code %d, %q; want 2 and %q", line, code, errOut.String(), want)
		}
	}
}
