package approver

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Ranges are ranges of addresses.
type Ranges []netip.Prefix

func (rs Ranges) contain(a netip.Addr) bool {
	return slices.ContainsFunc(rs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// nodeList is the part of a list of nodes that is looked at.
type nodeList struct {
	Items []node `json:"items"`
}

type node struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
	} `json:"status"`
}

func (n node) has(address string) bool {
	for _, a := range n.Status.Addresses {
		if a.Address == address {
			return true
		}
	}
	return false
}

const user = "system:node:"

// check says why a request for a serving certificate must not be approved. The error wraps errNever unless it may pass:
// a node that has not said its addresses yet.
//
// A node may say of itself what it likes, so an address counts as its own only if no other node has it and it is none of
// a pod, a service or the loopback: a certificate for those would let a node speak in another's name.
func check(r Request, nodes nodeList, forbidden Ranges) error {
	name, ok := strings.CutPrefix(r.Spec.Username, user)
	if !ok || name == "" || !slices.Contains(r.Spec.Groups, "system:nodes") {
		return fmt.Errorf("%w: %s is no node", errNever, r.Spec.Username)
	}
	csr, err := parse(r)
	if err != nil {
		return err
	}
	if csr.Subject.CommonName != r.Spec.Username || !slices.Equal(csr.Subject.Organization, []string{"system:nodes"}) {
		return fmt.Errorf("%w: it is for %s of %v", errNever, csr.Subject.CommonName, csr.Subject.Organization)
	}
	if err := checkUsages(r.Spec.Usages); err != nil {
		return err
	}
	if len(csr.URIs)+len(csr.EmailAddresses) > 0 || len(csr.DNSNames)+len(csr.IPAddresses) == 0 {
		return fmt.Errorf("%w: it is for something else than names and addresses", errNever)
	}
	i := slices.IndexFunc(nodes.Items, func(n node) bool { return n.Metadata.Name == name })
	if i < 0 {
		return fmt.Errorf("node %s is not there yet", name)
	}
	others := slices.Delete(slices.Clone(nodes.Items), i, i+1)
	return checkSubjects(csr, nodes.Items[i], others, forbidden)
}

func checkUsages(usages []string) error {
	for _, u := range usages {
		if !slices.Contains([]string{"digital signature", "key encipherment", "server auth"}, u) {
			return fmt.Errorf("%w: it is to be used for %s", errNever, u)
		}
	}
	if !slices.Contains(usages, "server auth") {
		return fmt.Errorf("%w: it is not to be used by a server", errNever)
	}
	return nil
}

func checkSubjects(csr *x509.CertificateRequest, self node, others []node, forbidden Ranges) error {
	var subjects []string
	for _, ip := range csr.IPAddresses {
		a, ok := netip.AddrFromSlice(ip)
		a = a.Unmap()
		if !ok || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() || forbidden.contain(a) {
			return fmt.Errorf("%w: %s is no machine's address", errNever, a)
		}
		subjects = append(subjects, a.String())
	}
	for _, d := range csr.DNSNames {
		if d == "localhost" || strings.HasPrefix(d, "kubernetes.") || d == "kubernetes" || strings.Contains(d, "*") {
			return fmt.Errorf("%w: %s is no machine's name", errNever, d)
		}
		subjects = append(subjects, d)
	}
	for _, s := range subjects {
		if other := slices.IndexFunc(others, func(n node) bool { return n.Metadata.Name == s || n.has(s) }); other >= 0 {
			return fmt.Errorf("%w: %s is node %s", errNever, s, others[other].Metadata.Name)
		}
		if s != self.Metadata.Name && !self.has(s) {
			return fmt.Errorf("node %s does not say that it has %s", self.Metadata.Name, s)
		}
	}
	return nil
}

// nodeName returns whose client certificate is asked for.
func nodeName(r Request) (string, error) {
	csr, err := parse(r)
	if err != nil {
		return "", err
	}
	name, ok := strings.CutPrefix(csr.Subject.CommonName, user)
	if !ok || name == "" {
		return "", fmt.Errorf("%w: it is for %s, which is no node", errNever, csr.Subject.CommonName)
	}
	return name, nil
}

func parse(r Request) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(r.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, fmt.Errorf("%w: it is not in PEM", errNever)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNever, err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: %w", errNever, err)
	}
	return csr, nil
}
