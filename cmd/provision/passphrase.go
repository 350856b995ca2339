package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/state"
	"golang.org/x/term"
)

// A secretSource is where a passphrase comes from, unless it is the terminal.
type secretSource struct {
	what      string // begins a sentence: "The passphrase"
	file, env string
	fd        int // below 0: none
}

func (s secretSource) given() bool { return s.file != "" || s.env != "" || s.fd >= 0 }

// secret reads the passphrase.
func (a *app) secret(s secretSource) (string, error) {
	switch {
	case s.env != "":
		text := a.env(s.env)
		if text == "" {
			return "", diag.New(diag.PassphraseWrong, "The environment variable %s, which is to hold the passphrase, is not set.", s.env)
		}
		return text, nil
	case s.file != "":
		file, err := os.Open(s.file)
		if err != nil {
			return "", s.unreadable(s.file, err)
		}
		defer file.Close()
		// A pipe is nobody's to read but the two at its ends.
		if i, err := file.Stat(); err == nil && i.Mode().IsRegular() && i.Mode().Perm()&0o077 != 0 {
			return "", &state.ExposedError{Path: s.file, Mode: i.Mode().Perm()}
		}
		return s.firstLine(file, s.file)
	}
	name := fmt.Sprintf("descriptor %d", s.fd)
	file := os.NewFile(uintptr(s.fd), name)
	if file == nil {
		return "", s.unreadable(name, errors.New("it is not open"))
	}
	defer file.Close()
	return s.firstLine(file, name)
}

// passphrase returns how to get the passphrase of a state: from where a flag says, or from the terminal; nil if there is
// neither.
func (a *app) passphrase() func(confirm bool) (string, error) {
	f := a.flags.state
	source := secretSource{what: "The passphrase", file: f.passphraseFile, env: f.passphraseEnv, fd: f.passphraseFD}
	if source.given() {
		return func(bool) (string, error) { return a.secret(source) }
	}
	ask := a.ask()
	if ask == nil {
		return nil
	}
	return func(confirm bool) (string, error) {
		if !confirm {
			return ask("Passphrase of the state")
		}
		return askTwice(ask, "Passphrase of the state")
	}
}

// newPassphrase returns how to get the passphrase that is put in the place of the state's.
func (a *app) newPassphrase(source secretSource) (func() (string, error), error) {
	switch f, ask := a.flags.state, a.ask(); {
	case source.fd >= 0 && source.fd == f.passphraseFD:
		return nil, diag.New(diag.BadFlags, "The old and the new passphrase cannot be read from the same descriptor.")
	case source.given():
		return func() (string, error) { return a.secret(source) }, nil
	case ask != nil:
		return func() (string, error) { return askTwice(ask, "New passphrase of the state") }, nil
	}
	return nil, diag.New(diag.PassphraseWrong, "There is no terminal to ask for the new passphrase. Nothing was changed.").
		Next("Say where it is with --new-passphrase-file, --new-passphrase-fd or --new-passphrase-env.")
}

func askTwice(ask func(string) (string, error), question string) (string, error) {
	text, err := ask(question)
	if err != nil {
		return "", err
	}
	again, err := ask("The same again")
	if err == nil && again != text {
		err = diag.New(diag.PassphraseWrong, "The two are not the same. Nothing was written.")
	}
	return text, err
}

func (s secretSource) unreadable(name string, err error) error {
	return diag.Wrap(err, diag.PassphraseWrong, "%s cannot be read from %s: %v.", s.what, name, err)
}

// firstLine reads a passphrase. What follows the first line does not count.
func (s secretSource) firstLine(r io.Reader, name string) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return "", s.unreadable(name, err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

// ask returns how to ask for something secret on the terminal, which need not be where standard input comes from; nil if
// there is none.
func (a *app) ask() func(question string) (string, error) {
	if f, ok := a.in.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return func(question string) (string, error) {
		f := a.in.(*os.File)
		fmt.Fprintf(a.err, "%s: ", question)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(a.err)
		return string(b), err
	}
}
