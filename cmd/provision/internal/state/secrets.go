package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"strings"

	"filippo.io/age"
)

// secretsFile is what secrets.age holds.
type secretsFile struct {
	UID     string            `json:"uid"` // whose they are, so that a file of another cluster is not taken for ours
	Secrets map[string][]byte `json:"secrets"`
}

// loadSecrets decrypts the secrets, if there are any.
func (s *State) loadSecrets() error {
	path := s.path("secrets.age")
	b, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	id, err := readIdentity(s.o.Identity)
	if errors.Is(err, fs.ErrNotExist) {
		return &IdentityError{Path: s.o.Identity, File: path, Recipients: s.recipients(), Missing: true}
	} else if err != nil {
		return err
	}
	r, err := age.Decrypt(bytes.NewReader(b), id.identities...)
	var no *age.NoIdentityMatchError
	if errors.As(err, &no) {
		return &IdentityError{Path: s.o.Identity, File: path, Recipients: s.recipients(), Have: id.recipients()}
	} else if err != nil {
		return &CorruptError{Path: path, Err: err}
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return &CorruptError{Path: path, Err: err}
	}
	var f secretsFile
	if err := json.Unmarshal(text, &f); err != nil {
		return &CorruptError{Path: path, Err: errors.New("what it holds is no list of secrets")} // err may quote one
	}
	if f.UID != s.header.UID {
		return &ForeignError{Folder: s.o.Folder, Want: s.header.UID, Have: f.UID, UID: true}
	}
	if f.Secrets != nil {
		s.secrets = f.Secrets
	}
	return nil
}

// saveSecrets encrypts the secrets. Whom they are encrypted to is written first, and in words, because an age file does not
// tell it.
func (s *State) saveSecrets(all map[string][]byte) error {
	id, err := makeIdentity(s.o.Identity, s.o.Now())
	if err != nil {
		return err
	}
	text, err := json.Marshal(secretsFile{s.header.UID, all})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, id.recipient)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := writeFile(s.path("recipients"), []byte(id.public+"\n")); err != nil {
		return err
	}
	return writeFile(s.path("secrets.age"), b.Bytes())
}

// recipients returns whom the secrets are encrypted to, as far as that is known.
func (s *State) recipients() []string {
	b, err := readFile(s.path("recipients"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}
