package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Pair is a certificate and its private key, each in PEM.
type Pair struct {
	Cert []byte
	Key  []byte // in clear
}

// Format prints "[secret]", whatever the verb.
func (p Pair) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[secret]") }

// MarshalJSON writes "[secret]".
func (p Pair) MarshalJSON() ([]byte, error) { return []byte(`"[secret]"`), nil }

// ParseCertificate reads the first certificate of a PEM file.
func ParseCertificate(b []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("not a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// Due reports whether a certificate is to be renewed: less than a third of its life is left.
func Due(c *x509.Certificate, now time.Time) bool {
	return c.NotAfter.Sub(now) < c.NotAfter.Sub(c.NotBefore)/3
}

// Current reports whether the pair is what the authority would issue for the leaf today, so that there is no need to:
// issued by it, for the same names and usages, with the key that belongs to it, and not Due.
func (a *Authority) Current(p Pair, l Leaf, now time.Time) bool {
	c, err := ParseCertificate(p.Cert)
	if err != nil || Due(c, now) || c.CheckSignatureFrom(a.cert) != nil {
		return false
	}
	key, err := parseKey(p.Key)
	if err != nil || !key.PublicKey.Equal(c.PublicKey) {
		return false
	}
	want, err := a.template(l, now)
	if err != nil {
		return false
	}
	return c.Subject.CommonName == want.Subject.CommonName &&
		slices.Equal(c.Subject.Organization, want.Subject.Organization) &&
		slices.Equal(c.DNSNames, want.DNSNames) &&
		slices.EqualFunc(c.IPAddresses, want.IPAddresses, bytesEqual) &&
		slices.Equal(c.ExtKeyUsage, want.ExtKeyUsage)
}

func bytesEqual[T ~[]byte](a, b T) bool { return bytes.Equal(a, b) }

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// parseKey reads an ECDSA key in PKCS #8. Its errors repeat nothing of what it read.
func parseKey(b []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("not a private key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("private key is damaged")
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("private key is %T, not ECDSA", key)
	}
	return ec, nil
}
