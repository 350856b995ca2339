package remote

import (
	"context"
	"os"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Raw is a plug-in that says what it is told to, whatever the protocol wants.
type Raw struct {
	Version uint
	Opened  string                                           // what Open answers
	Called  func(asked string, say func(string) error) error // what Call does
}

func (r Raw) open(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	return wrapperspb.Bytes([]byte(r.Opened)), nil
}

func (r Raw) call(s grpc.ServerStream) error {
	var m wrapperspb.BytesValue
	if err := s.RecvMsg(&m); err != nil {
		return err
	}
	return r.Called(string(m.GetValue()), func(text string) error { return s.SendMsg(wrapperspb.Bytes([]byte(text))) })
}

type rawHalf struct {
	goplugin.NetRPCUnsupportedPlugin
	raw Raw
}

func (h rawHalf) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(service(), h.raw)
	return nil
}

func (h rawHalf) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

// ServeRaw serves it.
func ServeRaw(r Raw) {
	go endWithParent()
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: goplugin.HandshakeConfig{ProtocolVersion: r.Version, MagicCookieKey: cookieKey, MagicCookieValue: cookieValue},
		Plugins:         goplugin.PluginSet{dispensed: rawHalf{raw: r}},
		Logger:          hclog.NewNullLogger(),
		GRPCServer:      goplugin.DefaultGRPCServer,
	})
	os.Exit(0)
}

// Calls returns the names in the description that gRPC is given.
func Calls() []string { return []string{serviceName, openCall, callCall} }

// PID returns the process ID of the program that runs, 0 if none does.
func (p *Provider) PID() int {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.running == nil {
		return 0
	}
	return p.running.child.Load().started.Load().Pid
}

// ThroughJSON returns attributes as a plug-in gets them.
func ThroughJSON(attributes map[string]any) (map[string]any, error) {
	m, err := pack(opening{Attributes: attributes})
	if err != nil {
		return nil, err
	}
	var o opening
	err = unpackAll(m, &o)
	back, _ := plain(o.Attributes).(map[string]any)
	return back, err
}

// LastLines returns what a plug-in's log would show of these writes with an error.
func LastLines(secrets []string, writes ...string) []string {
	t := newTail(nil, secrets)
	for _, w := range writes {
		_, _ = t.Write([]byte(w))
	}
	return t.lines()
}
