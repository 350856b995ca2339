// Package gcptest is what tests of package gcp stand on: a server that is Compute Engine, as far as they need it.
//
// It is written from Google's discovery document, of which discovery.json is an extract: requests are found by the document's
// paths, and unknown parameters, unknown fields and values of a wrong type are refused as Google does. It keeps state; its
// operations take time, can be waited for, and can fail late; things are not ready while they are being made; changes need the
// fingerprint of what they change; what is in use stays; lists come in pages; a request's ID makes it once. On request it does
// not show for a while what was made just now, refuses requests as too many, is out of capacity or quota, and cuts the
// connection before or after the effect of a request.
package gcptest

import (
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"sync"
	"time"
)

// Project, Region and Zones are what the cloud has. There is another region, with one zone.
const (
	Project = "demo-project"
	Region  = "europe-west1"
)

// Zones returns the zones of Region.
func Zones() []string { return []string{Region + "-b", Region + "-c", Region + "-d"} }

const otherZone = "us-central1-a"

// Options say how hard the cloud is to work with. The zero value does all at once.
type Options struct {
	Page int           // most things in one answer of a list; 0: all
	Late int           // answers in which a thing that was made just now is missing
	Slow time.Duration // how long an operation takes
	Rate int           // requests in 100 ms, beyond which they are refused; 0: any number

	// Anywhere makes the cloud have whatever project is asked for, as the same one, and whatever region: for rehearsals of files that
	// name their own.
	Anywhere bool

	Hooks Hooks // what is really there
}

// A Cloud is Compute Engine at URL. Its methods are safe for concurrent use.
type Cloud struct {
	URL string // the endpoint for clients; gcloud wants URL + "/compute/v1/"

	api    *api
	server *http.Server

	mu      sync.Mutex
	options Options
	log     []Request
	cut     *cut
	faults  []*fault
	limits  map[string]int // by collection: how many there may be
	things  map[string]*thing
	running []*operation
	done    map[string]*operation // by request ID
	last    uint64                // number given out last
	host    int                   // of the last address given out
	console func(instance string) string
	window  time.Time // in which requests are counted
	count   int

	granted map[string]bool    // permissions; nil: all
	quotas  map[string]float64 // limits that were set

	settling  sync.Mutex          // held while hooks for balancers run
	forwarded map[string]Balancer // as hooks were told
}

// A Request is one that was made.
type Request struct {
	Method   string // "compute.instances.insert"
	Path     string
	Body     string
	Mutating bool
	Status   int
	Reason   string // of a refusal
}

// New starts a cloud on a port of loopback that is free: see Listen.
func New(o Options) (*Cloud, error) { return Listen("127.0.0.1:0", o) }

// Listen starts a cloud that has images and machine types, and nothing else. It answers whoever can reach the address, without
// asking for credentials: so the address should be of loopback. Close ends it. A program is pointed at it with
//
//	provider "gcp" {
//	  endpoint = "http://127.0.0.1:PORT"
//	  project  = "demo-project"
//	  region   = "europe-west1"
//	}
//
// and gcloud with CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE=http://127.0.0.1:PORT/compute/v1/ and
// CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true.
func Listen(address string, o Options) (*Cloud, error) {
	a, err := discovered()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &Cloud{api: a, URL: "http://" + l.Addr().String()}
	c.Reset(o)
	c.server = &http.Server{Handler: http.HandlerFunc(c.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = c.server.Serve(l) }() // until Close
	return c, nil
}

// Reset empties the cloud and makes it one with other options.
func (c *Cloud) Reset(o Options) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.options, c.log, c.cut, c.faults, c.running = o, nil, nil, nil, nil
	c.limits, c.things, c.done = map[string]int{}, map[string]*thing{}, map[string]*operation{}
	c.console, c.granted, c.quotas = Console, nil, map[string]float64{}
	c.furnish()
}

// Close ends the cloud.
func (c *Cloud) Close() { c.server.Close() }

// Requests returns what was asked so far.
func (c *Cloud) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Request(nil), c.log...)
}

// Writes returns how many requests that change something were made so far.
func (c *Cloud) Writes() (n int) {
	for _, r := range c.Requests() {
		if r.Mutating {
			n++
		}
	}
	return n
}

// SetConsole sets what is on the consoles of instances.
func (c *Cloud) SetConsole(of func(instance string) string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.console = of
}

// Limit says how many things of a collection ("instances") there may be.
func (c *Cloud) Limit(collection string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits[collection] = n
}

// HostKey returns an SSH public key that is made of the seed.
func HostKey(seed string) string {
	sum := sha256.Sum256([]byte(seed))
	wire := append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), sum[:]...)
	return "ssh-ed25519 " + base64.StdEncoding.EncodeToString(wire)
}

// Console is what an instance's console has after a boot with the startup script of package gcp.
func Console(instance string) string {
	return "[    0.000000] Linux version 6.12\r\nDebian GNU/Linux 13 " + instance + " ttyS0\r\nprovision-host-key: " + HostKey(instance) + "\r\n"
}
