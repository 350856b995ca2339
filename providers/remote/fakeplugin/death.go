package main

import (
	"context"
	"encoding/json"
	"os"
	"sync"

	"github.com/provisionhq/provision/providers"
)

// A Death is where the plug-in kills itself with SIGKILL. Places are counted over all processes that use the file, in
// the file beside it that ends in .places, a byte for each: before each call, at each sub-call of it (where the fake
// looks whether its caller still waits), and after its effect, before the answer. So it dies once and never again at
// that place.
type Death struct {
	Place int  `json:"place"`           // counted from 1; 0: it does not die, and places are counted only
	Every bool `json:"every,omitempty"` // at that place and each one after it

	path string
	mu   sync.Mutex
}

// read reads where to die.
func read(path string) (*Death, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := &Death{path: path + ".places"}
	return d, json.Unmarshal(data, d)
}

// around is a providers.Around: it counts the places of every call that changes something.
func (d *Death) around(ctx context.Context, c *providers.Call, next func(context.Context) error) error {
	if c.Verb.Reads() {
		return next(ctx)
	}
	d.pass()
	err := next(watched{ctx, d})
	d.pass()
	return err
}

// pass counts a place, and dies there if it is the one.
func (d *Death) pass() {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := os.OpenFile(d.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString("."); err != nil {
		panic(err)
	}
	info, err := f.Stat()
	if err != nil {
		panic(err)
	}
	if n := int(info.Size()); d.Place > 0 && (n == d.Place || d.Every && n > d.Place) {
		if p, err := os.FindProcess(os.Getpid()); err == nil {
			_ = p.Kill()
		}
		select {}
	}
}

// watched is a context that counts a place each time somebody asks whether it has ended.
type watched struct {
	context.Context
	death *Death
}

// Err counts the place.
func (w watched) Err() error {
	w.death.pass()
	return w.Context.Err()
}
