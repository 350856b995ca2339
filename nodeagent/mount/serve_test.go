package mount

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// TestServe registers with a kubelet, twice, as when the agent is started anew: the first left its sockets.
func TestServe(t *testing.T) {
	dir, err := os.MkdirTemp("", "kubelet")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	n := New(Options{Driver: "fake.csi.provision.sh", Node: "one", Kubelet: dir, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	socket := filepath.Join(dir, "plugins_registry", "fake.csi.provision.sh-reg.sock")
	for range 2 {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.Serve(ctx) }()
		for !dialable(socket) || !dialable(n.socket()) {
			time.Sleep(time.Millisecond)
		}
		asKubelet(t, socket)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(socket); err != nil {
			t.Errorf("the kubelet forgets the driver while the agent is started anew: %v", err)
		}
	}
	if err := Retire(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the kubelet is not told that the driver is gone: %v", err)
	}
}

// asKubelet does what the kubelet does with a new socket: asks who is there, and then calls the driver.
func asKubelet(t *testing.T, socket string) {
	t.Helper()
	reg := connect(t, socket)
	defer reg.Close()
	info, err := registration.NewRegistrationClient(reg).GetInfo(t.Context(), &registration.InfoRequest{})
	if err != nil || info.Type != registration.CSIPlugin || info.Name != "fake.csi.provision.sh" || len(info.SupportedVersions) != 1 {
		t.Fatalf("got %v, %v", info, err)
	}
	driver := connect(t, info.Endpoint)
	defer driver.Close()
	if got, err := spec.NewNodeClient(driver).NodeGetInfo(t.Context(), &spec.NodeGetInfoRequest{}); err != nil || got.NodeId != "one" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := registration.NewRegistrationClient(reg).NotifyRegistrationStatus(t.Context(), &registration.RegistrationStatus{PluginRegistered: true}); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(info.Endpoint); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("others than root may call the driver: %v, %v", st.Mode(), err)
	}
}

func connect(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
