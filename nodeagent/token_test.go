package nodeagent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestSettle looks at what is left of a node's token and certificate.
func TestSettle(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		ends          time.Duration // of the certificate, from now; 0: there is none
		token         bool
		client, after bool // what is there afterwards
	}{
		"not joined yet":               {0, true, false, true},
		"joined":                       {time.Hour, true, true, false},
		"joined before":                {time.Hour, false, true, false},
		"ended a moment ago":           {-time.Hour, false, true, false},
		"ended long ago":               {-25 * time.Hour, false, false, false},
		"ended, with a token to use":   {-25 * time.Hour, true, true, true},
		"ended, a clock that is wrong": {-23 * time.Hour, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			i := identity{client: filepath.Join(dir, "current.pem"), token: filepath.Join(dir, "bootstrap.conf")}
			if c.ends != 0 {
				writeClient(t, filepath.Join(dir, "1.pem"), now.Add(c.ends))
				if err := os.Symlink("1.pem", i.client); err != nil {
					t.Fatal(err)
				}
			}
			if c.token {
				if err := os.WriteFile(i.token, []byte("token"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // what is settled stays so
				if _, err := i.settle(now); err != nil {
					t.Fatal(err)
				}
			}
			if exists(i.client) != c.client || exists(i.token) != c.after {
				t.Errorf("certificate %v, token %v; want %v, %v", exists(i.client), exists(i.token), c.client, c.after)
			}
			if c.ends != 0 && !exists(filepath.Join(dir, "1.pem")) {
				t.Error("the certificate itself is gone")
			}
		})
	}
}

func writeClient(t *testing.T, path string, end time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-48 * time.Hour), NotAfter: end}
	der, err1 := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	secret, err2 := x509.MarshalECPrivateKey(key)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	b := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})...)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
