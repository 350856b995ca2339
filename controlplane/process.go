// Package controlplane holds the types that the components of a node share. Each component has a folder of its own, which
// says how its process is run and which certificates it needs.
package controlplane

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/netip"
	"time"

	"github.com/provisionhq/provision/templates"
)

// A Process says how to run one program for as long as the node lives.
type Process struct {
	Name string // also of its log file
	Path string
	Args []string        // without the program's name
	Once []string        // further arguments that matter when a node is new: a change of theirs restarts nothing
	Late func() []string // nil, or more of Once, asked for when it starts
	Env  []string        // beyond PATH and HOME

	Dirs  []Dir            // are made before it starts
	Files []templates.File // are written before it starts

	After []string                    // processes that must be ready before it starts for the first time, and end after it
	Uses  []string                    // processes that end after it, as those of After do
	Gate  func() string               // nil, or says what else it waits for; "" lets it start. It is called often and must be cheap
	Ready func(context.Context) error // nil, or says why it is not ready. It is safe for concurrent use and obeys the context
	Grace time.Duration               // how long it may take to end when asked to; 0: ten seconds
}

// A Dir is a folder that a process needs.
type Dir struct {
	Path string
	Mode fs.FileMode
}

// Hash returns what the running process depends on, as a hash: if it changes the process is to be started anew.
func (p Process) Hash() string {
	b, err := json.Marshal(struct {
		Path      string
		Args, Env []string
		Files     []templates.File
	}{p.Path, p.Args, p.Env, p.Files})
	if err != nil {
		panic(err) // plain data always marshals
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// A Setting is what all components of one node are made from.
type Setting struct {
	Node   templates.Node
	Bin    string // folder of the bundle's programs
	Member Member
}

// A Member is what is known, while a control-plane node runs, about its member of etcd. The functions may be nil. They are
// called often and are cheap.
type Member struct {
	Hold  func() string   // why it must not start; "" if it may
	Args  func() []string // what it needs if it starts now
	Serve func() string   // why no API server can use it yet; "" if one can
}

// All returns a gate that opens when all of them are open. nil is an open gate.
func All(gates ...func() string) func() string {
	return func() string {
		for _, g := range gates {
			if g == nil {
				continue
			}
			if wait := g(); wait != "" {
				return wait
			}
		}
		return ""
	}
}

// Program returns the path of one of the bundle's programs.
func (s Setting) Program(name string) string { return s.Bin + "/" + name }

// LocalServer is the URL at which every component reaches a healthy API server.
const LocalServer = "https://" + templates.LocalEndpoint

// Nth returns the n-th address of a range: the API's service is the first, DNS the tenth.
func Nth(p netip.Prefix, n int) netip.Addr {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return a
}
