package engine

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	machine "github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
	"github.com/provisionhq/provision/controlplane/pki"
	"golang.org/x/crypto/ssh"
)

// Names of the secrets that the state keeps, encrypted.
const (
	sshSecret = "ssh"
	pkiSecret = "pki"
)

// secrets make their holder the cluster's owner. They are made once, before the first machine, and kept in the state.
type secrets struct {
	ssh       []byte // private key, PEM
	public    string // its authorized_keys line
	authority *pki.Authorities
	keys      *machine.Keys // to log in with
}

// loadSecrets reads the cluster's secrets; nil if it has none yet.
func loadSecrets(s *state.State) (*secrets, error) {
	key, ok := s.Secret(sshSecret)
	if !ok {
		return nil, nil
	}
	b, ok := s.Secret(pkiSecret)
	if !ok {
		return nil, fmt.Errorf("the state has an SSH key and no certificate authorities")
	}
	a, err := pki.Decode(b)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("the state's SSH key: %w", err)
	}
	keys, err := machine.NewKeys(machine.KeyOptions{PEM: [][]byte{key}})
	if err != nil {
		return nil, err
	}
	return &secrets{key, authorizedKey(signer.PublicKey()), a, keys}, nil
}

// makeSecrets makes the cluster's secrets and saves them.
func makeSecrets(s *state.State, cluster string) (*secrets, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "provision "+cluster)
	if err != nil {
		return nil, err
	}
	a, err := pki.NewAuthorities(cluster, time.Now())
	if err != nil {
		return nil, err
	}
	enc, err := a.Encode()
	if err != nil {
		return nil, err
	}
	if err := s.SetSecrets(map[string][]byte{sshSecret: pem.EncodeToMemory(block), pkiSecret: enc}); err != nil {
		return nil, err
	}
	return loadSecrets(s)
}

func authorizedKey(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}
