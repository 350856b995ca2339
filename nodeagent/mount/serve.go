package mount

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/provisionhq/provision/templates"
)

// Serve answers the kubelet until ctx ends: at the driver's socket, and at the one by which the kubelet learns of the driver. A
// kubelet that is started anew reads the registry's folder and so learns of it again.
func (n *Node) Serve(ctx context.Context) error {
	driver, err := listen(n.socket())
	if err != nil {
		return err
	}
	registry, err := listen(filepath.Join(n.o.Kubelet, "plugins_registry", n.o.Driver+"-reg.sock"))
	if err != nil {
		return errors.Join(err, driver.Close())
	}
	calls, register := grpc.NewServer(grpc.UnaryInterceptor(n.log)), grpc.NewServer()
	n.Register(calls)
	registration.RegisterRegistrationServer(register, n.registrar())
	ended := make(chan error, 2)
	go func() { ended <- calls.Serve(driver) }()
	go func() { ended <- register.Serve(registry) }()
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	register.Stop()
	calls.GracefulStop()
	return err
}

// listen listens at a socket of root's, in place of one that is left over. The socket outlives the agent: if it went, the kubelet
// would take the driver off the node's list, and volumes could not be attached while the agent is started anew.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	if err := clear(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	return l, os.Chmod(path, 0o600)
}

// Retire lets the kubelet forget the drivers of this project: the node mounts no volumes any more.
func Retire(kubelet string) error {
	found, err := filepath.Glob(filepath.Join(kubelet, "plugins_registry", "*"+templates.CSIDriver("")+"-reg.sock"))
	for _, path := range found {
		err = errors.Join(err, clear(path))
	}
	return err
}

func (n *Node) registrar() *registrar { return &registrar{n: n} }

// A registrar tells the kubelet of the driver.
type registrar struct {
	registration.UnimplementedRegistrationServer
	n *Node
}

// GetInfo says which driver this is and where it answers.
func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: r.n.o.Driver, Endpoint: r.n.socket(), SupportedVersions: []string{"1.0.0"}}, nil
}

// NotifyRegistrationStatus is told whether the kubelet took the driver. It tries again by itself if not.
func (r *registrar) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if s.GetPluginRegistered() {
		r.n.o.Log.Info("the kubelet knows the storage driver", "driver", r.n.o.Driver)
	} else {
		r.n.o.Log.Error("the kubelet does not take the storage driver", "driver", r.n.o.Driver, "err", s.GetError())
	}
	return &registration.RegistrationStatusResponse{}, nil
}
