package aws

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// keyMark is before the host key on the console.
const keyMark = "provision-host-key:"

// userData is what cloud-init reads at the first boot, in base64: who may log in, and that the machine makes its host key and
// writes its public half on its console. No secret is in it, as everything on the machine can read it for the machine's life.
func userData(spec providers.MachineSpec) (string, error) {
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
	if spec.User != "" && spec.User != "root" {
		user["sudo"], user["shell"] = "ALL=(ALL) NOPASSWD:ALL", "/bin/bash"
	}
	config := map[string]any{
		"hostname": spec.Name, "fqdn": spec.Name, "preserve_hostname": false, "disable_root": userOf(spec) != "root", "ssh_pwauth": false,
		"users": []any{user}, "ssh_deletekeys": true, "ssh_genkeytypes": []string{"ed25519"},
		"runcmd": []any{[]string{"sh", "-c", `echo "` + keyMark + ` $(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" > /dev/console`}},
	}
	text, err := json.MarshalIndent(config, "", " ") // JSON is YAML
	if err != nil {
		return "", fail(providers.Invalid, "user data: %w", err)
	}
	all := "#cloud-config\n" + string(text) + "\n"
	if len(spec.UserData) > 0 {
		all = joined(all, string(spec.UserData))
	}
	if len(all) > 16<<10 {
		return "", fail(providers.Invalid, "user data has %d bytes, AWS takes 16384", len(all))
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

// Where a host key is on a console: on our line, or among those that cloud-init writes. Other keys may be there too, such as
// those of who may log in.
var (
	ourKey    = regexp.MustCompile(`(?m)` + keyMark + ` (ssh-ed25519 [A-Za-z0-9+/]{68})\s*$`)
	theirKeys = regexp.MustCompile(`(?s)-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----`)
	theirKey  = regexp.MustCompile(`(?m)^\s*(ssh-ed25519 [A-Za-z0-9+/]{68})(?: \S*)?\s*$`)
)

// hostKeyIn returns the first host key on a console, which the API gives in base64; "" if there is none yet. What comes later,
// other programs could have written.
func hostKeyIn(output string) string {
	text, err := base64.StdEncoding.DecodeString(output)
	if err != nil {
		return ""
	}
	if m := ourKey.FindSubmatch(text); m != nil {
		return string(m[1])
	}
	if block := theirKeys.FindSubmatch(text); block != nil {
		if m := theirKey.FindSubmatch(block[1]); m != nil {
			return string(m[1])
		}
	}
	return ""
}
