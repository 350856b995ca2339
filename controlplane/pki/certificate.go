package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// An Issuer is one of a cluster's authorities: the name of its files below Dir, without suffix.
type Issuer string

// The issuers.
const (
	ClusterCA    Issuer = "ca"
	EtcdCA       Issuer = "etcd/ca"
	FrontProxyCA Issuer = "front-proxy-ca"
)

// File returns the path of the authority's certificate on a node.
func (i Issuer) File() string { return Dir + "/" + string(i) + ".crt" }

// A Certificate is one that a control-plane node issues to itself and keeps below Dir.
type Certificate struct {
	Name   string // of its files below Dir, without suffix: "etcd/server"
	Issuer Issuer
	Leaf   Leaf
}

// CertFile returns the path of the certificate on a node.
func (c Certificate) CertFile() string { return CertFile(c.Name) }

// KeyFile returns the path of its key on a node.
func (c Certificate) KeyFile() string { return KeyFile(c.Name) }

// CertFile returns the path of a certificate on a node.
func CertFile(name string) string { return Dir + "/" + name + ".crt" }

// KeyFile returns the path of a certificate's key on a node.
func KeyFile(name string) string { return Dir + "/" + name + ".key" }

// Keep sees to it that every certificate is there below root and Current, and returns the names of those it had to issue.
// The authorities are read from root too.
func Keep(root string, certs []Certificate, now time.Time) ([]string, error) {
	issuers := map[Issuer]*Authority{}
	var issued []string
	for _, c := range certs {
		ca, ok := issuers[c.Issuer]
		if !ok {
			var err error
			if ca, err = loadAuthority(root, c.Issuer); err != nil {
				return issued, err
			}
			issuers[c.Issuer] = ca
		}
		did, err := c.keep(root, ca, now)
		if err != nil {
			return issued, fmt.Errorf("certificate %s: %w", c.Name, err)
		}
		if did {
			issued = append(issued, c.Name)
		}
	}
	return issued, nil
}

func loadAuthority(root string, i Issuer) (*Authority, error) {
	cert, err := os.ReadFile(filepath.Join(root, i.File()))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(root, KeyFile(string(i))))
	if err != nil {
		return nil, err
	}
	a, err := ParseAuthority(cert, key)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", i, err)
	}
	return a, nil
}

func (c Certificate) keep(root string, ca *Authority, now time.Time) (bool, error) {
	certFile, keyFile := filepath.Join(root, c.CertFile()), filepath.Join(root, c.KeyFile())
	cert, err := os.ReadFile(certFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	key, err := os.ReadFile(keyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if ca.Current(Pair{cert, key}, c.Leaf, now) {
		return false, nil
	}
	p, err := ca.Issue(c.Leaf, now)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(certFile), 0o700); err != nil {
		return false, err
	}
	// A reader between the two sees a pair that does not match, keeps the one it has and reads again.
	if err := write(keyFile, p.Key); err != nil {
		return false, err
	}
	return true, write(certFile, p.Cert)
}

// write replaces a file in one step.
func write(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b) // CreateTemp makes it 0600
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
