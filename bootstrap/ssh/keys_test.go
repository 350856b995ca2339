package ssh_test

import (
	"context"
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

// Private keys for tests only. The passphrase of the first is "open sesame".
const (
	locked = "testdata/locked"
	other  = "testdata/other"
)

// publicKey reads the public half of a key.
func publicKey(t *testing.T, path string) gossh.PublicKey {
	t.Helper()
	b, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	k, _, _, _, err := gossh.ParseAuthorizedKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestPassphrase shows that a passphrase is asked for once, only for the key that is accepted, and that the person may
// take longer than a handshake.
func TestPassphrase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sshtest.New(sshtest.Options{Keys: []gossh.PublicKey{publicKey(t, locked)}})
		var asked []string
		o := options(t, s)
		o.Keys = newKeys(t, ssh.KeyOptions{Files: []string{other, locked}, Passphrase: func(path string) ([]byte, error) {
			asked = append(asked, path)
			time.Sleep(time.Minute)
			return []byte([]string{"a typo", "open sesame"}[len(asked)-1]), nil
		}})
		for range 3 {
			dial(t, o).Close()
		}
		if len(asked) != 2 || asked[0] != locked || asked[1] != locked {
			t.Errorf("asked for %v, want twice for %s", asked, locked)
		}
		s.Close()
	})
}

func TestPassphraseWrong(t *testing.T) {
	s := sshtest.New(sshtest.Options{Keys: []gossh.PublicKey{publicKey(t, locked)}})
	defer s.Close()
	asked := 0
	o := options(t, s)
	o.Keys = newKeys(t, ssh.KeyOptions{Files: []string{locked}, Passphrase: func(string) ([]byte, error) {
		asked++
		return []byte("no"), nil
	}})
	_, err := ssh.Dial(context.Background(), o)
	if !errors.As(err, new(*ssh.AuthError)) || asked != 3 {
		t.Errorf("got %v after %d questions", err, asked)
	}
}

func TestKeysFail(t *testing.T) {
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
