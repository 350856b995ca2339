package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/provisionhq/provision/providers"
)

// A Plugin is what a plug-in's program serves.
type Plugin struct {
	// Name is the provider's: NAME of the program provision-provider-NAME and of the block in cluster.hcl.
	Name string
	// Open returns the provider that the attributes of its block describe: string, int64, float64, bool, []any and
	// map[string]any. It is called once. An attribute that it does not know is a providers.UnknownAttributeError, as
	// providers.KnownAttributes returns. The context ends when the caller does not wait any longer.
	Open func(ctx context.Context, attributes map[string]any) (providers.Provider, error)
}

// Serve is the main function of a plug-in: it serves until the program that started it has no more use for it or has
// ended, however that was, and ends the process then. What the plug-in writes to stdout and stderr goes to its log.
func Serve(p Plugin) {
	if os.Getenv(cookieKey) != cookieValue {
		fmt.Fprintf(os.Stderr, "This is the provider plug-in %q of provision. It is started by provision, not by hand: put it in\n"+
			"~/.local/share/provision/plugins as provision-provider-%s, then: provision providers trust %[1]s\n", p.Name, p.Name)
		os.Exit(1)
	}
	hideMemory()
	go endWithParent()
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: goplugin.HandshakeConfig{ProtocolVersion: Version, MagicCookieKey: cookieKey, MagicCookieValue: cookieValue},
		Plugins:         goplugin.PluginSet{dispensed: &half{plugin: p}},
		Logger:          hclog.NewNullLogger(),
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, grpc.MaxRecvMsgSize(largest), grpc.MaxSendMsgSize(largest))...)
		},
	})
	os.Exit(0)
}

// endWithParent ends this process, and those that it started, when its stdin ends: the program that started it holds the
// other side of that pipe, and has gone.
func endWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	endGroup()
	os.Exit(0)
}

// The handshake of go-plugin: it keeps people from starting the program by mistake, and is no secret.
const (
	cookieKey   = "PROVISION_PROVIDER_PLUGIN"
	cookieValue = "5f2f6b8b-provision-provider"
	dispensed   = "provider"
)

// A half is one side of the pipe, as go-plugin wants it.
type half struct {
	goplugin.NetRPCUnsupportedPlugin
	plugin Plugin
}

// GRPCServer puts the service in place, in the plug-in.
func (h *half) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(service(), &served{plugin: h.plugin})
	return nil
}

// GRPCClient returns the connection, in the program that uses the plug-in.
func (h *half) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

// A served is the plug-in's side of the service.
type served struct {
	plugin    Plugin
	mu        sync.Mutex
	provider  providers.Provider
	heartbeat time.Duration
}

func (s *served) open(ctx context.Context, m *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	var o opening
	if err := unpackAll(m, &o); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "open: %v", err)
	}
	attributes, _ := plain(o.Attributes).(map[string]any)
	p, err := s.plugin.Open(ctx, attributes)
	if err == nil && p == nil {
		err = errors.New("open: there is neither a provider nor an error")
	}
	if err != nil {
		return pack(opened{Name: s.plugin.Name, Error: failed(err)})
	}
	s.mu.Lock()
	s.provider, s.heartbeat = p, time.Duration(o.HeartbeatMS)*time.Millisecond
	s.mu.Unlock()
	caps := p.Caps()
	return pack(opened{Name: p.Name(), Caps: &caps})
}

// call answers one question. The caller's "cancel" and its end both end the context; the first still wants the answer.
func (s *served) call(stream grpc.ServerStream) error {
	var m wrapperspb.BytesValue
	if err := stream.RecvMsg(&m); err != nil {
		return err
	}
	s.mu.Lock()
	p, heartbeat := s.provider, s.heartbeat
	s.mu.Unlock()
	if p == nil {
		return status.Error(codes.FailedPrecondition, "call before open")
	}
	if heartbeat <= 0 {
		heartbeat = time.Second
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	done := make(chan answer[any], 1)
	go func() { done <- reply(ctx, p, &m) }()
	go func() {
		var later wrapperspb.BytesValue
		_ = stream.RecvMsg(&later) // whatever it says, and if it ends
		cancel()
	}()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		a := answer[any]{Alive: true}
		select {
		case a = <-done:
		case <-tick.C:
		}
		m, err := pack(a)
		if err == nil {
			err = stream.SendMsg(m)
		}
		if err != nil || !a.Alive {
			return err
		}
	}
}

// reply makes the call that a message asks for.
func reply(ctx context.Context, p providers.Provider, m *wrapperspb.BytesValue) answer[any] {
	var q question
	if err := unpackAll(m, &q); err != nil {
		return answer[any]{Error: failed(fmt.Errorf("question: %w: %w: the plug-in was built with an older version of provision", providers.Unsupported, err))}
	}
	if q.TimeoutMS > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(q.TimeoutMS)*time.Millisecond)
		defer cancel()
	}
	result, err := dispatch(ctx, p, q)
	a := answer[any]{Error: failed(err)}
	if result != nil {
		a.Result = &result
	}
	return a
}
