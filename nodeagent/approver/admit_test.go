package approver

import (
	"crypto/x509"
	"errors"
	"net"
	"testing"

	"github.com/provisionhq/provision/templates"
)

// invited returns a request as the kubelet of an invited machine makes it, changed.
func invited(t *testing.T, name string, change func(*x509.CertificateRequest, *Request)) Request {
	t.Helper()
	return ask(t, "system:node:"+name, func(q *x509.CertificateRequest, r *Request) {
		q.DNSNames, q.IPAddresses = nil, nil
		r.Spec.SignerName, r.Spec.Username = joining, "system:bootstrap:abcdef"
		r.Spec.Groups = []string{"system:bootstrappers", templates.InvitedGroup, templates.InvitedGroup + ":w-9", "system:authenticated"}
		r.Spec.Usages = []string{"digital signature", "client auth"}
		if change != nil {
			change(q, r)
		}
	})
}

func TestCheckGuest(t *testing.T) {
	type csr = x509.CertificateRequest
	for name, change := range map[string]func(*csr, *Request){
		"another node's name": func(q *csr, _ *Request) { q.Subject.CommonName = "system:node:w-0" },
		"no node":             func(q *csr, _ *Request) { q.Subject.CommonName = "admin" },
		"another group":       func(q *csr, _ *Request) { q.Subject.Organization = []string{"system:masters"} },
		"two groups":          func(q *csr, _ *Request) { q.Subject.Organization = []string{"system:nodes", "system:masters"} },
		"an address":          func(q *csr, _ *Request) { q.IPAddresses = []net.IP{net.ParseIP("10.0.0.1")} },
		"to serve":            func(_ *csr, r *Request) { r.Spec.Usages = []string{"server auth"} },
		"a longer name": func(_ *csr, r *Request) {
			r.Spec.Groups = []string{templates.InvitedGroup, templates.InvitedGroup + ":w-99"}
		},
	} {
		if _, err := checkGuest(invited(t, "w-9", change)); !errors.Is(err, errNever) {
			t.Errorf("%s: %v, want it refused for good", name, err)
		}
	}
	if who, err := checkGuest(invited(t, "w-9", nil)); err != nil || who != "w-9" {
		t.Errorf("an invited machine: %q, %v", who, err)
	}
}

// An invited machine is let in once, as the node that it was invited as, and not as one that is there.
func TestAdmit(t *testing.T) {
	c, client := serveCluster(t)
	c.nodes.Items = []node{machine("w-0", "10.0.0.2")}
	named := func(name string, r Request) Request { r.Metadata.Name = name; return r }
	run(t, client)
	c.add(named("there", invited(t, "w-0", func(_ *x509.CertificateRequest, r *Request) {
		r.Spec.Username, r.Spec.Groups = "system:bootstrap:other0", []string{templates.InvitedGroup, templates.InvitedGroup + ":w-0"}
	})))
	c.add(named("plain", invited(t, "w-9", func(_ *x509.CertificateRequest, r *Request) { r.Spec.Groups = []string{templates.BootstrapGroup} })))
	first := named("first", invited(t, "w-9", nil))
	c.add(first)
	await(t, "admitted", c.locked(func() bool { return c.approved["first"] == "Approved" }))
	first.Status.Conditions = []condition{{Type: "Approved"}}
	c.add(first)
	c.add(named("again", invited(t, "w-9", nil)))
	other := invited(t, "w-8", func(_ *x509.CertificateRequest, r *Request) {
		r.Spec.Username, r.Spec.Groups = "system:bootstrap:third0", []string{templates.InvitedGroup, templates.InvitedGroup + ":w-8"}
	})
	c.add(named("other", other))
	await(t, "admitted with another token", c.locked(func() bool { return c.approved["other"] == "Approved" }))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range []string{"there", "plain", "again"} {
		if c.approved[name] != "" {
			t.Errorf("request %q was approved", name)
		}
	}
}
