package csi_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"google.golang.org/grpc"

	"github.com/provisionhq/provision/controlplane/csi"
	"github.com/provisionhq/provision/nodeagent/mount"
	"github.com/provisionhq/provision/providers"
)

// vendorVariable says in the process of one suite which vendor it is about: a process can run ginkgo's suites once.
const vendorVariable = "PROVISION_CSI_SANITY"

// TestSanity holds both halves of the driver to csi-sanity, the suite of CSI's authors, over each vendor. Volumes are the
// vendor's; what is attached is a loop device of this host, so that the node half formats, mounts and grows real disks.
func TestSanity(t *testing.T) {
	needRoot(t)
	for _, v := range vendors() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			c := exec.CommandContext(t.Context(), self, "-test.run=^TestSanityOfOne$", "-test.v", "-test.timeout=5m")
			c.Env = append(os.Environ(), vendorVariable+"="+v.name)
			c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
			c.WaitDelay = 10 * time.Second
			out, err := c.CombinedOutput()
			for line := range bytes.Lines(out) {
				if bytes.HasPrefix(line, []byte("csi-sanity over ")) {
					t.Log(strings.TrimSpace(string(line)))
				}
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// TestSanityOfOne is the process of one suite.
func TestSanityOfOne(t *testing.T) {
	name := os.Getenv(vendorVariable)
	if name == "" {
		t.Skip("it is started by TestSanity")
	}
	for _, v := range vendors() {
		if v.name == name {
			runSanity(t, v)
			return
		}
	}
	t.Fatalf("there is no vendor %q", name)
}

func runSanity(t *testing.T, v vendor) {
	p, typ := v.open(t)
	zone := settle(t, p, typ)
	c := sanity.NewTestConfig()
	var over providers.Provider = disks(t, p)
	if v.name == "local" { // whose volumes are real, and no larger than this disk
		over = hosted{p}
		c.TestVolumeSize, c.TestVolumeExpandSize = 1<<30, 2<<30
	}
	address := serveBoth(t, over, zone)
	c.Address, c.TargetPath, c.StagingPath = address, filepath.Join(t.TempDir(), "target"), filepath.Join(t.TempDir(), "staging")
	c.IdempotentCount = 3
	context := sanity.GinkgoTest(&c)
	defer context.Finalize()
	gomega.RegisterFailHandler(ginkgo.Fail)
	began, counts := time.Now(), map[types.SpecState]int{}
	skipped := map[string]int{}
	ginkgo.ReportAfterSuite("counts", func(r ginkgo.Report) {
		for _, s := range r.SpecReports {
			if s.LeafNodeType == types.NodeTypeIt {
				counts[s.State]++
			}
			if s.State == types.SpecStateSkipped {
				skipped[s.Failure.Message]++
			}
		}
	})
	suite, reporter := ginkgo.GinkgoConfiguration()
	reporter.NoColor, reporter.Succinct = true, true
	ok := ginkgo.RunSpecs(t, "csi-sanity over "+v.name, suite, reporter)
	failed := counts[types.SpecStateFailed] + counts[types.SpecStatePanicked] + counts[types.SpecStateTimedout]
	fmt.Printf("\ncsi-sanity over %s: %d passed, %d failed, %d skipped, %d not run by its authors, %s\n", v.name, counts[types.SpecStatePassed], failed,
		counts[types.SpecStateSkipped], counts[types.SpecStatePending], time.Since(began).Round(time.Second))
	for why, n := range skipped {
		fmt.Printf("csi-sanity over %s: skipped %d: %s\n", v.name, n, why)
	}
	if !ok || failed > 0 || counts[types.SpecStatePassed] < 70 {
		t.Errorf("%d cases passed, %d failed", counts[types.SpecStatePassed], failed)
	}
	left(t, p)
}

// left fails if a suite leaves something at the vendor.
func left(t *testing.T, p providers.Provider) {
	t.Helper()
	volumes, err := p.Volumes().List(t.Context(), owner)
	if err != nil || len(volumes) > 0 {
		t.Errorf("volumes are left: %v, %v", volumes, err)
	}
	if !p.Caps().Snapshots {
		return
	}
	if copies, err := p.Volumes().Snapshots().List(t.Context(), owner); err != nil || len(copies) > 0 {
		t.Errorf("snapshots are left: %v, %v", copies, err)
	}
}

const (
	owner      = providers.Owner("sanity")
	nodeName   = "node-1"
	driverName = "test.csi.provision.sh"
)

// settle makes a network and two machines, and returns where the first is.
func settle(t *testing.T, p providers.Provider, typ string) string {
	t.Helper()
	n, err := p.Networks().Create(t.Context(), providers.NetworkSpec{Owner: owner, Name: "net"})
	if err != nil {
		t.Fatal(err)
	}
	var zones []string
	zone := ""
	if zones = p.Caps().Zones; len(zones) > 0 {
		zone = zones[0]
	}
	for _, name := range []string{nodeName, "node-2"} {
		if _, err := p.Machines().Create(t.Context(), providers.MachineSpec{Owner: owner, Name: name, Network: n.ID, Type: typ, Zone: zone}); err != nil {
			t.Fatal(err)
		}
	}
	return zone
}

// serveBoth serves both halves of the driver at one socket, as csi-sanity wants it.
func serveBoth(t *testing.T, p providers.Provider, zone string) string {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s := grpc.NewServer()
	csi.New(csi.Options{Name: driverName, Version: "test", Owner: owner, Provider: p, Log: log, Tags: map[string]string{"provision.sh/uid": "u"}}).Register(s)
	mount.New(mount.Options{Driver: driverName, Version: "test", Node: nodeName, Zone: zone, Log: log, Kubelet: t.TempDir()}).RegisterNode(s)
	path := filepath.Join(t.TempDir(), "csi.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return "unix://" + path
}

// needRoot skips where nothing can be mounted.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
}
