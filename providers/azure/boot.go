package azure

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/provisionhq/provision/providers"
)

// A hostKey is the SSH host key that a machine is given.
type hostKey struct {
	public  string // in authorized_keys format
	private string // PEM
}

// newHostKey makes one.
func newHostKey() (k hostKey, err error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return k, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return k, err
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		return k, err
	}
	return hostKey{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line))), string(pem.EncodeToMemory(block))}, nil
}

// customData is what cloud-init reads at the first boot, in base64: who may log in, and the machine's SSH host key. Azure gives
// custom data to nobody but the machine, where only root can read it, and that has the key anyway: see docs/adr.
func customData(spec providers.MachineSpec, key hostKey) (string, error) {
	if regexp.MustCompile(`[^a-z0-9_-]`).MatchString(spec.User) {
		return "", fail(providers.Invalid, "user %q: it can have small letters, digits, _ and -", spec.User)
	}
	keys := []string{}
	for _, k := range spec.AuthorizedKeys {
		k = strings.TrimSpace(k)
		if k == "" || strings.ContainsAny(k, "\r\n") || len(strings.Fields(k)) < 2 {
			return "", fail(providers.Invalid, "authorized key %q is no line of OpenSSH's authorized_keys format", k)
		}
		keys = append(keys, k)
	}
	user := map[string]any{"name": userOf(spec), "ssh_authorized_keys": keys, "lock_passwd": true}
	if userOf(spec) != "root" {
		user["sudo"], user["shell"] = "ALL=(ALL) NOPASSWD:ALL", "/bin/bash"
	}
	config := map[string]any{
		"hostname": spec.Name, "fqdn": spec.Name, "preserve_hostname": false, "disable_root": userOf(spec) != "root", "ssh_pwauth": false,
		"users": []any{user}, "ssh_deletekeys": true,
		"ssh_keys": map[string]string{"ed25519_private": key.private, "ed25519_public": key.public},
	}
	text, err := json.MarshalIndent(config, "", " ") // JSON is YAML
	if err != nil {
		return "", fail(providers.Invalid, "user data: %w", err)
	}
	all := "#cloud-config\n" + string(text) + "\n"
	if len(spec.UserData) > 0 {
		all = joined(all, string(spec.UserData))
	}
	if len(all) > 65535 {
		return "", fail(providers.Invalid, "user data has %d bytes, Azure takes 65535", len(all))
	}
	return base64.StdEncoding.EncodeToString([]byte(all)), nil
}

// joined is our part and the spec's, which cloud-init tells apart by their beginnings.
func joined(ours, theirs string) string {
	const edge = "==provision-user-data=="
	part := func(text string) string {
		return fmt.Sprintf("--%s\r\nContent-Type: text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", edge, base64.StdEncoding.EncodeToString([]byte(text)))
	}
	return "Content-Type: multipart/mixed; boundary=\"" + edge + "\"\r\nMIME-Version: 1.0\r\n\r\n" + part(ours) + part(theirs) + "--" + edge + "--\r\n"
}

// userOf is who may log in.
func userOf(spec providers.MachineSpec) string {
	if spec.User == "" {
		return "root"
	}
	return spec.User
}
