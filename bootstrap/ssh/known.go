package ssh

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"

	gossh "golang.org/x/crypto/ssh"
)

// CertAuthority begins a line of Options.HostKeys whose key is not a machine's own but signs machines' keys: the certificate
// that a machine shows must be signed by it, be valid now, and name the host of Options.Addr. The line may also be one of
// known_hosts, which begins with @cert-authority and a pattern of host names; the pattern is not looked at.
const CertAuthority = "cert-authority "

// hostKeys are the keys by which a machine is known: its own, and those that sign its own.
type hostKeys struct {
	own, authorities []gossh.PublicKey
}

func parseHostKeys(lines []string) (hostKeys, error) {
	var ks hostKeys
	for _, l := range lines {
		k, authority, err := parseHostKey(l)
		if err != nil {
			return hostKeys{}, fmt.Errorf("host key %q: %w", l, err)
		}
		if authority {
			ks.authorities = append(ks.authorities, k)
		} else {
			ks.own = append(ks.own, k)
		}
	}
	if len(ks.own)+len(ks.authorities) == 0 {
		return hostKeys{}, fmt.Errorf("no host key is known")
	}
	return ks, nil
}

// CheckHostKey returns why a line of Options.HostKeys cannot be one.
func CheckHostKey(line string) error {
	_, _, err := parseHostKey(line)
	return err
}

func parseHostKey(line string) (k gossh.PublicKey, authority bool, err error) {
	if strings.HasPrefix(strings.TrimSpace(line), "@") {
		marker, _, k, _, _, err := gossh.ParseKnownHosts([]byte(line))
		if err == nil && marker != "cert-authority" {
			err = fmt.Errorf("the mark @%s says that it is not to be trusted", marker)
		}
		return k, true, err
	}
	k, _, options, _, err := gossh.ParseAuthorizedKey([]byte(line))
	return k, slices.Contains(options, strings.TrimSpace(CertAuthority)), err
}

// algorithms are those by which the machine can prove that it has one of the keys.
func (ks hostKeys) algorithms() []string {
	var as []string
	for _, k := range ks.own {
		if k.Type() == gossh.KeyAlgoRSA {
			as = append(as, gossh.KeyAlgoRSASHA512, gossh.KeyAlgoRSASHA256)
			continue
		}
		as = append(as, k.Type())
	}
	if len(ks.authorities) > 0 {
		as = append(as, gossh.CertAlgoED25519v01, gossh.CertAlgoECDSA256v01, gossh.CertAlgoECDSA384v01,
			gossh.CertAlgoECDSA521v01, gossh.CertAlgoRSASHA512v01, gossh.CertAlgoRSASHA256v01)
	}
	slices.Sort(as)
	return slices.Compact(as)
}

func (ks hostKeys) fingerprints() []string {
	var fs []string
	for _, k := range ks.own {
		fs = append(fs, gossh.FingerprintSHA256(k))
	}
	for _, k := range ks.authorities {
		fs = append(fs, "one signed by "+gossh.FingerprintSHA256(k))
	}
	return fs
}

// trusts returns why the key that the machine at addr shows is not one by which it is known.
func (ks hostKeys) trusts(addr string, remote net.Addr, k gossh.PublicKey) error {
	if has(ks.own, k) {
		return nil
	}
	cert, ok := k.(*gossh.Certificate)
	if !ok {
		return fmt.Errorf("host key %s is not known", gossh.FingerprintSHA256(k))
	}
	if has(ks.own, cert.Key) { // it is known by itself, whoever signed it
		return nil
	}
	checker := gossh.CertChecker{IsHostAuthority: func(a gossh.PublicKey, _ string) bool { return has(ks.authorities, a) }}
	return checker.CheckHostKey(addr, remote, k)
}

func has(all []gossh.PublicKey, k gossh.PublicKey) bool {
	return slices.ContainsFunc(all, func(known gossh.PublicKey) bool { return bytes.Equal(known.Marshal(), k.Marshal()) })
}
