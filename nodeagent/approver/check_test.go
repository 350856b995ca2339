package approver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

// ask returns a request as a kubelet makes it, changed.
func ask(t *testing.T, user string, change func(*x509.CertificateRequest, *Request)) Request {
	t.Helper()
	template := &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: user, Organization: []string{"system:nodes"}},
		DNSNames: []string{"w-0"}, IPAddresses: []net.IP{net.ParseIP("10.0.0.2")},
	}
	var r Request
	r.Metadata.Name = "csr-1"
	r.Spec.SignerName, r.Spec.Username = serving, user
	r.Spec.Groups = []string{"system:nodes", "system:authenticated"}
	r.Spec.Usages = []string{"digital signature", "server auth"}
	if change != nil {
		change(template, &r)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	if r.Spec.Request == nil {
		r.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	return r
}

func machine(name string, addresses ...string) node {
	var n node
	n.Metadata.Name = name
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		}{"InternalIP", a})
	}
	return n
}

func TestCheck(t *testing.T) {
	type csr = x509.CertificateRequest
	nodes := nodeList{[]node{machine("cp-0", "10.0.0.1"), machine("w-0", "10.0.0.2", "203.0.113.7", "10.244.1.1", "10.96.0.1", "127.0.0.1", "localhost", "kubernetes"), machine("w-1", "10.0.0.3", "w-1.example")}}
	forbidden := Ranges{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.96.0.0/16")}
	ips := func(list ...string) func(*csr, *Request) {
		return func(c *csr, _ *Request) {
			for _, ip := range list {
				c.IPAddresses = append(c.IPAddresses, net.ParseIP(ip))
			}
		}
	}
	names := func(list ...string) func(*csr, *Request) {
		return func(c *csr, _ *Request) { c.DNSNames = append(c.DNSNames, list...) }
	}
	for _, test := range []struct {
		why    string
		user   string
		change func(*csr, *Request)
		want   string // "" approve, "later" not yet, else words of the refusal
	}{
		{"as a kubelet asks", "system:node:w-0", nil, ""},
		{"a second address of its own", "system:node:w-0", ips("203.0.113.7"), ""},
		{"with key encipherment", "system:node:w-0", func(_ *csr, r *Request) { r.Spec.Usages = append(r.Spec.Usages, "key encipherment") }, ""},
		{"an address it does not say it has", "system:node:w-0", ips("10.0.0.9"), "later"},
		{"a name it does not say it has", "system:node:w-0", names("w-0.example"), "later"},
		{"a node that is not there", "system:node:w-9", nil, "later"},
		{"another node's address", "system:node:w-0", ips("10.0.0.3"), "is node w-1"},
		{"the control plane's address", "system:node:w-0", ips("10.0.0.1"), "is node cp-0"},
		{"another node's name", "system:node:w-0", names("w-1"), "is node w-1"},
		{"another node's further name", "system:node:w-0", names("w-1.example"), "is node w-1"},
		{"a pod's address, claimed", "system:node:w-0", ips("10.244.1.1"), "no machine's address"},
		{"the API's service, claimed", "system:node:w-0", ips("10.96.0.1"), "no machine's address"},
		{"loopback, claimed", "system:node:w-0", ips("127.0.0.1"), "no machine's address"},
		{"localhost, claimed", "system:node:w-0", names("localhost"), "no machine's name"},
		{"the API's name, claimed", "system:node:w-0", names("kubernetes"), "no machine's name"},
		{"every name", "system:node:w-0", names("*.example"), "no machine's name"},
		{"nothing", "system:node:w-0", func(c *csr, _ *Request) { c.DNSNames, c.IPAddresses = nil, nil }, "something else"},
		{"a URI", "system:node:w-0", func(c *csr, _ *Request) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}} }, "something else"},
		{"a mailbox", "system:node:w-0", func(c *csr, _ *Request) { c.EmailAddresses = []string{"a@b"} }, "something else"},
		{"by a person", "ann", nil, "is no node"},
		{"by somebody outside the group", "system:node:w-0", func(_ *csr, r *Request) { r.Spec.Groups = nil }, "is no node"},
		{"for another user", "system:node:w-0", func(c *csr, _ *Request) { c.Subject.CommonName = "system:node:w-1" }, "it is for system:node:w-1"},
		{"for the masters", "system:node:w-0", func(c *csr, _ *Request) { c.Subject.Organization = []string{"system:masters"} }, "system:masters"},
		{"for the masters too", "system:node:w-0", func(c *csr, _ *Request) { c.Subject.Organization = []string{"system:nodes", "system:masters"} }, "system:masters"},
		{"to be a client", "system:node:w-0", func(_ *csr, r *Request) { r.Spec.Usages = append(r.Spec.Usages, "client auth") }, "client auth"},
		{"to be no server", "system:node:w-0", func(_ *csr, r *Request) { r.Spec.Usages = []string{"digital signature"} }, "not to be used by a server"},
		{"garbage", "system:node:w-0", func(_ *csr, r *Request) { r.Spec.Request = []byte("garbage") }, "not in PEM"},
	} {
		err := check(ask(t, test.user, test.change), nodes, forbidden)
		switch {
		case test.want == "":
			if err != nil {
				t.Errorf("%s: refused: %v", test.why, err)
			}
		case err == nil:
			t.Errorf("%s: approved", test.why)
		case test.want == "later" && errors.Is(err, errNever), test.want != "later" && !errors.Is(err, errNever):
			t.Errorf("%s: final is %v: %v", test.why, errors.Is(err, errNever), err)
		case test.want != "later" && !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %q does not say %q", test.why, err, test.want)
		}
	}
}
