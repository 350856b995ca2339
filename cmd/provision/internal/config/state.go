package config

import (
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// A State says where the cluster's state is kept, and whom its secrets are for. What is empty is left to the default: a
// folder of the user's own, and the user's own key.
type State struct {
	URL        string   // s3://…, gs://…, azblob://… or file:///…; without credentials
	Recipients []string // public keys: of age, of its plug-ins, of SSH
	KeyCommand []string // a program with its arguments that wraps keys
	Passphrase bool     // a passphrase opens the secrets, and nothing else
}

// stateSchemes are the kinds of places.
var stateSchemes = [...]string{"azblob", "file", "gs", "s3"}

// state reads the state block, which may be missing.
func (l *loader) state(t top) {
	if len(t.states) == 0 {
		return
	}
	b := t.states[0]
	for _, again := range t.states[1:] {
		l.again(again, b, "There can be only one state block.")
	}
	if _, ok := l.labels(b, 0); !ok {
		return
	}
	l.cluster.Ranges["state"] = l.place(b.DefRange())
	s := &l.cluster.State
	r := l.reader(b, "state", "state.")
	if v, ok := r.text("url"); ok {
		s.URL = v.text
		l.stateURL(v)
	}
	for _, v := range r.texts("recipients") {
		s.Recipients = append(s.Recipients, v.text)
		l.recipient(v)
	}
	if len(s.Recipients) > 0 {
		l.cluster.Ranges["state.recipients"] = l.place(b.Body.Attributes["recipients"].SrcRange)
	}
	for _, v := range r.texts("key_command") {
		s.KeyCommand = append(s.KeyCommand, v.text)
	}
	s.Passphrase = r.yes("passphrase")
	r.finish()
	l.stateKeys(b, r)
}

func (l *loader) stateURL(v item) {
	u, err := url.Parse(v.text)
	known := stateSchemes[:]
	switch {
	case err != nil || u.Scheme == "" || u.Opaque != "":
		l.report(l.diag(diag.BadValue, v.place, "state", "The state's place is a URL: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, azblob://CONTAINER/PREFIX or file:///FOLDER."))
	case !slices.Contains(known, u.Scheme):
		l.report(l.diag(diag.BadValue, v.place, "state", "State cannot be kept at %q.%s There are %s.", u.Scheme+"://", diag.DidYouMean(u.Scheme, known), diag.List(known)))
	case u.User != nil:
		l.secret(v, "The state's URL holds a user or a password, which everybody who reads the file would know. "+
			"Credentials come from the environment, the vendor's own files or the machine's role.")
	case u.Scheme == "file" && (u.Host != "" || !strings.HasPrefix(u.Path, "/")):
		l.report(l.diag(diag.BadValue, v.place, "state", "A folder's URL has three slashes and a whole path: file:///srv/states."))
	case u.Scheme != "file" && u.Host == "":
		l.report(l.diag(diag.BadValue, v.place, "state", "The URL names no bucket: %s://BUCKET/PREFIX.", u.Scheme))
	}
}

// secret reports a value that must not be in the file, without showing the line.
func (l *loader) secret(v item, detail string) {
	d := l.diag(diag.SensitiveValue, v.place, "state", "%s", detail)
	d.Range.Source = ""
	l.report(d)
}

// recipient reports what is no public key.
func (l *loader) recipient(v item) {
	switch {
	case strings.HasPrefix(v.text, "AGE-"), strings.Contains(v.text, "PRIVATE KEY"):
		l.secret(v, "This is a private key, and everybody who reads the file knows it now. Recipients are public keys. Make a new pair.")
	case !strings.HasPrefix(v.text, "age1") && !strings.HasPrefix(v.text, "ssh-"):
		l.report(l.diag(diag.BadValue, v.place, "state", "A recipient is a public key: age1…, as `provision state key` prints it, or ssh-ed25519 …."))
	case l.options.CheckRecipient != nil:
		if err := l.options.CheckRecipient(v.text); err != nil {
			l.report(l.diag(diag.BadValue, v.place, "state", "This is no public key that secrets can be encrypted to: %v. `provision state key` prints yours; copy keys whole.", err))
		}
	}
}

// stateKeys reports keys that cannot be used together.
func (l *loader) stateKeys(b *hclsyntax.Block, r *reader) {
	s := l.cluster.State
	if s.Passphrase && (len(s.Recipients) > 0 || len(s.KeyCommand) > 0) {
		l.report(l.diag(diag.BadValue, b.Body.Attributes["passphrase"].SrcRange, r.in, "What a passphrase opens, nothing else opens: leave out either passphrase, or recipients and key_command."))
	}
	if a := b.Body.Attributes["key_command"]; a != nil && len(s.KeyCommand) == 0 && !slices.Contains(r.bad, "key_command") {
		l.report(l.diag(diag.BadValue, a.SrcRange, r.in, "The key command is a program and its arguments: key_command = [\"our-kms\", \"--key\", \"provision\"]."))
	}
}
