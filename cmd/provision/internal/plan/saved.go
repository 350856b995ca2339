package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// Format is what a saved plan's first field says.
const Format = "provision plan"

// A Saved is a plan as it is kept in a file, with all that has to be as it was for the plan to be executed. It holds
// no secrets.
type Saved struct {
	Format  string   `json:"format"`
	Schema  int      `json:"schema"`
	Program string   `json:"program"` // version of provision that made it
	Verb    string   `json:"verb"`    // "apply" or "destroy"
	UID     string   `json:"uid"`     // of the cluster; empty if it had no state yet
	File    string   `json:"file"`    // the cluster's file, as a path from the plan's folder
	Config  string   `json:"config"`  // digest of what the file says, without what is secret
	Only    []string `json:"only,omitempty"`
	Keep    []Kind   `json:"keep,omitempty"`
	Replace []string `json:"replace,omitempty"`
	Accept  []string `json:"accept,omitempty"`
	State   *Place   `json:"state,omitempty"` // where the state is, if flags or the environment said so
	Records int      `json:"records"`         // of the journal when it was made: two plans of the same words are two
	Plan    *Plan    `json:"plan"`
	Sum     string   `json:"sum"` // SHA-256 of the document with an empty sum: finds damage and edits by hand
}

// A Place is where a cluster's state is: a folder or a URL, as an absolute path and without credentials.
type Place struct {
	Folder string `json:"folder,omitempty"`
	URL    string `json:"url,omitempty"`
}

// IsSaved says whether a file that begins so is a saved plan.
func IsSaved(b []byte) bool {
	var head struct {
		Format string `json:"format"`
	}
	if json.Unmarshal(b, &head) == nil {
		return head.Format == Format
	}
	return bytes.HasPrefix(bytes.TrimSpace(b), []byte(`{`)) && bytes.Contains(b[:min(len(b), 200)], []byte(Format))
}

// Encode returns the document of a saved plan.
func (s Saved) Encode() ([]byte, error) {
	s.Format, s.Schema, s.Sum = Format, Schema, ""
	sum, err := s.digest()
	if err != nil {
		return nil, err
	}
	s.Sum = sum
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

func (s Saved) digest() (string, error) {
	s.Sum = ""
	b, err := json.Marshal(s)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), err
}

// ID names the plan: its sum, abbreviated.
func (s Saved) ID() string { return short(s.Sum) }

// Errors of DecodeSaved.
var (
	ErrDamaged = errors.New("its sum does not fit: it is damaged, or was edited by hand")
	ErrNewer   = errors.New("it was made by a newer program")
)

// DecodeSaved reads what Encode wrote.
func DecodeSaved(b []byte) (Saved, error) {
	var head struct{ Schema int }
	if err := json.Unmarshal(b, &head); err != nil {
		return Saved{}, fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	if head.Schema != Schema {
		return Saved{}, fmt.Errorf("%w: its schema is %d, this program knows %d", ErrNewer, head.Schema, Schema)
	}
	var s Saved
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Saved{}, fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	if sum, err := s.digest(); err != nil || sum != s.Sum || s.Plan == nil {
		return Saved{}, ErrDamaged
	}
	return s, nil
}

// same compares all but the words and the places.
func same(a, b Change) bool {
	return a.Action == b.Action && a.Kind == b.Kind && a.Name == b.Name && a.ID == b.ID && slices.Equal(a.Fields, b.Fields)
}

func describe(c Change) string {
	var fs []string
	for _, f := range c.Fields {
		fs = append(fs, fmt.Sprintf("%s: %s → %s", f.Name, f.From, f.To))
	}
	of := ""
	if c.ID != "" {
		of = " of " + c.ID
	}
	if len(fs) == 0 {
		return fmt.Sprintf("%s%s (%s)", c.Action, of, c.Reason)
	}
	return fmt.Sprintf("%s%s (%s)", c.Action, of, strings.Join(fs, ", "))
}

func byAddress(p *Plan) map[string]Change {
	m := make(map[string]Change, len(p.Changes))
	for _, c := range p.Changes {
		m[c.Address] = c
	}
	return m
}

func keysOf(ms ...map[string]Change) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for _, m := range ms {
			for k := range m {
				if !seen[k] {
					seen[k] = true
					if !yield(k) {
						return
					}
				}
			}
		}
	}
}

// located is a value of a provider's attribute without the folder that the file is in.
func located(v any, dir string) any {
	switch v := v.(type) {
	case string:
		return strings.TrimPrefix(v, dir+"/")
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = located(v[i], dir)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for k := range v {
			m[k] = located(v[k], dir)
		}
		return m
	}
	return v
}

// Digest names what a file says, without its places and what is secret. Of a file that was read by its absolute path it does not
// depend on where that is.
func Digest(c *config.Cluster) (string, error) {
	d := *c
	d.File, d.Ranges = "", nil
	d.Provider.Range, d.Provider.Attributes = diag.Range{}, map[string]any{}
	for k, v := range c.Provider.Attributes {
		if !slices.Contains(c.Provider.Sensitive, k) {
			d.Provider.Attributes[k] = located(v, filepath.ToSlash(filepath.Dir(c.Provider.Range.File)))
		}
	}
	d.ControlPlane.Range = diag.Range{}
	d.Pools = slices.Clone(c.Pools)
	for i := range d.Pools {
		d.Pools[i].Range = diag.Range{}
	}
	b, err := json.Marshal(d)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), err
}
