package ssh

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// KeyOptions says which keys a person has.
type KeyOptions struct {
	PEM        [][]byte                          // private keys, not encrypted
	Files      []string                          // paths of private keys
	Agent      string                            // path of an ssh-agent's socket, as in $SSH_AUTH_SOCK
	Passphrase func(path string) ([]byte, error) // asks for the passphrase of a file, only when a machine accepts its key; may be nil
}

// Keys are what a person proves with who they are. They may be shared by any number of hosts: a passphrase is asked for
// once. Offered first are those of PEM, then of files, then of the agent.
type Keys struct {
	signers []signer
	agent   agent.ExtendedAgent
	conn    net.Conn
}

type signer struct {
	gossh.Signer
	origin string
}

// NewKeys reads the keys and connects to the agent. Close ends that connection.
func NewKeys(o KeyOptions) (*Keys, error) {
	k := new(Keys)
	for i, b := range o.PEM {
		s, err := gossh.ParsePrivateKey(b)
		if err != nil {
			return nil, fmt.Errorf("private key %d: %w", i+1, err)
		}
		k.signers = append(k.signers, signer{s, "the cluster's key"})
	}
	for _, path := range o.Files {
		s, err := fileSigner(path, o.Passphrase)
		if err != nil {
			return nil, err
		}
		k.signers = append(k.signers, signer{s, path})
	}
	if o.Agent != "" {
		c, err := net.Dial("unix", o.Agent)
		if err != nil {
			return nil, fmt.Errorf("ssh-agent: %w", err)
		}
		k.conn, k.agent = c, agent.NewClient(c)
	}
	return k, nil
}

// Close ends the connection to the agent.
func (k *Keys) Close() error {
	if k.conn == nil {
		return nil
	}
	return k.conn.Close()
}

// all returns every key that can be offered.
func (k *Keys) all() ([]signer, error) {
	all := k.signers[:len(k.signers):len(k.signers)]
	if k.agent == nil {
		return all, nil
	}
	ss, err := k.agent.Signers()
	if err != nil {
		return all, fmt.Errorf("ssh-agent: %w", err)
	}
	for _, s := range ss {
		all = append(all, signer{s, "ssh-agent"})
	}
	return all, nil
}

// fileSigner reads a private key. If it is encrypted, the passphrase is asked for when it is first used.
func fileSigner(path string, ask func(string) ([]byte, error)) (gossh.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := gossh.ParsePrivateKey(b)
	var missing *gossh.PassphraseMissingError
	if !errors.As(err, &missing) {
		if err != nil {
			return nil, fmt.Errorf("private key %s: %w", path, err)
		}
		return s, nil
	}
	if ask == nil {
		return nil, fmt.Errorf("private key %s needs a passphrase", path)
	}
	l := &lockedKey{path: path, public: missing.PublicKey}
	l.open = sync.OnceValues(func() (gossh.Signer, error) { return unlock(path, b, ask) })
	if l.public != nil {
		return l, nil
	}
	return l.open() // an old format, which does not say which key it is
}

// A lockedKey is an encrypted private key whose public half is known.
type lockedKey struct {
	path   string
	public gossh.PublicKey
	open   func() (gossh.Signer, error)
}

func (l *lockedKey) PublicKey() gossh.PublicKey { return l.public }

func (l *lockedKey) Sign(rand io.Reader, data []byte) (*gossh.Signature, error) {
	s, err := l.open()
	if err != nil {
		return nil, err
	}
	return s.Sign(rand, data)
}

func (l *lockedKey) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*gossh.Signature, error) {
	s, err := l.open()
	if err != nil {
		return nil, err
	}
	as, ok := s.(gossh.AlgorithmSigner)
	if !ok {
		return nil, fmt.Errorf("private key %s cannot sign by %s", l.path, algorithm)
	}
	return as.SignWithAlgorithm(rand, data, algorithm)
}

// tries is how often a wrong passphrase may be given.
const tries = 3

func unlock(path string, b []byte, ask func(string) ([]byte, error)) (gossh.Signer, error) {
	for try := 1; ; try++ {
		pass, err := ask(path)
		if err != nil {
			return nil, fmt.Errorf("passphrase of %s: %w", path, err)
		}
		s, err := gossh.ParsePrivateKeyWithPassphrase(b, pass)
		clear(pass)
		if err == nil || try == tries {
			return s, err
		}
	}
}
