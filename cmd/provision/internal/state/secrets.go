package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"slices"

	"filippo.io/age"
)

// secretsFile is what a file of secrets holds.
type secretsFile struct {
	UID     string            `json:"uid"` // whose they are, so that a file of another cluster is not taken for ours
	Secrets map[string][]byte `json:"secrets"`
}

// loadSecrets decrypts the secrets, if there are any. A writer that is at work may replace the file while a reader looks for
// it: then the reader finds a new name in the journal.
func (s *State) loadSecrets(ctx context.Context) error {
	sealed := s.journal.secrets
	if sealed == nil {
		return nil
	}
	b, err := s.place.secrets(ctx, sealed.File)
	if errors.Is(err, fs.ErrNotExist) {
		if i, err := s.place.read(ctx); s.o.ReadOnly && err == nil {
			if p, err := s.parse(i); err == nil && p.secrets != nil && p.secrets.File != sealed.File {
				return errChanged
			}
		}
		return &CorruptError{Path: s.filePath(sealed.File), Err: errors.New("it is missing")}
	} else if err != nil {
		return err
	}
	if sealed.SHA256 != "" && digest(b) != sealed.SHA256 {
		return &CorruptError{Path: s.filePath(sealed.File), Err: errors.New("it is not what was written")}
	}
	text, err := s.decrypt(b, *sealed)
	if err != nil {
		return err
	}
	var f secretsFile
	if err := json.Unmarshal(text, &f); err != nil {
		return &CorruptError{Path: s.filePath(sealed.File), Err: errors.New("what it holds is no list of secrets")} // err may quote one
	}
	if f.UID != s.header.UID {
		return &ForeignError{Place: s.place.String(), Want: s.header.UID, Have: f.UID, UID: true}
	}
	if f.Secrets != nil {
		s.secrets = f.Secrets
	}
	return nil
}

// filePath names a file or object for a person.
func (s *State) filePath(file string) string { return s.place.String() + "/" + file }

// decrypt opens a file of secrets.
func (s *State) decrypt(b []byte, f sealed) ([]byte, error) {
	ids, have, err := s.identities(f)
	if err != nil {
		return nil, err
	}
	r, err := age.Decrypt(bytes.NewReader(b), ids...)
	var no *age.NoIdentityMatchError
	var ours coded
	switch {
	case errors.As(err, &ours):
		return nil, ours
	case errors.As(err, &no) && slices.Equal(f.To, toPassphrase):
		s.phrase = ""
		return nil, &PassphraseError{Place: s.place.String(), Wrong: true}
	case errors.As(err, &no):
		return nil, &IdentityError{Path: s.o.Identity, File: s.filePath(f.File), Recipients: f.To, Have: have, Missing: len(have) == 0}
	case err != nil:
		return nil, &CorruptError{Path: s.filePath(f.File), Err: err}
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, &CorruptError{Path: s.filePath(f.File), Err: err}
	}
	return text, nil
}

// saveSecrets encrypts the secrets and writes them. It makes sure before that they can be read again. If rekey is true, whom
// they were encrypted to until now does not count. s.mu is held.
func (s *State) saveSecrets(all map[string][]byte, rekey bool) error {
	text, err := json.Marshal(secretsFile{s.header.UID, all})
	if err != nil {
		return err
	}
	recipients, to, err := s.recipients(rekey)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipients...)
	if err == nil {
		if _, err = w.Write(text); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		return s.keyError("encrypt", err)
	}
	if !slices.Equal(to, toPassphrase) {
		if back, err := s.decrypt(b.Bytes(), sealed{File: "new secrets", To: to}); err != nil {
			var no *IdentityError
			if errors.As(err, &no) {
				return &RecipientsError{Have: no.Have, To: to}
			}
			return err
		} else if !bytes.Equal(back, text) {
			return &KeyError{What: "what was encrypted cannot be decrypted again"}
		}
	}
	return s.journal.seal(b.Bytes(), to, s.o.Now().UTC())
}

// Rekey encrypts the secrets anew, to those whom the options name: nobody else can open the state from then on, but for
// copies that were made of it before.
func (s *State) Rekey() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.o.ReadOnly || s.o.Sealed {
		return s.notForWriting()
	}
	return s.saveSecrets(s.secrets, true)
}

// Recipients returns whom the secrets are encrypted to now: public keys, or words for a passphrase or a program.
func (s *State) Recipients() []string {
	s.journal.write.Lock()
	defer s.journal.write.Unlock()
	if s.journal.secrets == nil {
		return nil
	}
	return slices.Clone(s.journal.secrets.To)
}
