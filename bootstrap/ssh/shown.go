package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"
)

// A ShownKey is the public key that a machine shows to whoever asks. Nothing says that it is the right one: a person has to
// compare the fingerprint with one from another source before it becomes one of Options.HostKeys.
type ShownKey struct {
	Line        string // as in authorized_keys
	Fingerprint string // SHA256:…
}

var errSeen = errors.New("the host key was seen")

// Shown asks a machine for its host key, preferring ed25519, and does not log in. It tries once, for Options.Handshake at most.
func Shown(ctx context.Context, o Options) (ShownKey, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, o.Handshake)
	defer cancel()
	nc, err := o.Through.Dial(ctx, "tcp", o.Addr)
	if err != nil {
		return ShownKey{}, &UnreachableError{Host: o.Name, Addr: o.Addr, For: o.Handshake, Tries: 1, Err: err}
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	var key gossh.PublicKey
	_, _, _, err = gossh.NewClientConn(nc, o.Addr, &gossh.ClientConfig{
		User: o.User, ClientVersion: "SSH-2.0-provision", Timeout: o.Handshake,
		HostKeyAlgorithms: []string{
			gossh.KeyAlgoED25519, gossh.KeyAlgoECDSA256, gossh.KeyAlgoECDSA384, gossh.KeyAlgoECDSA521,
			gossh.KeyAlgoRSASHA512, gossh.KeyAlgoRSASHA256,
		},
		HostKeyCallback: func(_ string, _ net.Addr, k gossh.PublicKey) error { key = k; return errSeen },
	})
	if key == nil {
		if ctx.Err() != nil {
			return ShownKey{}, &SilentError{Host: o.Name, Addr: o.Addr, For: o.Handshake.Round(time.Millisecond)}
		}
		return ShownKey{}, fmt.Errorf("%s: %s shows no host key: %w", o.Name, o.Addr, err)
	}
	return ShownKey{Line: strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key))), Fingerprint: gossh.FingerprintSHA256(key)}, nil
}

// shown is the fingerprint of the key that a machine shows, which may be inside a certificate.
func shown(k gossh.PublicKey) string {
	if c, ok := k.(*gossh.Certificate); ok {
		return gossh.FingerprintSHA256(c.Key) + ", signed by " + gossh.FingerprintSHA256(c.SignatureKey)
	}
	return gossh.FingerprintSHA256(k)
}
