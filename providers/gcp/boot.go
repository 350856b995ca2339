package gcp

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"

	"github.com/provisionhq/provision/providers"
)

// keyMark is before the host key on the console.
const keyMark = "provision-host-key:"

// Metadata of an instance that is ours beyond what Google's guest agent reads.
const (
	recordItem  = "provision"          // its network, image and user, as JSON
	hostKeyItem = "provision-host-key" // its SSH host key, once that is known
)

// startup is the script that Google's guest agent runs as root at each boot, on Debian and Ubuntu alike: it lets the user in, and
// writes the public half of the machine's SSH host key on its console. Debian's images have no cloud-init. No secret is in it, as
// everything on the machine can read it.
const startup = `#!/bin/sh
# Written by provision. Runs at each boot.
user='%s'
home=/root
if [ "$user" != root ]; then
  id "$user" >/dev/null 2>&1 || useradd -m -s /bin/bash "$user"
  home=$(getent passwd "$user" | cut -d: -f6)
  echo "$user ALL=(ALL) NOPASSWD:ALL" > /etc/sudoers.d/provision && chmod 0440 /etc/sudoers.d/provision
else
  mkdir -p /etc/ssh/sshd_config.d
  echo 'PermitRootLogin prohibit-password' > /etc/ssh/sshd_config.d/10-provision.conf
  systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null || true
fi
install -d -m 0700 -o "$user" -g "$(id -gn "$user")" "$home/.ssh"
touch "$home/.ssh/authorized_keys"
base64 -d <<'KEYS' | while IFS= read -r key; do
%s
KEYS
  grep -qxF "$key" "$home/.ssh/authorized_keys" || printf '%%s\n' "$key" >> "$home/.ssh/authorized_keys"
done
chown "$user:" "$home/.ssh/authorized_keys" && chmod 0600 "$home/.ssh/authorized_keys"
hostname '%s'
[ -f /etc/ssh/ssh_host_ed25519_key.pub ] || ssh-keygen -A
echo "` + keyMark + ` $(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" > /dev/console
data=/var/lib/provision-user-data
if [ ! -f "$data.done" ]; then
  base64 -d > "$data" <<'DATA'
%s
DATA
  if [ -s "$data" ]; then chmod 0700 "$data" && "$data"; fi
  touch "$data.done"
fi
`

// bootData is the metadata that an instance starts with.
func bootData(spec providers.MachineSpec, rec map[string]string) (*computepb.Metadata, error) {
	if !regexp.MustCompile(`^[a-z0-9_-]*$`).MatchString(spec.User) {
		return nil, fail(providers.Invalid, "user %q: it can have small letters, digits, _ and -", spec.User)
	}
	var keys strings.Builder
	for _, k := range spec.AuthorizedKeys {
		k = strings.TrimSpace(k)
		if k == "" || strings.ContainsAny(k, "\r\n") || len(strings.Fields(k)) < 2 {
			return nil, fail(providers.Invalid, "authorized key %q is no line of OpenSSH's authorized_keys format", k)
		}
		keys.WriteString(k + "\n")
	}
	script, cloud := spec.UserData, ""
	if strings.HasPrefix(string(spec.UserData), "#cloud-config") {
		script, cloud = nil, string(spec.UserData)
	} else if len(script) > 0 && !strings.HasPrefix(string(script), "#!") {
		return nil, fail(providers.Invalid, "user data begins neither with #! nor with #cloud-config")
	}
	text := fmt.Sprintf(startup, userOf(spec), base64.StdEncoding.EncodeToString([]byte(keys.String())), spec.Name, base64.StdEncoding.EncodeToString(script))
	items := []*computepb.Items{
		{Key: ptr(recordItem), Value: describe(rec)},
		{Key: ptr("startup-script"), Value: &text},
		{Key: ptr("block-project-ssh-keys"), Value: ptr("TRUE")}, // whoever may log in is named in the file alone
		{Key: ptr("enable-oslogin"), Value: ptr("FALSE")},
		{Key: ptr("serial-port-enable"), Value: ptr("FALSE")}, // the console is read by the API, and nobody logs in there
	}
	if cloud != "" {
		items = append(items, &computepb.Items{Key: ptr("user-data"), Value: &cloud})
	}
	for _, i := range items {
		if len(i.GetValue()) > 256<<10 {
			return nil, fail(providers.Invalid, "user data: Google takes 262144 bytes of metadata, %s has %d", i.GetKey(), len(i.GetValue()))
		}
	}
	return &computepb.Metadata{Items: items}, nil
}

func userOf(spec providers.MachineSpec) string {
	if spec.User == "" {
		return "root"
	}
	return spec.User
}

// item is an instance's metadata of that key.
func item(i *computepb.Instance, key string) string {
	for _, m := range i.GetMetadata().GetItems() {
		if m.GetKey() == key {
			return m.GetValue()
		}
	}
	return ""
}

// record is what the instance was made for.
func record(i *computepb.Instance) map[string]string { return described(item(i, recordItem)) }

var ourKey = regexp.MustCompile(`(?m)` + keyMark + ` (ssh-ed25519 [A-Za-z0-9+/]{68})\s*$`)

// hostKeyIn returns the first host key on a console; "" if there is none yet. What comes later, other programs could have written.
func hostKeyIn(console string) string {
	if m := ourKey.FindStringSubmatch(console); m != nil {
		return m[1]
	}
	return ""
}
