//go:build e2e

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A probe asks ten times a second, and notes what failed.
type probe struct {
	name string
	stop chan struct{}
	all  sync.WaitGroup

	mu      sync.Mutex
	asked   int
	failed  int
	since   time.Time // the last answer
	longest time.Duration
	why     map[string]int
}

// newProbe probes until ended.
func newProbe(name string, ask func() error) *probe {
	p := &probe{name: name, stop: make(chan struct{}), since: time.Now(), why: map[string]int{}}
	p.all.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.all.Go(func() { p.note(ask()) })
			}
		}
	})
	return p
}

func (p *probe) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if err != nil {
		p.failed++
		text := err.Error()
		p.why[text[max(0, len(text)-90):]]++
		return
	}
	p.longest = max(p.longest, time.Since(p.since))
	p.since = time.Now()
}

// gap is the longest time without an answer since it was asked last, and forgets what was until now.
func (p *probe) gap() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := max(p.longest, time.Since(p.since))
	p.longest = 0
	return g
}

// words says what was seen since it was asked last.
func (p *probe) words() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := fmt.Sprintf("%s: %d of %d probes failed, longest gap %.1f s", p.name, p.failed, p.asked, max(p.longest, time.Since(p.since)).Seconds())
	for why, n := range p.why {
		s += fmt.Sprintf("\n      %d times: %s", n, why)
	}
	p.asked, p.failed, p.why = 0, 0, map[string]int{}
	return s
}

func (p *probe) end() {
	close(p.stop)
	p.all.Wait()
}

// probes are those of all ways to the API, and of the demo's Service.
type probes []*probe

// probe begins to probe the ways to the API, all if none is named. A probe reads an object, which needs etcd's quorum.
func (r *haRig) probe(ways ...way) probes {
	var ps probes
	if len(ways) == 0 {
		ways = r.ways()
	}
	for _, w := range ways {
		c := r.client(w, 3*time.Second, false)
		ps = append(ps, newProbe(w.name, func() error {
			_, _, err := request(c, http.MethodGet, "https://api/api/v1/namespaces/default", "")
			return err
		}))
	}
	return ps
}

// seen logs what the probes saw since they were asked last, and fails where an answer took too long.
func (ps probes) seen(t *testing.T, what string, limit time.Duration) {
	t.Helper()
	var words []string
	for _, p := range ps {
		words = append(words, p.words())
		if g := p.gap(); g > slack(limit) {
			t.Errorf("%s: %s did not answer for %.1f s, want at most %v", what, p.name, g.Seconds(), slack(limit))
		}
	}
	t.Logf("%s (load %s):\n    %s", what, load(), strings.Join(words, "\n    "))
}

func (ps probes) end() {
	for _, p := range ps {
		p.end()
	}
}

// A writer reads and writes registers through the API, on all ways, and remembers what it was told.
type writer struct {
	r     *haRig
	ways  []way
	name  string
	start time.Time
	stop  chan struct{}
	all   sync.WaitGroup
	last  atomic.Int64 // value that was written

	mu      sync.Mutex
	history []porcupine.Operation
	acked   int
	unknown int
	refused int
}

// registers is how many there are, and writers how many clients use each way at once.
const (
	registers = 8
	writers   = 2
)

// An access is what is done to a register.
type access struct {
	register int
	write    bool
	value    int64
}

// write begins to use registers of that name, on all ways if none is named.
func (r *haRig) write(name string, ways ...way) *writer {
	r.t.Helper()
	if len(ways) == 0 {
		ways = r.ways()
	}
	w := &writer{r: r, ways: ways, name: name, start: time.Now(), stop: make(chan struct{})}
	c := r.client(ways[0], 10*time.Second, true)
	for i := range registers {
		if _, _, err := request(c, http.MethodPost, w.url(-1), w.body(i, 0)); err != nil {
			r.t.Fatalf("make a register: %v", err)
		}
	}
	for i := range writers * len(ways) {
		way := ways[i%len(ways)]
		w.all.Go(func() { w.work(i, way) })
	}
	return w
}

func (w *writer) url(register int) string {
	u := "https://api/api/v1/namespaces/default/configmaps"
	if register >= 0 {
		u += fmt.Sprintf("/%s-%d", w.name, register)
	}
	return u
}

func (w *writer) body(register int, value int64) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s-%d"},"data":{"v":"%d"}}`, w.name, register, value)
}

// work is one client's, until the writer ends.
func (w *writer) work(client int, way way) {
	c := w.r.client(way, 3*time.Second, true)
	for {
		select {
		case <-w.stop:
			return
		case <-time.After(100 * time.Millisecond):
		}
		a := access{register: rand.IntN(registers), write: rand.IntN(2) == 0}
		if !w.do(client, c, a) {
			c = w.r.client(way, 3*time.Second, true) // another connection, maybe to another API server
		}
	}
}

// do makes one access and notes what is known of it. It returns whether there was an answer.
func (w *writer) do(client int, c *http.Client, a access) bool {
	begun := time.Since(w.start)
	var code int
	var b []byte
	var err error
	if a.write {
		a.value = w.last.Add(1)
		code, _, err = request(c, http.MethodPut, w.url(a.register), w.body(a.register, a.value))
	} else {
		code, b, err = request(c, http.MethodGet, w.url(a.register), "")
	}
	op := porcupine.Operation{ClientId: client, Input: a, Call: begun.Nanoseconds(), Return: time.Since(w.start).Nanoseconds()}
	w.mu.Lock()
	defer w.mu.Unlock()
	var dial *net.OpError
	switch {
	case err == nil && a.write:
		w.acked++
		w.history = append(w.history, op)
	case err == nil:
		op.Output = value(b)
		w.history = append(w.history, op)
	case !a.write, code >= 400 && code < 500, errors.As(err, &dial) && dial.Op == "dial":
		w.refused++ // nothing was done
	default:
		// Nobody knows whether it was written, or will be: it may be any time from now on.
		w.unknown++
		op.ClientId, op.Return = writers*8+w.unknown, int64(time.Hour*24*365)
		w.history = append(w.history, op)
	}
	return err == nil
}

// value is what a register holds; -1 if it is none.
func value(b []byte) int64 {
	var o struct{ Data struct{ V string } }
	if json.Unmarshal(b, &o) != nil {
		return -1
	}
	v, err := strconv.ParseInt(o.Data.V, 10, 64)
	if err != nil {
		return -1
	}
	return v
}

// end ends the writing, reads all registers once more through each way, and fails unless what all clients were told can
// have happened, each access at one moment between its begin and its end: then no acknowledged write was lost.
func (w *writer) end(t *testing.T) {
	t.Helper()
	close(w.stop)
	w.all.Wait()
	for i, way := range w.ways {
		c := w.r.client(way, 10*time.Second, true)
		for reg := range registers {
			if !w.do(writers*4+i, c, access{register: reg}) {
				t.Errorf("register %d cannot be read through the %s", reg, way.name)
			}
		}
	}
	begun := time.Now()
	res := porcupine.CheckOperationsTimeout(model(), w.history, time.Minute)
	t.Logf("%s: %d accesses, %d writes acknowledged, %d with an unknown end, %d refused; the history is %s (%.1f s)",
		w.name, len(w.history), w.acked, w.unknown, w.refused, res, time.Since(begun).Seconds())
	if res != porcupine.Ok || w.acked < 20 {
		t.Errorf("%s: the history is %s, with %d acknowledged writes", w.name, res, w.acked)
	}
}

// model is a register for each key, that holds what was written last.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := make([][]porcupine.Operation, registers)
			for _, o := range history {
				i := o.Input.(access).register
				parts[i] = append(parts[i], o)
			}
			return parts
		},
		Init: func() any { return int64(0) },
		Step: func(state, input, output any) (bool, any) {
			a := input.(access)
			if a.write {
				return true, a.value
			}
			return output == state, state
		},
	}
}
