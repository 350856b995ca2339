// Package pki makes what a cluster's trust rests on: its three certificate authorities, its service-account key and the
// key that its secrets are encrypted with, and the certificates that the authorities issue.
//
// Private keys and tokens are in types that print as "[secret]", so that they cannot end up in a log by mistake. What
// returns them in clear says so.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"
)

// How long certificates live.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	LeafLife      = 365 * 24 * time.Hour
)

// skew is how far back a certificate's life begins, for machines whose clocks are behind.
const skew = 10 * time.Minute

// An Authority issues certificates. It is safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority with a key of its own.
func NewAuthority(name string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key of %s: %w", name, err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(AuthorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate of %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{cert, key}, nil
}

// ParseAuthority reads an authority from PEM. The key must be the certificate's, and the certificate an authority's.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	cert, err := ParseCertificate(certPEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("certificate of %s is not an authority's", cert.Subject.CommonName)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("key is not that of certificate %s", cert.Subject.CommonName)
	}
	return &Authority{cert, key}, nil
}

// CertPEM returns the authority's certificate.
func (a *Authority) CertPEM() []byte { return certPEM(a.cert.Raw) }

// KeyPEM returns the authority's private key in clear.
func (a *Authority) KeyPEM() ([]byte, error) { return keyPEM(a.key) }

// Certificate returns the authority's certificate. It must not be changed.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Format prints the authority's name, whatever the verb: never its key.
func (a *Authority) Format(s fmt.State, _ rune) {
	if a == nil {
		fmt.Fprint(s, "<nil>")
		return
	}
	fmt.Fprintf(s, "[authority %s]", a.cert.Subject.CommonName)
}

// A Usage is what a certificate's bearer may use it for.
type Usage int

// The usages.
const (
	Client Usage = 1 << iota
	Server
)

// A Leaf says what certificate to issue.
type Leaf struct {
	CommonName    string
	Organizations []string // groups, to Kubernetes
	Names         []string // DNS names
	Addresses     []netip.Addr
	Usage         Usage
	Life          time.Duration // 0: LeafLife. It never exceeds the authority's own
}

// Issue makes a key and a certificate for it.
func (a *Authority) Issue(l Leaf, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make key of %s: %w", l.CommonName, err)
	}
	template, err := a.template(l, now)
	if err != nil {
		return Pair{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate of %s: %w", l.CommonName, err)
	}
	private, err := keyPEM(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: certPEM(der), Key: private}, nil
}

func (a *Authority) template(l Leaf, now time.Time) (*x509.Certificate, error) {
	if l.CommonName == "" || l.Usage&(Client|Server) == 0 {
		return nil, errors.New("issue certificate: a name and a usage are required")
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	if l.Life == 0 {
		l.Life = LeafLife
	}
	end := now.Add(l.Life)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	if !now.Before(end) {
		return nil, fmt.Errorf("issue certificate of %s: authority %s is no longer valid", l.CommonName, a.cert.Subject.CommonName)
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: l.CommonName, Organization: l.Organizations},
		DNSNames:              l.Names,
		IPAddresses:           ips(l.Addresses),
		NotBefore:             now.Add(-skew),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           l.Usage.extended(),
		BasicConstraintsValid: true,
	}, nil
}

func (u Usage) extended() []x509.ExtKeyUsage {
	var list []x509.ExtKeyUsage
	if u&Client != 0 {
		list = append(list, x509.ExtKeyUsageClientAuth)
	}
	if u&Server != 0 {
		list = append(list, x509.ExtKeyUsageServerAuth)
	}
	return list
}

func ips(addresses []netip.Addr) []net.IP {
	var list []net.IP
	for _, a := range addresses {
		list = append(list, net.IP(a.AsSlice()))
	}
	return list
}

// newSerial returns 127 random bits.
func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
