// Package plugins finds the programs that are provider plug-ins and says which of them may run.
//
// A plug-in gets the vendor's credentials and decides what is made, so it runs only if a person said so of exactly these
// bytes: by the SHA-256 in the file that the team shares, or by trusting it on this machine (Trust). Nothing is
// downloaded.
package plugins

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// Prefix is what the names of the programs begin with; the provider's name follows.
const Prefix = "provision-provider-"

// A Place is where plug-ins are looked for and what is trusted.
type Place struct {
	Folders []string // in order: the first that has a plug-in of the name has it
	Trust   string   // the file that Trust writes
}

// A Found is a program that was found.
type Found struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// Find returns the plug-in of that name; an error that wraps providers.NotFound if there is none.
func (p Place) Find(name string) (Found, error) {
	if provider, _, _ := strings.Cut(name, "-"); !ValidName(provider) || name != provider && !slices.ContainsFunc(archs[:], func(a string) bool { return name == For(provider, a) }) {
		return Found{}, fmt.Errorf("plug-in %q: %w: it is no name of a provider", name, providers.NotFound)
	}
	for _, f := range p.Folders {
		path, err := filepath.Abs(filepath.Join(f, Prefix+name+suffix()))
		if err != nil {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return Found{name, path}, nil
		}
	}
	return Found{}, fmt.Errorf("plug-in %s: %w in %s", name, providers.NotFound, strings.Join(p.Folders, ", "))
}

// archs are the architectures that nodes may have.
var archs = [...]string{"amd64", "arm64"}

// For is the name of a plug-in's program for Linux on another architecture than this machine's, or from another system.
func For(name, arch string) string { return name + "-linux-" + arch }

// FindFor returns the plug-in's program for nodes of an architecture: the one that says so in its name if there is one, else
// the plug-in itself.
func (p Place) FindFor(name, arch string) (Found, error) {
	if f, err := p.Find(For(name, arch)); err == nil {
		return f, nil
	}
	return p.Find(name)
}

// List returns every plug-in that Find would find, sorted by name.
func (p Place) List() []Found {
	var all []Found
	for _, f := range p.Folders {
		entries, _ := os.ReadDir(f) // a folder that is not there has none
		for _, e := range entries {
			name, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), suffix()), Prefix)
			if !ok || slices.ContainsFunc(all, func(g Found) bool { return g.Name == name }) {
				continue
			}
			if found, err := p.Find(name); err == nil {
				all = append(all, found)
			}
		}
	}
	slices.SortFunc(all, func(a, b Found) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// ValidName says whether a provider may have the name: it is the scheme of URLs.
func ValidName(name string) bool {
	return regexp.MustCompile(`^[a-z][a-z0-9]{0,30}$`).MatchString(name)
}

func suffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

// Verify refuses a plug-in that may not run, with a *Refusal. If there are pins, its SHA-256 must be one of them; else it
// must be the one that is trusted.
func (p Place) Verify(f Found, pins []string) error {
	if what := unsafe(f.Path); what != "" {
		return &Refusal{Reason: Unsafe, Found: f, What: what}
	}
	sum, err := Sum(f.Path)
	if err != nil {
		return &Refusal{Reason: Unsafe, Found: f, What: fmt.Sprintf("cannot be read: %v", err)}
	}
	if len(pins) > 0 {
		if slices.ContainsFunc(pins, func(p string) bool { return strings.EqualFold(p, sum) }) {
			return nil
		}
		return &Refusal{Reason: Changed, Found: f, Have: sum, Want: pins, Pinned: true}
	}
	trusted, err := p.trusted()
	if err != nil {
		return err
	}
	t, ok := trusted[f.Name]
	switch {
	case !ok:
		return &Refusal{Reason: Untrusted, Found: f, Have: sum}
	case t.SHA256 != sum:
		return &Refusal{Reason: Changed, Found: f, Have: sum, Want: []string{t.SHA256}, When: t.Time}
	}
	return nil
}

// Sum returns the SHA-256 of a file in hexadecimal.
func Sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Pins returns the checksums in the attribute sha256 of a provider's block: one text, or a list where there is a program
// for each kind of machine. An error wraps providers.Invalid.
func Pins(attribute any) ([]string, error) {
	var pins []string
	switch v := attribute.(type) {
	case nil:
		return nil, nil
	case string:
		pins = []string{v}
	case []any:
		for _, e := range v {
			s, _ := e.(string)
			pins = append(pins, s)
		}
	}
	for _, s := range pins {
		if b, err := hex.DecodeString(s); err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("attribute sha256: %w: %q is no SHA-256: 64 hexadecimal digits", providers.Invalid, s)
		}
	}
	if len(pins) == 0 {
		return nil, fmt.Errorf("attribute sha256: %w: it must be a text or a list of texts", providers.Invalid)
	}
	return pins, nil
}

// A Reason is why a plug-in may not run.
type Reason string

// The reasons.
const (
	Untrusted Reason = "untrusted" // nobody said that it may
	Changed   Reason = "changed"   // it is another than the one that may
	Unsafe    Reason = "unsafe"    // others can change it
)

// A Refusal says why a plug-in was not started.
type Refusal struct {
	Reason
	Found
	What   string   // of an Unsafe one
	Have   string   // its SHA-256
	Want   []string // those that may run
	Pinned bool     // Want comes from cluster.hcl
	When   string   // Want was trusted
}

// Error says it in a few sentences.
func (r *Refusal) Error() string {
	s := fmt.Sprintf("plug-in %s (%s) was not started: ", r.Name, r.Path)
	switch {
	case r.Reason == Unsafe:
		return s + r.What
	case r.Reason == Untrusted:
		return s + "nobody has said on this machine that it may run. Its SHA-256 is " + r.Have
	case r.Pinned:
		return s + "its SHA-256 is " + r.Have + ", and cluster.hcl asks for " + strings.Join(r.Want, " or ")
	}
	return s + "its SHA-256 is " + r.Have + "; the one that was trusted at " + r.When + " had " + r.Want[0]
}

// DiagnosticID returns which paragraph of docs/errors.md tells about it.
func (r *Refusal) DiagnosticID() string { return "plugin-" + string(r.Reason) }

// Advice says what to do.
func (r *Refusal) Advice() (string, []string) {
	switch {
	case r.Reason == Unsafe:
		return "Make it yours alone, and its folders, then run the same command again:", []string{"ls -ld " + r.Path + " " + filepath.Dir(r.Path)}
	case r.Pinned:
		return "Get the program that the team agreed on, or, if this one is meant to replace it, write its SHA-256 into the provider block.", nil
	}
	return "Compare the SHA-256 with what the plug-in's author says. It gets your credentials; if it is the one that you mean:",
		[]string{"provision providers trust " + r.Name}
}
