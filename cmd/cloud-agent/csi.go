package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"k8s.io/klog/v2"

	"github.com/provisionhq/provision/controlplane/csi"
	"github.com/provisionhq/provision/controlplane/csi/sidecars"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// hasVolumes says whether the vendor has volumes and can be asked for them.
func hasVolumes(a *agent) bool { return a.provider != nil && a.provider.Caps().Volumes }

// runCSI serves the CSI driver to the sidecars of this process. The driver answers until the process ends, and so longer than
// they ask.
func runCSI(ctx context.Context, a *agent) error {
	driver := templates.CSIDriver(a.cloud.Vendor)
	l, err := listenCSI(templates.CSISocket)
	if err != nil {
		return err
	}
	d := csi.New(csi.Options{
		Name: driver, Version: version, Owner: providers.Owner(a.cloud.Cluster), Provider: a.provider,
		Tags: map[string]string{"provision.sh/uid": a.cloud.UID}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	go func() { // no longer than the process lives
		if err := d.Serve(context.WithoutCancel(ctx), l); err != nil {
			klog.ErrorS(err, "CSI driver ended")
		}
	}()
	return sidecars.Run(ctx, sidecars.Options{Driver: driver, Socket: "unix://" + templates.CSISocket, Config: a.config, Identity: a.identity})
}

// listenCSI listens at a socket of root's, in place of one that is left over.
func listenCSI(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}
