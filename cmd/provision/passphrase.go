package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"golang.org/x/term"
)

// passphrase returns how to get the passphrase of a state: from where a flag says, or from the terminal; nil if there is
// neither.
func (a *app) passphrase() func(confirm bool) (string, error) {
	f := a.flags.state
	switch {
	case f.passphraseEnv != "":
		return func(bool) (string, error) {
			text := a.env(f.passphraseEnv)
			if text == "" {
				return "", diag.New(diag.PassphraseWrong, "The environment variable %s, which is to hold the passphrase, is not set.", f.passphraseEnv)
			}
			return text, nil
		}
	case f.passphraseFile != "":
		return func(bool) (string, error) {
			file, err := os.Open(f.passphraseFile)
			if err != nil {
				return "", unreadable(f.passphraseFile, err)
			}
			defer file.Close()
			return firstLine(file, f.passphraseFile)
		}
	case f.passphraseFD >= 0:
		return func(bool) (string, error) {
			name := fmt.Sprintf("descriptor %d", f.passphraseFD)
			file := os.NewFile(uintptr(f.passphraseFD), name)
			if file == nil {
				return "", unreadable(name, errors.New("it is not open"))
			}
			defer file.Close()
			return firstLine(file, name)
		}
	}
	ask := a.ask()
	if ask == nil {
		return nil
	}
	return func(confirm bool) (string, error) {
		text, err := ask("Passphrase of the state")
		if err != nil || !confirm {
			return text, err
		}
		again, err := ask("The same again")
		if err == nil && again != text {
			err = diag.New(diag.PassphraseWrong, "The two are not the same. Nothing was written.")
		}
		return text, err
	}
}

func unreadable(name string, err error) error {
	return diag.Wrap(err, diag.PassphraseWrong, "The passphrase cannot be read from %s: %v.", name, err)
}

// firstLine reads a passphrase. What follows the first line does not count.
func firstLine(r io.Reader, name string) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return "", unreadable(name, err)
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
