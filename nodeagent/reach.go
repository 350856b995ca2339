package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/provisionhq/provision/templates"
)

// reachTime is how long another machine's port is tried, once a node has waited in vain.
const reachTime = 2 * time.Second

const (
	etcdPort     = 2379
	etcdPeerPort = 2380
)

// A door is a port of another machine that a node needs.
type door struct {
	address string // with the port
	what    string
}

// doors are those that the node needs of the control plane's other machines.
func doors(n templates.Node) (all []door) {
	for _, e := range n.Endpoints {
		if a, err := netip.ParseAddrPort(e); err == nil && a.Addr() != n.Address {
			all = append(all, door{e, "the API server there"})
		}
	}
	if n.Role != templates.ControlPlane {
		return all
	}
	for _, m := range n.Etcd {
		if m.Address == n.Address {
			continue
		}
		all = append(all, door{net.JoinHostPort(m.Address.String(), strconv.Itoa(etcdPort)), "etcd there"},
			door{net.JoinHostPort(m.Address.String(), strconv.Itoa(etcdPeerPort)), "etcd's peer there"})
	}
	return all
}

// shut tries all doors at once and says which are shut, a line for each.
func shut(ctx context.Context, all []door, dial func(ctx context.Context, network, address string) (net.Conn, error)) []string {
	words := make([]string, len(all))
	var wg sync.WaitGroup
	for i, d := range all {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, reachTime)
			defer cancel()
			c, err := dial(ctx, "tcp", d.address)
			if err == nil {
				c.Close()
				return
			}
			why := "no answer; look for a firewall on either machine or between them"
			switch {
			case errors.Is(err, syscall.ECONNREFUSED):
				why = "refused; it does not run, or a firewall rejects this machine"
			case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
				why = "no way there"
			}
			words[i] = fmt.Sprintf("this machine does not reach %s, %s: %s", d.address, d.what, why)
		})
	}
	wg.Wait()
	return words
}

// blameOthers prints which of the control plane's ports this node does not reach.
func blameOthers(out io.Writer) {
	raw, err := os.ReadFile(templates.NodePath)
	if err != nil {
		return
	}
	n, err := templates.ParseNode(raw)
	if err != nil {
		return
	}
	// The time of whoever waits is over already.
	for _, line := range shut(context.Background(), doors(n), new(net.Dialer).DialContext) {
		if line != "" {
			fmt.Fprintln(out, line)
		}
	}
}
