// Package mount is the node half of the CSI driver: it makes what the controller attached to the machine a file system or a
// block device of a pod. It knows no vendor: it gets a device, as the vendor's Attach named it.
//
// It keeps no record of its own. What is mounted where, the kernel says; so a node agent that was killed between any two steps
// goes on with what it finds.
package mount

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	mountutils "k8s.io/mount-utils"
	"k8s.io/utils/exec"
)

// Options say whose node half this is.
type Options struct {
	Driver  string // the driver's name
	Version string // of this program
	Node    string // the node's name
	Zone    string // where the node is; "": that does not matter, or nobody knows
	Most    int    // how many volumes can be attached to the machine; 0: nobody knows
	Kubelet string // its folder
	Log     *slog.Logger
}

// A Node answers the CSI calls that concern one node. Its methods are safe for concurrent use; one call at a time works on a
// volume, others are told Aborted.
type Node struct {
	spec.UnimplementedIdentityServer
	spec.UnimplementedNodeServer
	o       Options
	mounter *mountutils.SafeFormatAndMount
	wait    time.Duration // for a device to be seen

	mu   sync.Mutex
	busy map[string]bool
}

// New returns a node half.
func New(o Options) *Node {
	// Without systemd: its scopes are for file systems that are a process.
	m := mountutils.NewSafeFormatAndMount(mountutils.NewWithoutSystemd(""), exec.New())
	return &Node{o: o, mounter: m, wait: 30 * time.Second, busy: map[string]bool{}}
}

// Register makes the node half answer at a server.
func (n *Node) Register(s *grpc.Server) {
	spec.RegisterIdentityServer(s, n)
	n.RegisterNode(s)
}

// RegisterNode makes the node half answer at a server where another says who the driver is.
func (n *Node) RegisterNode(s *grpc.Server) { spec.RegisterNodeServer(s, n) }

// socket is where the kubelet finds the driver.
func (n *Node) socket() string {
	return filepath.Join(n.o.Kubelet, "plugins", n.o.Driver, "csi.sock")
}

// take notes that work on a volume begins, and returns what ends it; Aborted if work on it goes on already.
func (n *Node) take(volume string) (func(), error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy[volume] {
		return nil, status.Errorf(codes.Aborted, "another call works on volume %s", volume)
	}
	n.busy[volume] = true
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.busy, volume)
	}, nil
}

// log writes calls that failed. Requests are not written: they could hold secrets.
func (n *Node) log(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	began := time.Now()
	out, err := next(ctx, in)
	if err != nil {
		volume := ""
		if r, ok := in.(interface{ GetVolumeId() string }); ok {
			volume = r.GetVolumeId()
		}
		n.o.Log.Warn("storage call failed", "call", info.FullMethod, "volume", volume, "took", time.Since(began).Round(time.Millisecond), "err", err)
	}
	return out, err
}

// missing refuses a request without a field that must be there.
func missing(what string) error { return status.Errorf(codes.InvalidArgument, "%s is missing", what) }

// internal is an error that nobody foresaw: the kubelet tries again.
func internal(doing string, err error) error {
	return status.Errorf(codes.Internal, "%s: %v", doing, err)
}

// clear removes what is at a path, if it is there, and not what is in it.
func clear(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
