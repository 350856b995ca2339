package ssh_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/bootstrap/ssh/sshtest"
	gossh "golang.org/x/crypto/ssh"
)

// lockedKey writes an encrypted private key to a file.
func lockedKey(t *testing.T, passphrase string) (path string, public gossh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := gossh.MarshalPrivateKeyWithPassphrase(key, "test", []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "id_ed25519")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return path, signer.PublicKey()
}

// TestPassphrase shows that a passphrase is asked for once, only for the key that is accepted, and that the person may
// take longer than a handshake.
func TestPassphrase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		right, public := lockedKey(t, "open sesame")
		wrong, _ := lockedKey(t, "other")
		s := sshtest.New(sshtest.Options{Keys: []gossh.PublicKey{public}})
		var asked []string
		o := options(t, s)
		o.Keys = newKeys(t, ssh.KeyOptions{Files: []string{wrong, right}, Passphrase: func(path string) ([]byte, error) {
			asked = append(asked, path)
			time.Sleep(time.Minute)
			return []byte([]string{"a typo", "open sesame"}[len(asked)-1]), nil
		}})
		for range 3 {
			dial(t, o).Close()
		}
		if len(asked) != 2 || asked[0] != right || asked[1] != right {
			t.Errorf("asked for %v, want twice for %s", asked, right)
		}
		s.Close()
	})
}

func TestPassphraseWrong(t *testing.T) {
	path, public := lockedKey(t, "open sesame")
	s := sshtest.New(sshtest.Options{Keys: []gossh.PublicKey{public}})
	defer s.Close()
	asked := 0
	o := options(t, s)
	o.Keys = newKeys(t, ssh.KeyOptions{Files: []string{path}, Passphrase: func(string) ([]byte, error) {
		asked++
		return []byte("no"), nil
	}})
	_, err := ssh.Dial(context.Background(), o)
	if !errors.As(err, new(*ssh.AuthError)) || asked != 3 {
		t.Errorf("got %v after %d questions", err, asked)
	}
}

func TestKeysFail(t *testing.T) {
	locked, _ := lockedKey(t, "x")
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    ssh.KeyOptions
		want string
	}{
		"no such file":           {ssh.KeyOptions{Files: []string{"/no/such/file"}}, "no such file"},
		"not a key":              {ssh.KeyOptions{Files: []string{junk}}, "private key " + junk},
		"not PEM":                {ssh.KeyOptions{PEM: [][]byte{[]byte("no key")}}, "private key 1"},
		"locked, nobody to ask":  {ssh.KeyOptions{Files: []string{locked}}, "needs a passphrase"},
		"no agent at the socket": {ssh.KeyOptions{Agent: "/no/such/socket"}, "ssh-agent"},
	} {
		if _, err := ssh.NewKeys(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
