package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
)

// toPassphrase is whom a file is encrypted to that a passphrase opens.
var toPassphrase = []string{"a passphrase"}

// commandPrefix begins the word for a program among recipients.
const commandPrefix = "the program "

// recipients returns whom secrets are to be encrypted to, and the words for them. What the options leave open goes on as it
// was, unless rekey is true.
func (s *State) recipients(rekey bool) ([]age.Recipient, []string, error) {
	var now []string
	if s.journal.secrets != nil && !rekey {
		now = s.journal.secrets.To
	}
	to := slices.Clone(s.o.Recipients)
	switch {
	case s.o.UsePassphrase, s.o.own() && slices.Equal(now, toPassphrase):
		to = toPassphrase
	case s.o.own():
		id, err := makeIdentity(s.o)
		if err != nil {
			return nil, nil, err
		}
		to = []string{id.first()}
		if slices.ContainsFunc(now, func(r string) bool { return !slices.Contains(id.public, r) }) {
			to = now // others can read it, and shall go on to
		}
		if to[0] == "" {
			return nil, nil, &KeyError{What: fmt.Sprintf("the first identity in %s is a plug-in's, whose public key is not known here: name it in recipients", s.o.Identity)}
		}
	}
	return s.parseRecipients(to, rekey)
}

func (s *State) parseRecipients(to []string, rekey bool) (all []age.Recipient, words []string, err error) {
	if slices.Equal(to, toPassphrase) {
		r, err := s.passphrase(rekey)
		return []age.Recipient{r}, to, err
	}
	for _, text := range to {
		r, err := parseRecipient(s.o, text)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, r)
	}
	if len(s.o.KeyCommand) > 0 {
		all = append(all, s.keyCommand())
		to = append(slices.Clone(to), commandPrefix+s.o.KeyCommand[0])
	}
	return all, to, nil
}

// passphrase is the recipient that a passphrase makes. It asks for a new one twice.
func (s *State) passphrase(rekey bool) (age.Recipient, error) {
	if rekey && s.o.NewPassphrase != nil {
		text, err := s.o.NewPassphrase()
		if err != nil {
			return nil, err
		}
		s.phrase = text
	} else if s.phrase == "" {
		if s.o.Passphrase == nil {
			return nil, &PassphraseError{Place: s.place.String()}
		}
		text, err := s.o.Passphrase(true)
		if err != nil {
			return nil, err
		}
		s.phrase = text
	}
	if s.phrase == "" {
		return nil, &PassphraseError{Place: s.place.String(), Empty: true}
	}
	r, err := age.NewScryptRecipient(s.phrase)
	if err == nil && s.o.workFactor > 0 {
		r.SetWorkFactor(s.o.workFactor)
	}
	return r, err
}

// A plain recipient hides what age says of its strength, so that keys that withstand quantum computers and keys that do not
// can be used side by side, when a person names both.
type plain struct{ age.Recipient }

// parseRecipient reads a public key: age's own, SSH's or a plug-in's.
func parseRecipient(o Options, text string) (r age.Recipient, err error) {
	text = strings.TrimSpace(text)
	switch {
	case strings.HasPrefix(text, "ssh-"):
		r, err = agessh.ParseRecipient(text)
	case strings.HasPrefix(text, "age1pq1"):
		r, err = age.ParseHybridRecipient(text)
	case strings.HasPrefix(text, "age1") && strings.LastIndex(text, "1") == 3:
		r, err = age.ParseX25519Recipient(text)
	case strings.HasPrefix(text, "age1"):
		r, err = plugin.NewRecipient(text, o.pluginUI())
	case strings.HasPrefix(text, "AGE-SECRET-KEY-"), strings.HasPrefix(text, "AGE-PLUGIN-"), strings.Contains(text, "PRIVATE KEY"):
		return nil, &KeyError{What: "one of the recipients is a private key, which belongs in no file that others read: name its public key, and make a new pair"}
	default:
		err = errors.New("unknown")
	}
	if err != nil {
		return nil, &KeyError{What: fmt.Sprintf("%q is no public key that secrets can be encrypted to (age1…, ssh-ed25519 … or ssh-rsa …)", cut(text, 40)), Err: err}
	}
	return plain{r}, nil
}

// CheckRecipient says what is wrong with a recipient's public key, in a few words; nil if it can be used.
func CheckRecipient(text string) error {
	_, err := parseRecipient(Options{}, text)
	var key *KeyError
	if errors.As(err, &key) && key.Err != nil {
		return key.Err
	}
	return err
}

// identities returns all that may open the file, and the public keys of those that are the user's own.
func (s *State) identities(f sealed) (ids []age.Identity, have []string, err error) {
	if slices.Equal(f.To, toPassphrase) {
		return s.passphraseIdentity()
	}
	own, err := readIdentity(s.o, s.o.Identity)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	ids, have = own.identities, own.recipients()
	if slices.ContainsFunc(f.To, func(to string) bool { return strings.HasPrefix(to, "ssh-") }) {
		for _, key := range s.sshKeys() {
			ids, have = append(ids, key.identities...), append(have, key.public...)
		}
	}
	if len(s.o.KeyCommand) > 0 && slices.ContainsFunc(f.To, func(to string) bool { return strings.HasPrefix(to, commandPrefix) }) {
		ids = append(ids, s.keyCommand())
	}
	if len(ids) == 0 {
		return nil, nil, &IdentityError{Path: s.o.Identity, File: s.filePath(f.File), Recipients: f.To, Missing: true}
	}
	return ids, have, nil
}

func (s *State) passphraseIdentity() ([]age.Identity, []string, error) {
	if s.phrase == "" {
		if s.o.Passphrase == nil {
			return nil, nil, &PassphraseError{Place: s.place.String()}
		}
		text, err := s.o.Passphrase(false)
		if err != nil {
			return nil, nil, err
		}
		s.phrase = text
	}
	if s.phrase == "" {
		return nil, nil, &PassphraseError{Place: s.place.String(), Empty: true}
	}
	id, err := age.NewScryptIdentity(s.phrase)
	return []age.Identity{id}, nil, err
}

// sshKeys are the user's usual SSH keys, as far as they can be read.
func (s *State) sshKeys() (keys []identity) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	for _, name := range []string{"id_ed25519", "id_rsa"} {
		if key, err := readIdentity(s.o, filepath.Join(home, ".ssh", name)); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// pluginUI is how a plug-in of age talks to the user.
func (o Options) pluginUI() *plugin.ClientUI {
	show := func(format string, v ...any) {
		if o.Message != nil {
			o.Message(strings.TrimSpace(fmt.Sprintf(format, v...)))
		}
	}
	return plugin.NewTerminalUI(show, show)
}

// keyError gives the errors of plug-ins and programs their diagnostic.
func (s *State) keyError(what string, err error) error {
	var ours coded
	if errors.As(err, &ours) {
		return ours
	}
	return &KeyError{What: what, Err: err}
}
