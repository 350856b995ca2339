package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// An asking is one call in progress.
type asking struct {
	*process
	q      question
	into   outcome
	stream grpc.ClientStream
	heard  chan heard
}

// heard is what came of a stream.
type heard struct {
	data []byte
	err  error // of the stream: nothing more comes
}

// ask makes one call and puts the answer in place. When the context ends, the plug-in is told and may still answer within the grace; then the
// context's error is returned. The error is a *Fault if the plug-in did not answer.
func (proc *process) ask(ctx context.Context, q question, into outcome) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", q.call(), err)
	}
	if t, ok := ctx.Deadline(); ok {
		q.TimeoutMS = max(time.Until(t).Milliseconds(), 1)
	}
	streaming, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stream, err := proc.conn.NewStream(streaming, &service().Streams[0], method(callCall))
	if err != nil {
		return proc.broken(ctx, q, err)
	}
	a := &asking{proc, q, into, stream, make(chan heard)}
	if err := a.send(q); err != nil && !errors.Is(err, io.EOF) { // EOF: the reason is there to be read
		return proc.broken(ctx, q, err)
	}
	go a.listen(streaming)
	return a.wait(ctx)
}

func (a *asking) send(q question) error {
	m, err := pack(q)
	if err != nil {
		return err
	}
	return a.stream.SendMsg(m)
}

// listen reads the stream until its end or an answer.
func (a *asking) listen(ctx context.Context) {
	for {
		var m wrapperspb.BytesValue
		var h heard
		h.err = a.stream.RecvMsg(&m)
		h.data = m.GetValue()
		select {
		case a.heard <- h:
		case <-ctx.Done():
			return
		}
		if h.err != nil || !alive(h.data) {
			return
		}
	}
}

// wait waits for the answer, for a word at least as often as the plug-in shall give one, and for the end of the time.
func (a *asking) wait(ctx context.Context) error {
	limits := a.of.o.Limits
	limit := limits.Write
	if a.q.Verb.Reads() {
		limit = limits.Read
	}
	silence, enough := time.NewTimer(limits.Silence), time.NewTimer(limit)
	defer silence.Stop()
	defer enough.Stop()
	ended, late, doubt := ctx.Done(), false, false
	var grace <-chan time.Time
	stop := func() {
		_ = a.send(question{Cancel: true})
		ended, grace = nil, time.After(limits.Grace)
	}
	for {
		select {
		case h := <-a.heard:
			if h.err == nil && alive(h.data) {
				silence.Reset(limits.Silence)
				doubt = false
				continue
			}
			return a.judge(ctx, h, late)
		case <-ended:
			stop()
		case <-enough.C:
			late = true
			stop()
		case <-grace:
			if late {
				return a.hung(fmt.Sprintf("did not end the call within %s, nor when it was told to", limit))
			}
			return fmt.Errorf("%s: %w", a.q.call(), ctx.Err())
		case <-silence.C:
			if !doubt { // this process may be the one that slept, and have words to read
				doubt = true
				silence.Reset(limits.Heartbeat)
				continue
			}
			return a.hung(fmt.Sprintf("said nothing for %s", limits.Silence))
		}
	}
}

// hung ends a process that hangs.
func (a *asking) hung(what string) error {
	f := a.of.fault(Hung, a.q.call(), what)
	a.kill()
	return f
}

// judge makes what the plug-in said the outcome of the call.
func (a *asking) judge(ctx context.Context, h heard, late bool) error {
	if h.err != nil {
		return a.broken(ctx, a.q, h.err)
	}
	if err := json.Unmarshal(h.data, a.into); err != nil {
		return a.of.bug(a.q, "answered something else than JSON of this protocol: %v", err)
	}
	f := a.into.failure()
	switch {
	case f == nil || f.Ended == "" || f.Kind != "":
		return nil
	case late:
		return a.of.fault(Hung, a.q.call(), "did not end the call in time and was told to stop")
	}
	// It was the end of the context, which its side may have noticed a little earlier than this one.
	select {
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", a.of.tail.clean(f.Text), ctx.Err())
	case <-time.After(time.Second):
		return a.of.bug(a.q, "says that its caller does not wait any more, which is not so: %s", f.Text)
	}
}

// broken says why a call got no answer.
func (proc *process) broken(ctx context.Context, q question, err error) error {
	call := ""
	if q.Noun != "" {
		call = q.call()
	}
	if errors.Is(err, io.EOF) {
		return proc.of.fault(Bug, call, "ended the call without an answer")
	}
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded:
		if errors.Is(ctx.Err(), context.Canceled) {
			return fmt.Errorf("%s: %w", call, ctx.Err())
		}
		proc.kill()
		return proc.of.fault(Hung, call, "did not answer in time")
	case codes.Unavailable:
		proc.kill()
		if call == "" {
			return proc.of.fault(Died, call, proc.how()+" when it was opened")
		}
		return proc.of.fault(Died, call, proc.how()+" while the call was in progress")
	}
	return proc.of.fault(Bug, call, fmt.Sprintf("does not keep to the protocol: %v", err))
}
