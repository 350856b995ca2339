package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/provisionhq/provision/providers"
)

// Version is the version of the protocol: of plugin.proto and of the JSON in its messages. A plug-in of another version
// is refused before anything is asked of it.
const Version = 1

// The names that plugin.proto gives to the service and its calls.
const (
	serviceName = "provision.plugin.v1.Provider"
	openCall    = "Open"
	callCall    = "Call"
)

// largest is the size of the largest message, in bytes: a list of a few hundred thousand machines.
const largest = 256 << 20

// longestWait is the longest RetryAfter that is believed, in milliseconds: an hour.
const longestWait = 3_600_000

// An opening asks the plug-in to open its provider.
type opening struct {
	Name        string         `json:"name"`
	Attributes  map[string]any `json:"attributes"`
	HeartbeatMS int64          `json:"heartbeat_ms"` // how often a call in progress says that it is alive
}

// An opened answers it.
type opened struct {
	Name  string          `json:"name"`
	Caps  *providers.Caps `json:"caps,omitempty"`
	Error *failure        `json:"error,omitempty"`
}

// A question is what is sent in a call: first what to do, and perhaps later that the caller does not want it any more.
type question struct {
	Noun      providers.Noun  `json:"noun,omitempty"`
	Verb      providers.Verb  `json:"verb,omitempty"`
	Owner     providers.Owner `json:"owner,omitempty"`      // List
	ID        providers.ID    `json:"id,omitempty"`         // Get, Delete, Update, Attach, Detach, Resize
	Machine   providers.ID    `json:"machine,omitempty"`    // Attach, Detach
	SizeGiB   int             `json:"size_gib,omitempty"`   // Resize
	Spec      json.RawMessage `json:"spec,omitempty"`       // Create, Update; of a check: the need
	TimeoutMS int64           `json:"timeout_ms,omitempty"` // when the caller's context ends; 0: not by itself
	Cancel    bool            `json:"cancel,omitempty"`
}

// call names the question in few words.
func (q question) call() string {
	c := providers.Call{Noun: q.Noun, Verb: q.Verb, Owner: q.Owner, ID: q.ID}
	var k struct {
		Owner providers.Owner `json:"owner"`
		Name  string          `json:"name"`
	}
	if q.Spec != nil && json.Unmarshal(q.Spec, &k) == nil {
		c.Owner, c.Name = k.Owner, k.Name
	}
	return c.String()
}

// An answer is what comes back: any number that say Alive, then one with the result, the error or both. The result is
// written and read in one go with what is around it, as a list may be long.
type answer[R any] struct {
	Alive  bool     `json:"alive,omitempty"`
	Result *R       `json:"result,omitempty"`
	Error  *failure `json:"error,omitempty"`
}

func (a *answer[R]) failure() *failure { return a.Error }

// An outcome is an answer whatever its result.
type outcome interface{ failure() *failure }

// alive says whether the message is one of those that say only that. They are short.
func alive(data []byte) bool {
	var a answer[any]
	return len(data) < 64 && json.Unmarshal(data, &a) == nil && a.Alive && a.Result == nil && a.Error == nil
}

// A failure is an error on its way through the pipe.
type failure struct {
	Text         string            `json:"text"`
	Kind         providers.Kind    `json:"kind,omitempty"`
	RetryAfterMS int64             `json:"retry_after_ms,omitempty"`
	Ended        string            `json:"ended,omitempty"`     // "canceled" or "deadline": the context's own error
	Attribute    *unknownAttribute `json:"attribute,omitempty"` // the block has one that the plug-in does not know
}

// An unknownAttribute is a providers.UnknownAttributeError.
type unknownAttribute struct {
	Name  string   `json:"name"`
	Known []string `json:"known"`
}

// failed returns what is sent of an error; nil for nil.
func failed(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error(), Kind: providers.KindOf(err)}
	var after providers.RetryAfter
	if errors.As(err, &after) {
		f.RetryAfterMS = max(after.After.Milliseconds(), 1)
	}
	switch {
	case errors.Is(err, context.Canceled):
		f.Ended = "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		f.Ended = "deadline"
	}
	var unknown *providers.UnknownAttributeError
	if errors.As(err, &unknown) {
		f.Attribute = &unknownAttribute{unknown.Attribute, unknown.Known}
	}
	return f
}

// A sent is an error that a plug-in returned: its words, and what it wrapped.
type sent struct {
	text  string
	wraps []error
}

// Error is what the plug-in's error said.
func (s *sent) Error() string { return s.text }

// Unwrap returns the Kind, and what else counts.
func (s *sent) Unwrap() []error { return s.wraps }

// err returns the error that was sent. It wraps no Kind if the plug-in's did not.
func (f *failure) err(vendor string) error {
	s := &sent{text: f.Text}
	if f.Attribute != nil {
		s.wraps = append(s.wraps, &providers.UnknownAttributeError{Vendor: vendor, Attribute: f.Attribute.Name, Known: f.Attribute.Known})
	}
	if f.Kind != "" {
		s.wraps = append(s.wraps, f.Kind)
	}
	if f.RetryAfterMS > 0 {
		s.wraps = append(s.wraps, providers.RetryAfter{After: time.Duration(min(f.RetryAfterMS, longestWait)) * time.Millisecond})
	}
	return s
}

// pack makes a message of a value.
func pack(v any) (*wrapperspb.BytesValue, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return wrapperspb.Bytes(data), nil
}

// unpack reads a message. Fields that are not known are left out, as those who answer may be newer.
func unpack(m *wrapperspb.BytesValue, v any) error { return json.Unmarshal(m.GetValue(), v) }

// unpackAll reads a message and refuses it if it has fields that are not known, as they may matter.
func unpackAll(m *wrapperspb.BytesValue, v any) error { return decode(m.GetValue(), v) }

// decode is strict. Numbers in what has no type stay as they are written.
func decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("there is more than one JSON value")
	}
	return nil
}

// plain turns the numbers in a value that came as JSON into int64 where they are whole and float64 where not, as they
// were before they were sent.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

// An endpoint is the plug-in's side of the service.
type endpoint interface {
	open(context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error)
	call(grpc.ServerStream) error
}

// service describes the service of plugin.proto to gRPC. All messages are google.protobuf.BytesValue, so no code is
// generated.
func service() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*endpoint)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: openCall,
			Handler: func(e any, ctx context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var m wrapperspb.BytesValue
				if err := read(&m); err != nil {
					return nil, err
				}
				return e.(endpoint).open(ctx, &m)
			},
		}},
		Streams: []grpc.StreamDesc{{
			StreamName:    callCall,
			Handler:       func(e any, s grpc.ServerStream) error { return e.(endpoint).call(s) },
			ServerStreams: true, ClientStreams: true,
		}},
		Metadata: "plugin.proto",
	}
}

// method returns the full name of a call.
func method(name string) string { return fmt.Sprintf("/%s/%s", serviceName, name) }
