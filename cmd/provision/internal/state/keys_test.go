package state

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"
)

// sshKey makes an SSH key in a file and returns its public line.
func sshKey(t *testing.T, path, passphrase string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	must(t, err)
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	key, err := ssh.NewPublicKey(public)
	must(t, err)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// TestRecipients: each of several people, with keys of different kinds, opens what is for all of them, and nobody else does.
func TestRecipients(t *testing.T) {
	o := options(t)
	t.Setenv("HOME", t.TempDir())
	dir := t.TempDir()
	classic, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "classic"), []byte("# a comment\n"+classic.String()+"\n"), 0o600))
	hybrid := Options{Identity: filepath.Join(dir, "hybrid")}
	usual := sshKey(t, filepath.Join(os.Getenv("HOME"), ".ssh", "id_ed25519"), "")
	o.Recipients = []string{publicKey(t, o), publicKey(t, hybrid), classic.Recipient().String(), sshKey(t, filepath.Join(dir, "ssh"), ""), sshKey(t, filepath.Join(dir, "locked"), "open"), usual + " a comment"}
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("b")}))
	must(t, s.Close())
	o.Recipients = nil // as one who has not got the file at hand
	for _, name := range []string{o.Identity, "classic", "hybrid", "ssh", "locked", "none of these"} {
		p := o
		p.Identity = filepath.Join(dir, name)
		if name == o.Identity {
			p.Identity = name
		}
		p.Ask = func(question string) (string, error) {
			if !strings.Contains(question, "locked") {
				t.Errorf("asked %q", question)
			}
			return "open", nil
		}
		s := mustOpen(t, p)
		if b, _ := s.Secret("a"); string(b) != "b" || len(s.Recipients()) != 6 {
			t.Errorf("%s: the secret is %q, for %v", name, b, s.Recipients())
		}
		if name != "none of these" { // who writes without the list leaves it as it is
			must(t, s.SetSecrets(map[string][]byte{"c": []byte(name)}))
		}
		must(t, s.Close())
	}
	must(t, os.Remove(filepath.Join(os.Getenv("HOME"), ".ssh", "id_ed25519")))
	o.Identity = filepath.Join(dir, "none of these")
	if e := openError[*IdentityError](t, o); !e.Missing || len(e.Recipients) != 6 {
		t.Errorf("a stranger: %+v", e)
	}
	o.Identity = filepath.Join(dir, "locked")
	o.Ask = func(string) (string, error) { return "wrong", nil }
	if e := openError[*PassphraseError](t, o); e.Key == "" || !e.Wrong {
		t.Errorf("a wrong one: %+v", e)
	}
	o.Ask = nil
	if e := openError[*PassphraseError](t, o); e.Key == "" {
		t.Errorf("nobody to ask: %+v", e)
	}
}

// TestLockingOneselfOut: secrets are not written for others only.
func TestLockingOneselfOut(t *testing.T) {
	o := options(t)
	t.Setenv("HOME", t.TempDir())
	mine := publicKey(t, o)
	other := publicKey(t, Options{Identity: filepath.Join(t.TempDir(), "other")})
	o.Recipients = []string{other}
	s := mustOpen(t, o)
	var e *RecipientsError
	if err := s.SetSecrets(map[string][]byte{"a": {1}}); !errors.As(err, &e) || e.Have[0] != mine {
		t.Errorf("SetSecrets for others only = %v", err)
	}
	if _, ok := s.Secret("a"); ok || s.Exists() {
		t.Error("and yet it is there")
	}
	for _, bad := range []string{"", "age1", "age1xyz", "ssh-ed25519 AAAA", "ssh-dss AAAA", "github.com/alice", "AGE-SECRET-KEY-PQ-1SECRET", "-----BEGIN OPENSSH PRIVATE KEY-----SECRET"} {
		o := options(t)
		o.Recipients = []string{publicKey(t, o), bad}
		var k *KeyError
		if err := mustOpen(t, o).SetSecrets(map[string][]byte{"a": {1}}); !errors.As(err, &k) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("the recipient %q: %v", bad, err)
		}
	}
}

// TestRekey: whoever is no longer named opens nothing that is there, and old files are gone.
func TestRekey(t *testing.T) {
	for _, kind := range []string{"folder", "bucket"} {
		o := options(t)
		if kind == "bucket" {
			o, _ = inBucket(t)
		}
		t.Setenv("HOME", t.TempDir())
		friend := o
		friend.Identity = filepath.Join(t.TempDir(), "friend")
		o.Recipients = []string{publicKey(t, o), publicKey(t, friend)}
		s := mustOpen(t, o)
		must(t, s.SetSecrets(map[string][]byte{"a": []byte("b")}))
		must(t, s.Close())
		must(t, mustOpen(t, friend).Close())
		o.Recipients = o.Recipients[:1]
		s = mustOpen(t, o)
		must(t, s.Rekey())
		must(t, s.Close())
		if e := openError[*IdentityError](t, friend); len(e.Recipients) != 1 {
			t.Errorf("%s: who is no longer named: %+v", kind, e)
		}
		if kind == "folder" {
			fileOf(t, o, "secrets") // the only one
		}

		o.Recipients = nil
		must(t, RenewIdentity(o))
		s = mustOpen(t, o)
		must(t, s.Rekey())
		must(t, s.Close())
		text, err := os.ReadFile(o.Identity)
		must(t, err)
		first, _, _ := strings.Cut(string(text[bytes.Index(text, []byte("AGE-SECRET")):]), "\n")
		must(t, os.WriteFile(o.Identity, []byte(first+"\n"), 0o600))
		if b, _ := mustOpen(t, o).Secret("a"); string(b) != "b" {
			t.Errorf("%s: with the new key alone: %q", kind, b)
		}
	}
}

// TestPassphrase: it is asked for twice when it is new, once later, and no other opens anything.
func TestPassphrase(t *testing.T) {
	o := options(t)
	o.workFactor = 4
	o.UsePassphrase = true
	var asked []bool
	phrase := "correct horse"
	o.Passphrase = func(confirm bool) (string, error) {
		asked = append(asked, confirm)
		return phrase, nil
	}
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("b")}))
	must(t, s.SetSecrets(map[string][]byte{"c": []byte("d")}))
	if keys, err := s.Derive("x"); err != nil || len(keys) != 0 {
		t.Errorf("Derive = %v, %v; want none", keys, err)
	}
	must(t, s.Close())
	o.UsePassphrase = false // as one who has not got the file at hand
	s = mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"e": []byte("f")}))
	if b, _ := s.Secret("a"); string(b) != "b" || fmt.Sprint(asked) != "[true false]" || s.Recipients()[0] != "a passphrase" {
		t.Errorf("the secret is %q, for %v, asked %v", b, s.Recipients(), asked)
	}
	must(t, s.Close())
	if _, err := os.Stat(o.Identity); err == nil {
		t.Error("an identity was made that nobody needs")
	}
	phrase = "wrong"
	if e := openError[*PassphraseError](t, o); !e.Wrong || strings.Contains(e.Error(), phrase) {
		t.Errorf("a wrong one: %v", e)
	}
	phrase = ""
	if e := openError[*PassphraseError](t, o); !e.Empty {
		t.Errorf("an empty one: %v", e)
	}
	o.Passphrase = nil
	if e := openError[*PassphraseError](t, o); e.Wrong || e.Empty {
		t.Errorf("nobody to ask: %v", e)
	}
}

// kms is a key-management program: it keeps keys by number, and knows for which cluster.
const kms = `#!/bin/sh
cd "${0%/*}" || exit 1
test -n "$PROVISION_UID" || exit 1
case $2 in
wrap) n=$(($(cat count 2>/dev/null || echo 0) + 1)); echo $n >count; cat >key.$n; echo "$PROVISION_CLUSTER" >for.$n; echo "ref-$n" ;;
unwrap) read ref; n=${ref#ref-}; test "$(cat for.$n)" = "$PROVISION_CLUSTER" || { echo "permission denied for $1" >&2; exit 3; }; cat key.$n ;;
esac
`

func TestKeyCommand(t *testing.T) {
	o := options(t)
	program := filepath.Join(t.TempDir(), "kms")
	must(t, os.WriteFile(program, []byte(kms), 0o700))
	o.KeyCommand = []string{program, "our-key"}
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("b")}))
	must(t, s.Close())
	s = mustOpen(t, o)
	if b, _ := s.Secret("a"); string(b) != "b" || fmt.Sprint(s.Recipients()) != "[the program "+program+"]" {
		t.Errorf("the secret is %q, for %v", b, s.Recipients())
	}
	must(t, s.Close())
	if _, err := os.Stat(o.Identity); err == nil {
		t.Error("an identity was made that nobody needs")
	}
	without := o
	without.KeyCommand = nil
	openError[*IdentityError](t, without)
	for text, want := range map[string]string{
		"#!/bin/sh\necho no such key >&2; exit 1\n": "exit status 1: no such key",
		"#!/bin/sh\ncat >&2; exit 1\n":              "exit status 1",
		"#!/bin/sh\necho nonsense\n":                "not the key that was wrapped",
		"":                                          "",
	} {
		must(t, os.WriteFile(program, []byte(text), 0o700))
		if text == "" {
			must(t, os.Remove(program))
			want = "there is no such program"
		}
		if e := openError[*KeyError](t, o); !strings.Contains(e.Error(), want) || strings.Contains(e.Error(), "ref-") {
			t.Errorf("%q: %v; want %q", text, e, want)
		}
	}
	must(t, os.WriteFile(program, []byte("#!/bin/sh\ntest $2 = wrap || exit 1; tr a-z b-za\n"), 0o700))
	o.Folder += "2"
	var k *KeyError
	if err := mustOpen(t, o).SetSecrets(map[string][]byte{"a": {1}}); !errors.As(err, &k) {
		t.Errorf("a program that does not unwrap what it wraps: %v", err)
	}
}

// TestPlugin: a key of age's plug-ins, whose private half stays in the plug-in.
func TestPlugin(t *testing.T) {
	o := options(t)
	dir := t.TempDir()
	exe, err := os.Executable()
	must(t, err)
	must(t, os.Symlink(exe, filepath.Join(dir, "age-plugin-statetest")))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	must(t, os.MkdirAll(filepath.Dir(o.Identity), 0o700))
	must(t, os.WriteFile(o.Identity, []byte(plugin.EncodeIdentity("statetest", []byte("x"))+"\n"), 0o600))
	o.Recipients = []string{plugin.EncodeRecipient("statetest", []byte("x"))}
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("b")}))
	if keys, err := s.Derive("x"); err != nil || len(keys) != 0 {
		t.Errorf("Derive = %v, %v; want none: the key does not leave the plug-in", keys, err)
	}
	must(t, s.Close())
	if b, _ := mustOpen(t, o).Secret("a"); string(b) != "b" {
		t.Errorf("the secret is %q", b)
	}
	t.Setenv("PATH", t.TempDir())
	o.Folder += "2"
	var k *KeyError
	if err := mustOpen(t, o).SetSecrets(map[string][]byte{"a": {1}}); !errors.As(err, &k) {
		t.Errorf("without the plug-in: %v (%T)", err, err)
	}
}

// agePlugin is the plug-in: it wraps a key by turning its bits over.
func agePlugin() int {
	p, err := plugin.New("statetest")
	if err != nil {
		return 1
	}
	p.HandleRecipient(func([]byte) (age.Recipient, error) { return turned{}, nil })
	p.HandleIdentity(func([]byte) (age.Identity, error) { return turned{}, nil })
	p.RegisterFlags(nil)
	return p.Main()
}

type turned struct{}

func (turned) turn(b []byte) []byte {
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= 0xff
	}
	return out
}

func (x turned) Wrap(key []byte) ([]*age.Stanza, error) {
	return []*age.Stanza{{Type: "turned", Body: x.turn(key)}}, nil
}

func (x turned) Unwrap(all []*age.Stanza) ([]byte, error) {
	for _, s := range all {
		if s.Type == "turned" {
			return x.turn(s.Body), nil
		}
	}
	return nil, age.ErrIncorrectIdentity
}
