package pki

import (
	"crypto/rand"
	"fmt"
	"math/big"
)

// A Token is a bootstrap token: what a new node shows to be let in, once. It prints as "[secret]".
type Token struct {
	ID     string // six characters; not secret
	Secret string // sixteen characters, in clear
}

// NewToken makes a token.
func NewToken() (Token, error) {
	id, err := letters(6)
	if err != nil {
		return Token{}, err
	}
	secret, err := letters(16)
	return Token{id, secret}, err
}

// Clear returns the token as Kubernetes wants it, or "" if it is the zero Token.
func (t Token) Clear() string {
	if t == (Token{}) {
		return ""
	}
	return t.ID + "." + t.Secret
}

// Format prints "[secret]", whatever the verb.
func (t Token) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[secret]") }

// MarshalJSON writes "[secret]".
func (t Token) MarshalJSON() ([]byte, error) { return []byte(`"[secret]"`), nil }

func letters(n int) (string, error) {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		x, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", fmt.Errorf("make token: %w", err)
		}
		b[i] = alphabet[x.Int64()]
	}
	return string(b), nil
}
