package ssh_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	gossh "golang.org/x/crypto/ssh"
)

func newSigner(t *testing.T) gossh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := gossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func line(k gossh.PublicKey) string { return strings.TrimSpace(string(gossh.MarshalAuthorizedKey(k))) }

// certified answers one SSH handshake after another with a host certificate.
type certified struct {
	t    *testing.T
	cert gossh.Signer
}

func (c certified) Dial(context.Context, string, string) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	theirs, err := l.Accept()
	if err != nil {
		return nil, err
	}
	config := &gossh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(c.cert)
	go func() {
		if conn, chans, reqs, err := gossh.NewServerConn(theirs, config); err == nil {
			go gossh.DiscardRequests(reqs)
			for n := range chans {
				n.Reject(gossh.Prohibited, "no")
			}
			conn.Close()
		}
	}()
	return ours, nil
}

func TestHostCertificates(t *testing.T) {
	authority, stranger, host := newSigner(t), newSigner(t), newSigner(t)
	now := uint64(time.Now().Unix())
	tests := []struct {
		name   string
		signer gossh.Signer
		cert   gossh.Certificate
		trust  string
		want   string // "" is trusted
	}{
		{"signed for the address", authority, gossh.Certificate{ValidPrincipals: []string{"10.0.0.9"}}, "cert-authority " + line(authority.PublicKey()), ""},
		{"as known_hosts has it", authority, gossh.Certificate{ValidPrincipals: []string{"10.0.0.9"}}, "@cert-authority *.rack " + line(authority.PublicKey()), ""},
		{"the machine's own key is known", stranger, gossh.Certificate{ValidPrincipals: []string{"10.0.0.9"}}, line(host.PublicKey()), "shows host key"},
		{"another host's", authority, gossh.Certificate{ValidPrincipals: []string{"10.0.0.8"}}, "cert-authority " + line(authority.PublicKey()), `"10.0.0.9" not in the set of valid principals`},
		{"expired", authority, gossh.Certificate{ValidPrincipals: []string{"10.0.0.9"}, ValidAfter: now - 100, ValidBefore: now - 50}, "cert-authority " + line(authority.PublicKey()), "expired"},
		{"signed by a stranger", stranger, gossh.Certificate{ValidPrincipals: []string{"10.0.0.9"}}, "cert-authority " + line(authority.PublicKey()), "no authorities"},
		{"a user's certificate", authority, gossh.Certificate{CertType: gossh.UserCert, ValidPrincipals: []string{"10.0.0.9"}}, "cert-authority " + line(authority.PublicKey()), "has type 1"},
		{"the authority's key is no host's", authority, gossh.Certificate{ValidPrincipals: []string{"10.0.0.9"}}, line(authority.PublicKey()), "shows host key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.cert
			c.Key = host.PublicKey()
			if c.CertType == 0 {
				c.CertType = gossh.HostCert
			}
			if c.ValidBefore == 0 {
				c.ValidBefore = gossh.CertTimeInfinity
			}
			if err := c.SignCert(rand.Reader, tt.signer); err != nil {
				t.Fatal(err)
			}
			signer, err := gossh.NewCertSigner(&c, host)
			if err != nil {
				t.Fatal(err)
			}
			h, err := ssh.Dial(t.Context(), ssh.Options{
				Addr: "10.0.0.9", HostKeys: []string{tt.trust}, Through: certified{t, signer}, Timeout: 5 * time.Second,
			})
			if err == nil {
				h.Close()
			}
			var changed *ssh.HostKeyChanged
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && err == nil:
				t.Error("trusted")
			case tt.want != "" && !errors.As(err, &changed):
				t.Errorf("got %v, want a HostKeyChanged", err)
			case tt.want != "" && !strings.Contains(err.Error()+" "+fmt.Sprint(changed.Err), tt.want):
				t.Errorf("got %v: %v, want %q", err, changed.Err, tt.want)
			}
		})
	}
}

func TestCheckHostKey(t *testing.T) {
	key := line(newSigner(t).PublicKey())
	for l, ok := range map[string]bool{
		key: true, "cert-authority " + key: true, "@cert-authority * " + key: true,
		"": false, "nonsense": false, "@revoked * " + key: false, "@cert-authority " + key: false, key[:30]: false,
	} {
		if err := ssh.CheckHostKey(l); (err == nil) != ok {
			t.Errorf("%q: %v, want ok: %v", l, err, ok)
		}
	}
}

func TestShown(t *testing.T) {
	s := sshtest.New(sshtest.Options{})
	defer s.Close()
	o := ssh.Options{Name: "a", Addr: "a", Through: s, Handshake: 100 * time.Millisecond}
	k, err := ssh.Shown(t.Context(), o)
	if err != nil || k.Line != s.HostKey() || !strings.HasPrefix(k.Fingerprint, "SHA256:") {
		t.Errorf("got %+v, %v; want %s", k, err, s.HostKey())
	}
	s.Fail(sshtest.Faults{Silent: true})
	var silent *ssh.SilentError
	if _, err := ssh.Shown(t.Context(), o); !errors.As(err, &silent) {
		t.Errorf("of a machine that says nothing: %v", err)
	}
	s.Fail(sshtest.Faults{Refuse: -1})
	var away *ssh.UnreachableError
	if _, err := ssh.Shown(t.Context(), o); !errors.As(err, &away) {
		t.Errorf("of a machine that is away: %v", err)
	}
}
