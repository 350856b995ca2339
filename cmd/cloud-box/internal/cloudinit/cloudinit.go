// Package cloudinit reads user data as cloud-init does, of what a cloud's images would run, as far as the project's vendors send it: a
// cloud-config with host name, users, SSH host keys and commands, scripts, and several of them in one MIME document. What it
// does not know is an error: a rehearsal that leaves something out would be none.
package cloudinit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"

	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"
)

// A Config is what user data asks for.
type Config struct {
	Hostname string
	Users    []User
	HostKey  *HostKey // nil: the machine makes its own
	Commands [][]string
	Scripts  []string // each begins with #!
}

// A User may log in.
type User struct {
	Name           string
	AuthorizedKeys []string
	Sudo           string // a line of sudoers without the name; empty: none
	Shell          string
}

// A HostKey is the SSH host key that a machine is given.
type HostKey struct{ Private, Public string }

// document is a cloud-config as it is written. Fields that say what every machine of the box is like anyway are checked to say that.
type document struct {
	Hostname         string         `yaml:"hostname"`
	FQDN             string         `yaml:"fqdn"`
	PreserveHostname bool           `yaml:"preserve_hostname"`
	DisableRoot      bool           `yaml:"disable_root"`
	PasswordAuth     bool           `yaml:"ssh_pwauth"`
	DeleteKeys       bool           `yaml:"ssh_deletekeys"`
	KeyTypes         []string       `yaml:"ssh_genkeytypes"`
	Keys             map[string]any `yaml:"ssh_keys"`
	Users            []user         `yaml:"users"`
	Commands         []yaml.Node    `yaml:"runcmd"`
}

type user struct {
	Name         string   `yaml:"name"`
	Keys         []string `yaml:"ssh_authorized_keys"`
	LockPassword *bool    `yaml:"lock_passwd"`
	Sudo         string   `yaml:"sudo"`
	Shell        string   `yaml:"shell"`
}

// Parse reads user data.
func Parse(data []byte) (*Config, error) {
	c := new(Config)
	if err := c.read(data); err != nil {
		return nil, fmt.Errorf("user data: %w", err)
	}
	return c, nil
}

// read adds what one document asks for.
func (c *Config) read(data []byte) error {
	text := bytes.TrimLeft(data, "\r\n\t ")
	switch {
	case len(text) == 0:
		return nil
	case bytes.HasPrefix(text, []byte("#cloud-config")):
		return c.readConfig(text)
	case bytes.HasPrefix(text, []byte("#!")):
		c.Scripts = append(c.Scripts, string(text))
		return nil
	case bytes.HasPrefix(bytes.ToLower(text), []byte("content-type: multipart/")), bytes.HasPrefix(bytes.ToLower(text), []byte("mime-version:")):
		return c.readParts(text)
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	return fmt.Errorf("it begins with %.40q: the box knows #cloud-config, #! and MIME with several of them", first)
}

// readParts reads a MIME document. Its parts are told apart by their beginnings.
func (c *Config) readParts(data []byte) error {
	m, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		return err
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var r io.Reader = p
		if strings.EqualFold(p.Header.Get("Content-Transfer-Encoding"), "base64") {
			r = base64.NewDecoder(base64.StdEncoding, p)
		}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, c.read(b)); err != nil {
			return err
		}
	}
}

func (c *Config) readConfig(text []byte) error {
	var d document
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cloud-config: %w", err)
	}
	switch {
	case d.PreserveHostname:
		return errors.New("cloud-config: preserve_hostname: the box gives machines the name that they are to have")
	case d.PasswordAuth:
		return errors.New("cloud-config: ssh_pwauth: nobody gets into a machine of the box by password")
	case d.FQDN != "" && d.Hostname != "" && d.FQDN != d.Hostname && !strings.HasPrefix(d.FQDN, d.Hostname+"."):
		return fmt.Errorf("cloud-config: fqdn %q and hostname %q", d.FQDN, d.Hostname)
	}
	for _, t := range d.KeyTypes {
		if t != "ed25519" {
			return fmt.Errorf("cloud-config: ssh_genkeytypes: machines of the box have a key of type ed25519, not %s", t)
		}
	}
	if d.Hostname != "" {
		c.Hostname = d.Hostname
	}
	for _, u := range d.Users {
		if err := c.addUser(u, d.DisableRoot); err != nil {
			return fmt.Errorf("cloud-config: %w", err)
		}
	}
	return errors.Join(c.setHostKey(d.Keys), c.addCommands(d.Commands))
}

func (c *Config) addUser(u user, noRoot bool) error {
	switch {
	case u.Name == "" || strings.Trim(u.Name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "":
		return fmt.Errorf("user %q: it can have small letters, digits, _ and -", u.Name)
	case u.Name == "root" && noRoot:
		return errors.New("user root: disable_root keeps it out")
	case u.LockPassword != nil && !*u.LockPassword:
		return fmt.Errorf("user %s: lock_passwd: nobody has a password in the box", u.Name)
	case strings.ContainsAny(u.Sudo+u.Shell, "\n\r'"):
		return fmt.Errorf("user %s: sudo or shell has more than one line", u.Name)
	}
	for _, k := range u.Keys {
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k)); err != nil || strings.ContainsAny(k, "\n\r") {
			return fmt.Errorf("user %s: authorized key %q is no line of OpenSSH's authorized_keys format", u.Name, k)
		}
	}
	c.Users = append(c.Users, User{u.Name, u.Keys, u.Sudo, u.Shell})
	return nil
}

func (c *Config) setHostKey(keys map[string]any) error {
	var k HostKey
	for name, v := range keys {
		text, ok := v.(string)
		switch {
		case ok && name == "ed25519_private":
			k.Private = text
		case ok && name == "ed25519_public":
			k.Public = text
		default:
			return fmt.Errorf("cloud-config: ssh_keys: %s: machines of the box have a key of type ed25519", name)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	signer, err := ssh.ParsePrivateKey([]byte(k.Private))
	if err != nil {
		return fmt.Errorf("cloud-config: ssh_keys: %w", err)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	if f := strings.Fields(k.Public); len(f) < 2 || strings.Join(f[:2], " ") != public {
		return errors.New("cloud-config: ssh_keys: the public key is not that of the private one")
	}
	c.HostKey = &k
	return nil
}

// addCommands takes lists of words, which run as they are, and texts, which a shell runs.
func (c *Config) addCommands(all []yaml.Node) error {
	for _, n := range all {
		var words []string
		if err := n.Decode(&words); err != nil {
			var line string
			if err := n.Decode(&line); err != nil || n.Kind != yaml.ScalarNode {
				return fmt.Errorf("cloud-config: runcmd: line %d is neither a text nor a list of texts", n.Line)
			}
			words = []string{"sh", "-c", line}
		}
		c.Commands = append(c.Commands, words)
	}
	return nil
}
