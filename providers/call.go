package providers

import (
	"fmt"
	"strings"
)

// A Noun is what a kind of object is called: in the tag KindTag, in addresses, options and traces.
type Noun string

// The kinds of objects.
const (
	NetworkNoun  Noun = "network"
	MachineNoun  Noun = "machine"
	BalancerNoun Noun = "balancer"
	VolumeNoun   Noun = "volume"
	SnapshotNoun Noun = "snapshot"
	AccountNoun  Noun = "account" // of the one who asks: no object, and only checked
)

// Nouns returns every Noun, each after those that its objects can refer to.
func Nouns() []Noun {
	return []Noun{NetworkNoun, MachineNoun, BalancerNoun, VolumeNoun, SnapshotNoun}
}

// A Verb is what can be done with a kind of object.
type Verb string

// The verbs. The first five are of every kind of object.
const (
	CreateVerb Verb = "create"
	GetVerb    Verb = "get"
	ListVerb   Verb = "list"
	DeleteVerb Verb = "delete"
	UpdateVerb Verb = "update"
	TypesVerb  Verb = "types"
	AttachVerb Verb = "attach"
	DetachVerb Verb = "detach"
	ResizeVerb Verb = "resize"
	CheckVerb  Verb = "check"
)

// Verbs returns what can be done with objects of the kind; nil for a kind that there is not.
func (n Noun) Verbs() []Verb {
	all := []Verb{CreateVerb, GetVerb, ListVerb, DeleteVerb, UpdateVerb}
	switch n {
	case NetworkNoun, SnapshotNoun, BalancerNoun:
		return all
	case MachineNoun:
		return append(all, TypesVerb)
	case AccountNoun:
		return []Verb{CheckVerb}
	case VolumeNoun:
		return append(all, AttachVerb, DetachVerb, ResizeVerb)
	}
	return nil
}

// Reads says whether the verb changes nothing.
func (v Verb) Reads() bool { return v == GetVerb || v == ListVerb || v == TypesVerb || v == CheckVerb }

// A Call is one call of a provider as wrappers and traces see it.
type Call struct {
	Noun  Noun
	Verb  Verb
	Owner Owner  // of the spec, or the one that List was asked for
	Name  string // of the spec
	ID    ID     // the object that the call is about; for Create, the one that it returned
}

// String names the call in few words: "create machine demo/demo-cp-0".
func (c Call) String() string {
	words := []string{string(c.Verb), string(c.Noun)}
	if c.Owner != "" || c.Name != "" {
		words = append(words, Key{c.Owner, c.Name}.String())
	}
	if c.ID != "" {
		words = append(words, string(c.ID))
	}
	return strings.Join(words, " ")
}

// A Key is what identifies an object of a kind: whose it is and its name.
type Key struct {
	Owner Owner
	Name  string
}

// String returns owner/name.
func (k Key) String() string { return strings.TrimSuffix(string(k.Owner)+"/"+k.Name, "/") }

// Validate returns an error that wraps Invalid unless owner and name are DNS labels and the name has at most maxLen
// letters; 0 means 63.
func (k Key) Validate(maxLen int) error {
	if maxLen == 0 {
		maxLen = 63
	}
	if !label(string(k.Owner)) {
		return fmt.Errorf("owner %q: %w: it must be a DNS label", k.Owner, Invalid)
	}
	if !label(k.Name) {
		return fmt.Errorf("name %q: %w: it must be a DNS label", k.Name, Invalid)
	}
	if len(k.Name) > maxLen {
		return fmt.Errorf("name %q: %w: it has %d letters, at most %d are accepted", k.Name, Invalid, len(k.Name), maxLen)
	}
	return nil
}

// label says whether s is a DNS label as RFC 1123 has it, in lower case.
func label(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// Key identifies the network.
func (s NetworkSpec) Key() Key { return Key{s.Owner, s.Name} }

// Key identifies the machine.
func (s MachineSpec) Key() Key { return Key{s.Owner, s.Name} }

// Key identifies the balancer.
func (s LoadBalancerSpec) Key() Key { return Key{s.Owner, s.Name} }

// Key identifies the volume.
func (s VolumeSpec) Key() Key { return Key{s.Owner, s.Name} }

// Key identifies the snapshot.
func (s SnapshotSpec) Key() Key { return Key{s.Owner, s.Name} }

// GetMeta returns m. It lets generic code read what every object has.
func (m Meta) GetMeta() Meta { return m }

// A Described is a spec: it knows which object it describes.
type Described interface{ Key() Key }

// An Identified is an object: it has a Meta.
type Identified interface{ GetMeta() Meta }
