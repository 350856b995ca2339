package engine

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
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
	return newSecrets(key, a)
}

func newSecrets(key []byte, a *pki.Authorities) (*secrets, error) {
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

// makeSecrets makes the cluster's secrets and saves them. The SSH key comes from the user's identity and the cluster's UID,
// if there is an identity: so it can be made again should the state be lost.
func makeSecrets(st *state.State, cluster, uid string, now time.Time) (*secrets, error) {
	seed := make([]byte, ed25519.SeedSize)
	if seeds, err := st.Derive(sshLabel(uid)); err != nil {
		return nil, err
	} else if len(seeds) > 0 {
		seed = seeds[0]
	} else {
		rand.Read(seed)
	}
	key, err := sshKey(seed, cluster)
	if err != nil {
		return nil, err
	}
	a, err := pki.NewAuthorities(cluster, now)
	if err != nil {
		return nil, err
	}
	s, err := newSecrets(key, a)
	if err != nil {
		return nil, err
	}
	return s, s.save(st)
}

// save puts the secrets into the state.
func (s *secrets) save(st *state.State) error {
	b, err := s.authority.Encode()
	if err != nil {
		return err
	}
	return st.SetSecrets(map[string][]byte{sshSecret: s.ssh, pkiSecret: b})
}

// sshKey is the private key of a seed, in OpenSSH's format.
func sshKey(seed []byte, cluster string) ([]byte, error) {
	block, err := ssh.MarshalPrivateKey(ed25519.NewKeyFromSeed(seed), "provision "+cluster)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}
