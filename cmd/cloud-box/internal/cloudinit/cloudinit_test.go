package cloudinit

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// key returns a key pair of a seed: the line of authorized_keys, and PEM.
func key(t *testing.T, seed byte) (public, private string) {
	t.Helper()
	k := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string('a'+seed), 32)))
	block, err := ssh.MarshalPrivateKey(k, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ssh.NewPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p))), string(pem.EncodeToMemory(block))
}

func TestParse(t *testing.T) {
	public, private := key(t, 0)
	text, _ := json.Marshal(map[string]any{
		"hostname": "demo-0", "fqdn": "demo-0", "preserve_hostname": false, "disable_root": true, "ssh_pwauth": false, "ssh_deletekeys": true,
		"users":    []any{map[string]any{"name": "admin", "ssh_authorized_keys": []string{public}, "lock_passwd": true, "sudo": "ALL=(ALL) NOPASSWD:ALL", "shell": "/bin/bash"}},
		"ssh_keys": map[string]string{"ed25519_private": private, "ed25519_public": public + " comment"},
		"runcmd":   []any{[]string{"sh", "-c", "echo 'x'"}, "echo y"},
	})
	ours, theirs := "#cloud-config\n"+string(text)+"\n", "#!/bin/sh\necho z\n"
	part := func(s string) string {
		return "--edge\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(s)) + "\r\n"
	}
	both := "Content-Type: multipart/mixed; boundary=\"edge\"\r\nMIME-Version: 1.0\r\n\r\n" + part(ours) + part(theirs) + "--edge--\r\n"
	for name, data := range map[string]string{"one": ours, "several": both} {
		c, err := Parse([]byte(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if c.Hostname != "demo-0" || len(c.Users) != 1 || c.Users[0].Name != "admin" || !slices.Equal(c.Users[0].AuthorizedKeys, []string{public}) || c.HostKey == nil {
			t.Errorf("%s: %+v", name, c)
		}
		if want := [][]string{{"sh", "-c", "echo 'x'"}, {"sh", "-c", "echo y"}}; !slices.EqualFunc(c.Commands, want, slices.Equal) {
			t.Errorf("%s: commands %q, want %q", name, c.Commands, want)
		}
		if len(c.Scripts) != map[string]int{"one": 0, "several": 1}[name] {
			t.Errorf("%s: scripts %q", name, c.Scripts)
		}
		if len(c.RootKeys()) != 0 {
			t.Errorf("%s: root lets in %q", name, c.RootKeys())
		}
	}
}

func TestWhatIsNotKnownIsRefused(t *testing.T) {
	public, private := key(t, 0)
	other, _ := key(t, 1)
	keys, _ := json.Marshal(map[string]any{"ssh_keys": map[string]string{"ed25519_private": private, "ed25519_public": other}})
	for data, want := range map[string]string{
		"#cloud-config\npackages: [nginx]\n":                                                 "packages",
		"#cloud-config\nusers: [{name: a, groups: x}]\n":                                     "groups",
		"#cloud-config\nusers: [default]\n":                                                  "default",
		"#cloud-config\nusers: [{name: 'a b'}]\n":                                            "small letters",
		"#cloud-config\nusers: [{name: a, ssh_authorized_keys: [x]}]\n":                      "authorized_keys",
		"#cloud-config\ndisable_root: true\nusers: [{name: root}]\n":                         "disable_root",
		"#cloud-config\nssh_pwauth: true\n":                                                  "ssh_pwauth",
		"#cloud-config\nssh_genkeytypes: [rsa]\n":                                            "rsa",
		"#cloud-config\nruncmd: [{a: b}]\n":                                                  "runcmd",
		"#cloud-config\n" + string(keys):                                                     "not that of the private one",
		"#include https://example.org\n":                                                     "#include",
		"#cloud-config\nusers: [{name: a, lock_passwd: false}]\n":                            "lock_passwd",
		"#cloud-config\nhostname: a\nfqdn: b\n":                                              "fqdn",
		"#cloud-config\nusers: [{name: a, ssh_authorized_keys: [\"" + public + "\\nx\"]}]\n": "authorized_keys",
	} {
		if _, err := Parse([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something of %q", data, err, want)
		}
	}
	if c, err := Parse(nil); err != nil || c.Hostname != "" {
		t.Errorf("no user data: %+v, %v", c, err)
	}
}

// TestScriptRuns runs what a script does with commands: the words arrive as they are, and what fails is told.
func TestScriptRuns(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	c := &Config{Commands: [][]string{{"sh", "-c", `printf '%s' "$1" >> ` + out, "sh", `it's "$HOME" $(id)`}, {"sh", "-c", "exit 3"}, {"sh", "-c", "echo end >> " + out}}}
	script := c.Script()
	from := strings.Index(script, "'sh'")
	to := strings.Index(script, "echo $code")
	b, err := exec.Command("sh", "-c", "code=0\n"+script[from:to]+"echo $code").CombinedOutput()
	if err != nil || string(b) != "3\n" {
		t.Errorf("%v, %q", err, b)
	}
	if got, _ := os.ReadFile(out); string(got) != `it's "$HOME" $(id)`+"end\n" {
		t.Errorf("the words arrived as %q", got)
	}
	if out, err := exec.Command("sh", "-n", "-c", script).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
