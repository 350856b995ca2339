package ssh

import (
	"context"
	"net"
	"time"
)

// Options says how to reach a machine. The zero value of a duration is its default.
type Options struct {
	Name     string   // what errors call the machine; Addr if empty
	Addr     string   // host or host:port
	User     string   // "root" if empty
	Sudo     bool     // commands become root by sudo, which must not ask for a password; nothing for root
	Keys     *Keys    // borrowed: the caller closes it after the host
	HostKeys []string // the machine's public keys as in authorized_keys, or keys that sign them (see CertAuthority); at least one
	Through  Dialer   // a bastion, borrowed; nil connects from here. A Host is one

	Timeout   time.Duration // for a machine that boots: how long the first connection is tried for; 5 min
	Redial    time.Duration // how long a lost connection is tried to be made anew; 30 s
	Handshake time.Duration // from the accepted connection to the open one; 10 s
	KeepAlive time.Duration // between two; the connection is dead after three without answer; 15 s
}

// A Dialer makes connections. Every Host and net.Dialer-like type is one.
type Dialer interface {
	Dial(ctx context.Context, network, addr string) (net.Conn, error)
}

// direct connects from here.
type direct struct{ net.Dialer }

func (d *direct) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return d.DialContext(ctx, network, addr)
}

func (o Options) withDefaults() Options {
	if _, _, err := net.SplitHostPort(o.Addr); err != nil {
		o.Addr = net.JoinHostPort(o.Addr, "22")
	}
	if o.Name == "" {
		o.Name = o.Addr
	}
	if o.User == "" {
		o.User = "root"
	}
	if o.User == "root" {
		o.Sudo = false
	}
	if o.Keys == nil {
		o.Keys = new(Keys)
	}
	if o.Through == nil {
		o.Through = new(direct)
	}
	setDefault(&o.Timeout, 5*time.Minute)
	setDefault(&o.Redial, 30*time.Second)
	setDefault(&o.Handshake, 10*time.Second)
	setDefault(&o.KeepAlive, 15*time.Second)
	return o
}

func setDefault(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}
