package buckettest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A Proxy stands before a server and lets requests go wrong. Its methods are safe for concurrent use.
type Proxy struct {
	upstream  string // http://HOST:PORT
	listener  net.Listener
	transport *http.Transport
	requests  atomic.Int64

	// mend adds what a server leaves out: a nil answer is none. It is called with the lock of writes held.
	mend func(*http.Request) *Fault

	mu    sync.Mutex
	fault func(*http.Request) Fault

	writes sync.Mutex // see pass
}

// A Fault is what goes wrong with one request. The zero Fault is none.
type Fault struct {
	Delay time.Duration // before all else; cut short when the client gives up
	Lost  bool          // the connection is cut, the server never sees the request
	// Status, if not 0, is answered instead of asking the server, with Header and Body.
	Status int
	Header map[string]string
	Body   string
	// After, if not nil, is called when the server has done its work and before the client hears of it.
	After func()
	Mute  bool // the server does its work, then the connection is cut: nobody hears the answer
	Half  bool // the connection is cut in the middle of the answer's body
	Strip bool // the server is not shown the request's conditions, and so ignores them
}

// newProxy starts a proxy before a server, until the test ends.
func newProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{upstream: upstream, listener: l, transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	s := &http.Server{Handler: p}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // ends when it is closed, with an error that says so
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
		p.transport.CloseIdleConnections()
	})
	return p
}

// URL is where the proxy listens, as http://HOST:PORT.
func (p *Proxy) URL() string { return "http://" + p.listener.Addr().String() }

// Upstream is where the server itself listens.
func (p *Proxy) Upstream() string { return p.upstream }

// Requests is how many requests it has seen.
func (p *Proxy) Requests() int64 { return p.requests.Load() }

// Set makes f decide about every request from now on; nil lets all pass. It returns at once; t's end takes f away.
func (p *Proxy) Set(t testing.TB, f func(*http.Request) Fault) {
	t.Helper()
	t.Cleanup(func() { p.set(nil) })
	p.set(f)
}

func (p *Proxy) set(f func(*http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// ServeHTTP passes a request on, or does not.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.requests.Add(1)
	// Read whole: a server that hears only half of a request is another fault than the ones here.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	var f Fault
	p.mu.Lock()
	decide := p.fault
	p.mu.Unlock()
	if decide != nil {
		f = decide(r)
	}
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
		}
	}
	if f.Lost {
		panic(http.ErrAbortHandler)
	}
	if f.Status == 0 {
		p.pass(w, r, body, f)
		return
	}
	write(w, f)
}

// write answers what a fault says.
func write(w http.ResponseWriter, f Fault) {
	for k, v := range f.Header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(f.Status)
	_, _ = io.WriteString(w, f.Body) // a client that is gone has lost the answer, as it may
}

// pass asks the server and answers what it said. Writes pass one at a time: moto looks at a condition and acts on it in two
// steps, between which another request may come.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, body []byte, f Fault) {
	if f.Strip {
		strip(r)
	}
	status, header, answer := p.ask(r, body)
	if f.After != nil {
		f.After()
	}
	if f.Mute {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), header)
	if r.Method != http.MethodHead {
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	}
	w.WriteHeader(status)
	if f.Half {
		_, _ = w.Write(answer[:len(answer)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(answer)
}

// strip takes the conditions away.
func strip(r *http.Request) {
	r.Header.Del("If-Match")
	r.Header.Del("If-None-Match")
	q := r.URL.Query()
	q.Del("ifGenerationMatch")
	r.URL.RawQuery = q.Encode()
}

// ask is one request to the server.
func (p *Proxy) ask(r *http.Request, body []byte) (int, http.Header, []byte) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		p.writes.Lock()
		defer p.writes.Unlock()
		if p.mend != nil {
			if f := p.mend(r); f != nil {
				return f.Status, http.Header{"Content-Type": {"application/json"}}, []byte(f.Body)
			}
		}
	}
	// What the client sent is done to its end, whether the client still waits or not.
	out, err := http.NewRequest(r.Method, p.upstream+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return http.StatusBadGateway, nil, []byte(err.Error())
	}
	out.Header, out.Host = r.Header.Clone(), r.Host
	in, err := p.transport.RoundTrip(out)
	if err != nil {
		return http.StatusBadGateway, nil, []byte(err.Error())
	}
	defer in.Body.Close()
	answer, err := io.ReadAll(in.Body)
	if err != nil {
		return http.StatusBadGateway, nil, []byte(err.Error())
	}
	return in.StatusCode, in.Header, answer
}

// mendDelete refuses a removal whose generation is not the object's: fake-gcs-server ignores that condition, Google does not.
func (p *Proxy) mendDelete(r *http.Request) *Fault {
	want := r.URL.Query().Get("ifGenerationMatch")
	if r.Method != http.MethodDelete || want == "" {
		return nil
	}
	in, err := http.Get(p.upstream + r.URL.EscapedPath())
	if err != nil {
		return &Fault{Status: http.StatusBadGateway, Body: err.Error()}
	}
	defer in.Body.Close()
	var o struct {
		Generation string `json:"generation"`
	}
	if in.StatusCode != http.StatusOK || json.NewDecoder(in.Body).Decode(&o) != nil || o.Generation == want {
		return nil
	}
	body := fmt.Sprintf(`{"error":{"code":412,"message":"generation is %s","errors":[{"reason":"conditionNotMet"}]}}`, o.Generation)
	return &Fault{Status: http.StatusPreconditionFailed, Body: body}
}
