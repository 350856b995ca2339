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
	"time"

	"filippo.io/age"
)

// identity is the user's own key pairs: all of them open files, the first is the one that files are encrypted to. So a key
// is changed by putting a new one in front.
type identity struct {
	identities []age.Identity
	recipient  age.Recipient // of the first
	public     string        // the same as text
	others     []string      // of those behind
}

func (id identity) recipients() []string { return append([]string{id.public}, id.others...) }

// Derive returns 32 bytes made of the label and each of the user's private keys, that of the first key first: whoever has
// the same key gets the same bytes, wherever and whenever, and nobody else does. It is for keys that have to be found again
// when the state is lost. It makes the identity file if there is none, unless the state is read-only; then it returns none.
func (s *State) Derive(label string) ([][]byte, error) {
	id, err := readIdentity(s.o.Identity)
	if errors.Is(err, fs.ErrNotExist) {
		if s.o.ReadOnly {
			return nil, nil
		}
		id, err = makeIdentity(s.o.Identity, s.o.Now())
	}
	if err != nil {
		return nil, err
	}
	var all [][]byte
	for _, one := range id.identities {
		key, err := hkdf.Key(sha256.New, []byte(one.(fmt.Stringer).String()), []byte(label), "provision derived key", 32)
		if err != nil {
			return nil, err
		}
		all = append(all, key)
	}
	return all, nil
}

// readIdentity reads an identity file, in the format of age-keygen. The error is fs.ErrNotExist if there is none.
func readIdentity(path string) (id identity, err error) {
	b, err := readFile(path)
	if err != nil {
		return id, err
	}
	if err := checkReplaceable(filepath.Dir(path)); err != nil {
		return id, err
	}
	id.identities, err = age.ParseIdentities(bytes.NewReader(b))
	if err != nil {
		return id, &CorruptError{Path: path, Err: errors.New("it holds no age identity that can be read")} // err may quote a key
	}
	for i, one := range id.identities {
		r, text := recipientOf(one)
		switch {
		case r == nil:
			return id, &CorruptError{Path: path, Err: fmt.Errorf("identity %d in it is of a kind that provision does not use", i+1)}
		case i == 0:
			id.recipient, id.public = r, text
		default:
			id.others = append(id.others, text)
		}
	}
	return id, nil
}

func recipientOf(id age.Identity) (age.Recipient, string) {
	switch id := id.(type) {
	case *age.HybridIdentity:
		return id.Recipient(), id.Recipient().String()
	case *age.X25519Identity:
		return id.Recipient(), id.Recipient().String()
	}
	return nil, ""
}

// makeIdentity reads the identity file, and makes it if there is none: age's standard key, which withstands quantum
// computers too. If another process makes it at the same time, both take the same.
func makeIdentity(path string, now time.Time) (identity, error) {
	id, err := readIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	key, err := age.GenerateHybridIdentity()
	if err != nil {
		return id, err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return id, pathError(path, err)
	}
	text := fmt.Sprintf("# made by provision: opens the secrets of your clusters; keep a copy in a safe place\n# created: %s\n# public key: %s\n%s\n",
		now.UTC().Format(time.RFC3339), key.Recipient(), key)
	mine := filepath.Join(dir, fmt.Sprintf(".identity-%d-%d", os.Getpid(), now.UnixNano()))
	if err := writeFile(mine, []byte(text)); err != nil {
		return id, err
	}
	err = os.Link(mine, path) // unlike a rename, this does not replace one that another process made
	os.Remove(mine)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return id, pathError(path, err)
	}
	if err := syncFolder(dir); err != nil {
		return id, pathError(path, err)
	}
	return readIdentity(path)
}
