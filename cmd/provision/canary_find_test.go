//go:build linux && amd64

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/crashtest"
	"golang.org/x/crypto/ssh"
)

// Canaries are secrets, by name, each in all forms in which it could be written somewhere.
type canaries map[string][][]byte

// add notes a secret.
func (c canaries) add(name string, secret []byte) {
	if len(secret) < 8 {
		panic("a secret of " + strconv.Itoa(len(secret)) + " bytes would be found by chance")
	}
	forms := [][]byte{secret, []byte(hex.EncodeToString(secret)), []byte(strings.ToUpper(hex.EncodeToString(secret)))}
	for skip := range 3 { // base64 looks another way at each of three places in what is encoded
		text := base64.RawStdEncoding.EncodeToString(secret[skip:])
		text = text[:len(text)-1] // the last letter depends on what follows
		forms = append(forms, []byte(text), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(text)))
	}
	forms = append(forms, []byte(strings.Trim(fmt.Sprint(secret), "[]"))) // as Go prints bytes
	c[name] = forms
}

// addKeys notes what is secret in a text: the private keys in it, wherever they are.
func (c canaries) addKeys(name string, text []byte) error {
	for n := 1; ; n++ {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil
		}
		if !strings.Contains(block.Type, "PRIVATE KEY") {
			continue
		}
		key, err := ssh.ParseRawPrivateKey(pem.EncodeToMemory(block))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := c.addKey(fmt.Sprintf("%s %d", name, n), key); err != nil {
			return err
		}
	}
}

func (c canaries) addKey(name string, key any) error {
	switch k := key.(type) {
	case *ed25519.PrivateKey:
		c.add(name, k.Seed())
	case ed25519.PrivateKey:
		c.add(name, k.Seed())
	case *ecdsa.PrivateKey:
		b, err := k.Bytes()
		if err != nil {
			return err
		}
		c.add(name, b)
	case *rsa.PrivateKey:
		c.add(name, k.Primes[0].Bytes())
	default:
		return fmt.Errorf("%s is a %T", name, key)
	}
	return nil
}

// addState notes the secrets that the state keeps: keys, and whatever else is in them that is long enough to be one.
func (c canaries) addState(s *crashtest.Site) error {
	all, err := s.Secrets()
	if err != nil {
		return err
	}
	for name, files := range all {
		encoded := files[0] // nothing was cut off, so there is one
		text, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
		var tree any
		if json.Unmarshal(text, &tree) != nil {
			tree = string(text)
		}
		if err := c.addTree(name, tree); err != nil {
			return err
		}
	}
	return nil
}

func (c canaries) addTree(name string, tree any) error {
	switch v := tree.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if err := c.addTree(name+"."+k, v[k]); err != nil {
				return err
			}
		}
	case string:
		if strings.Contains(v, "-----BEGIN") {
			return c.addKeys(name, []byte(v))
		}
		if b, err := base64.StdEncoding.DecodeString(v); err == nil && bytes.Contains(b, []byte("-----BEGIN")) {
			return c.addKeys(name, b)
		} else if err == nil && len(b) >= 16 {
			c.add(name, b)
		} else if len(v) >= 16 {
			c.add(name, []byte(v))
		}
	}
	return nil
}

// in returns which of the secrets are in the data.
func (c canaries) in(data []byte) []string { return c.finder().in(data) }

// A finder looks for all forms of all secrets in one pass.
type finder struct {
	begins [1 << 16]bool // what a form may begin with
	forms  map[[4]byte][]namedForm
}

type namedForm struct {
	name string
	form []byte
}

func (c canaries) finder() *finder {
	f := &finder{forms: map[[4]byte][]namedForm{}}
	for name, forms := range c {
		for _, form := range forms {
			f.begins[int(form[0])|int(form[1])<<8] = true
			f.forms[[4]byte(form)] = append(f.forms[[4]byte(form)], namedForm{name, form})
		}
	}
	return f
}

func (f *finder) in(data []byte) []string {
	found := map[string]bool{}
	for i := 0; i+8 <= len(data); i++ {
		if !f.begins[int(data[i])|int(data[i+1])<<8] {
			continue
		}
		for _, n := range f.forms[[4]byte(data[i:])] {
			if bytes.HasPrefix(data[i:], n.form) {
				found[n.name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// files searches all files below a folder but those that allow names by how their paths end.
func (c canaries) files(dir string, allow ...string) (found []string, searched int) {
	f := c.finder()
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || slices.ContainsFunc(allow, func(end string) bool { return strings.HasSuffix(path, end) }) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil // gone meanwhile
		}
		searched++
		for _, name := range f.in(b) {
			found = append(found, fmt.Sprintf("%s in the file %s", name, path))
		}
		return nil
	})
	return found, searched
}
