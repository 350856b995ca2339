package state

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"
)

// identity is the user's own key pairs: all of them open files, the first is the one that files are encrypted to if nobody
// else is named. So a key is changed by putting a new one in front.
type identity struct {
	identities []age.Identity
	public     []string // of each, as text; empty of a plug-in's
}

// first is whom files are encrypted to by default.
func (id identity) first() string {
	if len(id.public) == 0 {
		return ""
	}
	return id.public[0]
}

// recipients are the public keys that are known.
func (id identity) recipients() []string {
	var all []string
	for _, p := range id.public {
		if p != "" {
			all = append(all, p)
		}
	}
	return all
}

// Derive returns 32 bytes made of the label and each of the user's private keys, that of the first key first: whoever has
// the same key gets the same bytes, wherever and whenever, and nobody else does. It is for keys that have to be found again
// when the state is lost. It makes the identity file if there is none, unless the state is read-only or its secrets are for
// others: then it returns none, as for keys that do not leave their device.
func (s *State) Derive(label string) ([][]byte, error) {
	id, err := readIdentity(s.o, s.o.Identity)
	if errors.Is(err, fs.ErrNotExist) {
		if s.o.ReadOnly || !s.o.own() {
			return nil, nil
		}
		id, err = makeIdentity(s.o)
	}
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, one := range id.identities {
		text := ""
		switch one := one.(type) {
		case *age.HybridIdentity:
			text = one.String()
		case *age.X25519Identity:
			text = one.String()
		default:
			continue
		}
		key, err := hkdf.Key(sha256.New, []byte(text), []byte(label), "provision derived key", 32)
		if err != nil {
			return nil, err
		}
		all = append(all, key)
	}
	return all, nil
}

// own says whether secrets are for the user's own identity, unless the state is for others already.
func (o Options) own() bool {
	return !o.UsePassphrase && len(o.Recipients) == 0 && len(o.KeyCommand) == 0
}

// identityName is the name of the user's own identity file, unless another is named.
const identityName = "identity.age"

// readIdentity reads an identity file, in the format of age-keygen, or an SSH key. The error is fs.ErrNotExist if there is
// none.
func readIdentity(o Options, path string) (id identity, err error) {
	b, err := readFile(path)
	if err != nil {
		return id, err
	}
	if err := checkReplaceable(filepath.Dir(path)); err != nil {
		return id, err
	}
	if filepath.Base(path) == identityName { // the folder is ours
		sweepOld(filepath.Dir(path), temporary, ".identity-*")
	}
	if bytes.HasPrefix(b, []byte("-----BEGIN")) {
		return sshIdentity(o, path, b)
	}
	for i, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		one, public, err := parseIdentity(o, line)
		if err != nil {
			return id, &CorruptError{Path: path, Err: fmt.Errorf("line %d of it holds no age identity that can be read", i+1)} // err may quote a key
		}
		id.identities, id.public = append(id.identities, one), append(id.public, public)
	}
	if len(id.identities) == 0 {
		return id, &CorruptError{Path: path, Err: errors.New("it holds no age identity")}
	}
	return id, nil
}

func parseIdentity(o Options, line string) (age.Identity, string, error) {
	if strings.HasPrefix(line, "AGE-PLUGIN-") {
		p, err := plugin.NewIdentity(line, o.pluginUI())
		return p, "", err
	}
	ids, err := age.ParseIdentities(strings.NewReader(line))
	if err != nil {
		return nil, "", err
	}
	switch one := ids[0].(type) {
	case *age.HybridIdentity:
		return one, one.Recipient().String(), nil
	case *age.X25519Identity:
		return one, one.Recipient().String(), nil
	}
	return nil, "", errors.New("of a kind that provision does not use")
}

// sshIdentity reads an SSH key, for whose passphrase it asks only if that key can open a file.
func sshIdentity(o Options, path string, b []byte) (identity, error) {
	key, err := ssh.ParseRawPrivateKey(b)
	var locked *ssh.PassphraseMissingError
	var one age.Identity
	var public ssh.PublicKey
	if errors.As(err, &locked) && locked.PublicKey != nil {
		public = locked.PublicKey
		one, err = newLockedKey(o, path, public, b)
	} else if err == nil {
		if one, err = agessh.ParseIdentity(b); err == nil {
			var signer ssh.Signer
			if signer, err = ssh.NewSignerFromKey(key); err == nil {
				public = signer.PublicKey()
			}
		}
	}
	if err != nil || one == nil {
		return identity{}, &CorruptError{Path: path, Err: errors.New("it holds no SSH key of the kinds ed25519 and RSA that can be read")}
	}
	return identity{[]age.Identity{one}, []string{strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))}}, nil
}

// A lockedKey is an SSH key with a passphrase.
type lockedKey struct {
	*agessh.EncryptedSSHIdentity
	path  string
	asked error // what came of asking for the passphrase
}

func newLockedKey(o Options, path string, public ssh.PublicKey, pem []byte) (age.Identity, error) {
	k := &lockedKey{path: path}
	var err error
	k.EncryptedSSHIdentity, err = agessh.NewEncryptedSSHIdentity(public, pem, func() (text []byte, err error) {
		defer func() { k.asked = err }()
		if o.Ask == nil {
			return nil, &PassphraseError{Key: path}
		}
		answer, err := o.Ask("Passphrase of the SSH key " + path)
		return []byte(answer), err
	})
	return k, err
}

// Unwrap implements age.Identity. Its errors are those of asking, or about a passphrase that is not right.
func (k *lockedKey) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	key, err := k.EncryptedSSHIdentity.Unwrap(stanzas)
	switch {
	case err == nil || errors.Is(err, age.ErrIncorrectIdentity):
		return key, err
	case k.asked != nil:
		return nil, k.asked
	}
	return nil, &PassphraseError{Key: k.path, Wrong: true}
}

// makeIdentity reads the identity file, and makes it if there is none: age's standard key, which withstands quantum
// computers too. If another process makes it at the same time, both take the same.
func makeIdentity(o Options) (identity, error) {
	id, err := readIdentity(o, o.Identity)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	dir := filepath.Dir(o.Identity)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return id, pathError(o.Identity, err)
	}
	text, err := newIdentity(o.Now())
	if err != nil {
		return id, err
	}
	mine := filepath.Join(dir, fmt.Sprintf(".identity-%d-%d", os.Getpid(), o.Now().UnixNano()))
	if err := writeFile(mine, []byte(text)); err != nil {
		return id, err
	}
	err = os.Link(mine, o.Identity) // unlike a rename, this does not replace one that another process made
	os.Remove(mine)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return id, pathError(o.Identity, err)
	}
	if err := syncFolder(dir); err != nil {
		return id, pathError(o.Identity, err)
	}
	return readIdentity(o, o.Identity)
}

// newIdentity is the text of a new identity file.
func newIdentity(now time.Time) (string, error) {
	key, err := age.GenerateHybridIdentity()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("# made by provision: opens the secrets of your clusters; keep a copy in a safe place\n# created: %s\n# public key: %s\n%s\n",
		now.UTC().Format(time.RFC3339), key.Recipient(), key), nil
}

// PublicKey returns the public key of the user's identity, for others to name among their recipients. It makes the identity
// if there is none. Of Options only Identity counts.
func PublicKey(o Options) (string, error) {
	if o.Cluster == "" {
		o.Cluster = "any"
	}
	if err := o.defaults(); err != nil {
		return "", err
	}
	id, err := makeIdentity(o)
	if err == nil && id.first() == "" {
		err = &KeyError{What: "the public key of a plug-in's identity is not known here: the program that made it tells"}
	}
	return id.first(), err
}

// RenewIdentity puts a new key in front of the user's identity file. The old ones stay in it, for what is encrypted to them.
func RenewIdentity(o Options) error {
	if err := o.defaults(); err != nil {
		return err
	}
	if _, err := makeIdentity(o); err != nil {
		return err
	}
	old, err := readFile(o.Identity)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(old, []byte("-----BEGIN")) {
		return &KeyError{What: o.Identity + " is an SSH key: make a new one with ssh-keygen"}
	}
	text, err := newIdentity(o.Now())
	if err != nil {
		return err
	}
	return writeFile(o.Identity, append([]byte(text), old...))
}
