package nodeagent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/controlplane"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

// runJoin makes this machine the node that it is invited as. All that it does may be done twice.
func runJoin(ctx context.Context, file string, out io.Writer) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	inv, err := templates.ParseInvitation(b)
	if err != nil {
		return err
	}
	began := time.Now()
	g, err := newGuest(inv, out)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(ctx, inv.Expires)
	defer cancel()
	p, err := g.join(ctx, templates.BundleDir)
	if err != nil {
		return err
	}
	if err := link(inv.Bundle, templates.Current); err != nil {
		return err
	}
	raw, err := templates.RenderPayload(p)
	if err != nil {
		return err
	}
	if _, err := configure("/", bytes.NewReader(raw)); err != nil {
		return err
	}
	if err := enable(ctx); err != nil {
		return err
	}
	g.say("this machine is node %s of the cluster %s, %.1fs after it was told to be", inv.Name, inv.Cluster, time.Since(began).Seconds())
	return os.RemoveAll(templates.JoinDir)
}

// A guest is an invited machine.
type guest struct {
	inv    templates.Invitation
	token  pki.Token
	client *http.Client
	out    io.Writer
	self   netip.Addr // by which the control plane was reached
	said   string
}

func newGuest(inv templates.Invitation, out io.Writer) (*guest, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(inv.CA)) {
		return nil, errors.New("the invitation's authority is no certificate")
	}
	id, secret, _ := strings.Cut(inv.Token, ".")
	g := &guest{inv: inv, token: pki.Token{ID: id, Secret: secret}, out: out}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	g.client = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err == nil {
				if a, err := netip.ParseAddrPort(c.LocalAddr().String()); err == nil {
					g.self = a.Addr().Unmap()
				}
			}
			return c, err
		},
	}}
	return g, nil
}

// join fetches what the node is made of: the bundle to a folder below dir, and its configuration.
func (g *guest) join(ctx context.Context, dir string) (templates.Payload, error) {
	var node templates.Node
	err := g.persist(ctx, func(ctx context.Context, server string) error {
		var err error
		node, err = g.node(ctx, server)
		return err
	})
	if err != nil {
		return templates.Payload{}, err
	}
	err = g.persist(ctx, func(ctx context.Context, server string) error {
		return g.bundle(ctx, server, filepath.Join(dir, g.inv.Bundle))
	})
	if err != nil {
		return templates.Payload{}, err
	}
	return g.payload(node)
}

// persist asks one server after the other until one helps, or ctx ends.
func (g *guest) persist(ctx context.Context, f func(context.Context, string) error) error {
	for {
		var last error
		for _, server := range g.inv.Servers {
			if last = f(ctx, server); last == nil {
				return nil
			}
			g.say("%s: %v", server, last)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the invitation has ended: %w", last)
		case <-time.After(time.Second):
		}
	}
}

// say writes a line to whoever looks at the machine's first boot, once if it is the same again.
func (g *guest) say(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); line != g.said {
		g.said = line
		fmt.Fprintln(g.out, "node-agent:", line)
	}
}

// get asks a server for one thing.
func (g *guest) get(ctx context.Context, server, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+server+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+g.token.Clear())
	res, err := g.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
	return nil, fmt.Errorf("answers %d: %s", res.StatusCode, bytes.TrimSpace(text))
}

// node asks for the node's configuration, and checks that it is of the cluster and the bundle that the machine was invited to.
func (g *guest) node(ctx context.Context, server string) (templates.Node, error) {
	body, err := g.get(ctx, server, "/v1/node")
	if err != nil {
		return templates.Node{}, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, 1<<20))
	if err != nil {
		return templates.Node{}, err
	}
	n, err := templates.ParseNode(b)
	switch {
	case err != nil:
		return templates.Node{}, err
	case n.UID != g.inv.UID || n.Name != g.inv.Name || n.Role != templates.Worker:
		return templates.Node{}, fmt.Errorf("has the configuration of %s %s of cluster %s", n.Role, n.Name, n.Cluster)
	case n.Bundle != g.inv.Bundle:
		return templates.Node{}, fmt.Errorf("runs bundle %.12s, the invitation is to %.12s", n.Bundle, g.inv.Bundle)
	}
	n.Address, n.Labels, n.Taints = g.self, g.inv.Labels, g.inv.Taints
	return n, nil
}

// bundle unpacks the bundle while it arrives.
func (g *guest) bundle(ctx context.Context, server, dir string) error {
	if m, err := bundle.Load(dir); err == nil && m.ID == g.inv.Bundle {
		return nil
	}
	body, err := g.get(ctx, server, "/v1/bundle/"+g.inv.Bundle)
	if err != nil {
		return err
	}
	defer body.Close()
	m, err := bundle.Unpack(ctx, body, dir)
	if err != nil {
		return err
	}
	if m.ID != g.inv.Bundle {
		return errors.Join(fmt.Errorf("sent bundle %.12s", m.ID), os.RemoveAll(dir))
	}
	return nil
}

// payload is all that the node is told: what a command over SSH would tell it.
func (g *guest) payload(n templates.Node) (templates.Payload, error) {
	conf, err := pki.Kubeconfig{
		Cluster: n.Cluster, Server: controlplane.LocalServer, CA: []byte(g.inv.CA), User: "bootstrap", Token: g.token,
	}.Render()
	return templates.Payload{Node: n, Files: []templates.File{
		{Path: pki.ClusterCA.File(), Mode: "0600", Content: []byte(g.inv.CA)},
		{Path: templates.BootstrapConf, Mode: "0600", Content: conf},
	}}, err
}
