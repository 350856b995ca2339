package remote

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/provisionhq/provision/providers"
)

// A Server serves a provider to whoever connects to its listeners: as a plug-in does, but for several at a time, and for as
// long as it likes. Who may connect is the listener's business: a socket's mode, for one. Its clients open it with
// Options.Socket.
type Server struct{ grpc *grpc.Server }

// NewServer returns a server of the provider that serves nobody yet.
func NewServer(p providers.Provider) *Server {
	s := grpc.NewServer(grpc.MaxRecvMsgSize(largest), grpc.MaxSendMsgSize(largest))
	open := func(_ context.Context, attributes map[string]any) (providers.Provider, error) {
		return p, providers.KnownAttributes(p.Name(), attributes)
	}
	s.RegisterService(service(), &served{plugin: Plugin{Name: p.Name(), Open: open}})
	return &Server{s}
}

// Serve answers on the listener until Stop, and returns nil then. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Stop ends all calls in progress and closes all listeners.
func (s *Server) Stop() { s.grpc.Stop() }

// dial connects to a process that serves already. Whether it does shows when it is opened.
func (proc *process) dial(socket string) (err error) {
	proc.conn, err = grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largest), grpc.MaxCallSendMsgSize(largest)))
	return err
}
