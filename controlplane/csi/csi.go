// Package csi is the controller half of the CSI driver, for whatever vendor: it makes a cluster's claims volumes of its
// provider, attaches them to machines, lets them grow, and copies them. The node half is package nodeagent/mount.
//
// A volume's ID is the vendor's. A node's ID is the node's name, which is its machine's. The driver touches only what
// belongs to its cluster and bears the tag Tag: what others made, by hand or with this program's other parts, is not there
// for it. It keeps nothing that the vendor does not: several of it may serve one cluster.
package csi

import (
	"context"
	"log/slog"
	"net"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/provisionhq/provision/providers"
)

// Tags of volumes and snapshots that the driver made.
const (
	Tag       = "provision.sh/csi"        // the driver's name
	sourceTag = "provision.sh/csi.source" // what the volume is a copy of, as source writes it
)

// Options say what the driver works with.
type Options struct {
	Name     string // the driver's
	Version  string // of this program
	Owner    providers.Owner
	Tags     map[string]string // of all that it makes, beside its own
	Provider providers.Provider
	Log      *slog.Logger
}

// A Driver answers the CSI calls that concern the whole cluster. Its methods are safe for concurrent use; one call at a time
// works on a volume or a snapshot, others are told Aborted.
type Driver struct {
	spec.UnimplementedIdentityServer
	spec.UnimplementedControllerServer
	o     Options
	busy  busy
	nodes nodes
}

// New returns a driver.
func New(o Options) *Driver {
	d := &Driver{o: o}
	d.nodes.list = func(ctx context.Context) ([]providers.Machine, error) {
		return o.Provider.Machines().List(ctx, o.Owner)
	}
	return d
}

// Register makes the driver answer at a server.
func (d *Driver) Register(s *grpc.Server) {
	spec.RegisterIdentityServer(s, d)
	spec.RegisterControllerServer(s, d)
}

// Serve answers on the listener until ctx ends.
func (d *Driver) Serve(ctx context.Context, l net.Listener) error {
	s := grpc.NewServer(grpc.UnaryInterceptor(d.log))
	d.Register(s)
	stop := context.AfterFunc(ctx, s.GracefulStop)
	defer stop()
	return s.Serve(l)
}

// log writes calls that failed. Requests are not written: they could hold secrets.
func (d *Driver) log(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	began := time.Now()
	out, err := next(ctx, in)
	if err != nil {
		d.o.Log.Warn("call failed", "call", info.FullMethod, "about", about(in), "took", time.Since(began).Round(time.Millisecond), "err", err)
	}
	return out, err
}

// about is what a request is about.
func about(in any) string {
	switch r := in.(type) {
	case interface{ GetName() string }:
		return r.GetName()
	case interface{ GetVolumeId() string }:
		return r.GetVolumeId()
	case interface{ GetSnapshotId() string }:
		return r.GetSnapshotId()
	}
	return ""
}
