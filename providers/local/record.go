//go:build linux

package local

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// recordSchema is the version of the records' form.
const recordSchema = 1

// A record is what is known of an object beyond its Spec. It is written before anything of the object is made.
type record[Spec any] struct {
	Schema   int          `json:"schema"`
	ID       providers.ID `json:"id"`
	Complete bool         `json:"complete"`           // Create reached its end once
	Deleting bool         `json:"deleting,omitempty"` // Delete has begun; only Delete may follow
	Spec     Spec         `json:"spec"`

	CIDR     netip.Prefix `json:"cidr,omitzero"`       // network: what it has; machine and balancer: their network's
	Address  netip.Addr   `json:"address,omitzero"`    // machine and balancer
	Next     netip.Addr   `json:"next,omitzero"`       // machine: the address that it is about to get, or has just got
	HostKeys []string     `json:"host_keys,omitempty"` // machine
	Program  string       `json:"program,omitempty"`   // machine and balancer: name of the file in bin
	Door     string       `json:"door,omitempty"`      // machine: name of the file in bin that is its door; empty: it has none
	Netns    string       `json:"netns,omitempty"`     // machine and balancer: where their network's namespace is mounted
	Layers   []string     `json:"layers,omitempty"`    // machine: folders of the host that its root shows, "/" first
	Revision int          `json:"revision,omitempty"`  // balancer: how often the spec was changed

	Machine     providers.ID `json:"machine,omitempty"`      // volume: where it is attached
	SizeGiB     int          `json:"size_gib,omitempty"`     // snapshot: its volume's at that moment
	CreatedUnix int64        `json:"created_unix,omitempty"` // snapshot: that moment

	Former []netip.Prefix `json:"former,omitempty"` // network: ranges that it had before, in which something still has an address
}

type (
	networkRecord  = record[providers.NetworkSpec]
	machineRecord  = record[providers.MachineSpec]
	balancerRecord = record[providers.LoadBalancerSpec]
	volumeRecord   = record[providers.VolumeSpec]
	snapshotRecord = record[providers.SnapshotSpec]
)

// dir is the folder of one object.
func (p *Provider) dir(n providers.Noun, k providers.Key) string {
	return filepath.Join(p.folder, string(k.Owner), string(n)+"s", k.Name)
}

// newID returns an ID that no other object ever had.
func newID(k providers.Key) providers.ID {
	b := make([]byte, 5)
	rand.Read(b)
	return providers.ID(k.String() + "/" + hex.EncodeToString(b))
}

// keyOf returns whose object the ID names; false if it cannot be an ID of ours.
func keyOf(id providers.ID) (providers.Key, bool) {
	f := strings.Split(string(id), "/")
	if len(f) != 3 {
		return providers.Key{}, false
	}
	k := providers.Key{Owner: providers.Owner(f[0]), Name: f[1]}
	return k, k.Validate(0) == nil
}

// load reads the record of an object; nil without an error if there is none.
func load[S any](dir string) (*record[S], error) {
	b, err := os.ReadFile(filepath.Join(dir, "record.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(record[S])
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read %s/record.json: %w", dir, err)
	}
	if r.Schema != recordSchema {
		return nil, fail(providers.Unsupported, "%s/record.json has schema %d, this program knows %d", dir, r.Schema, recordSchema)
	}
	return r, nil
}

// save writes the record so that it is either the old or the new one whenever this process dies.
func (r *record[S]) save(dir string) error {
	r.Schema = recordSchema
	return writeJSON(filepath.Join(dir, "record.json"), r)
}

// eraseDir removes an object's folder, its record last: as long as anything is left, List has the object.
func eraseDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "record.json" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// byID loads the object of the ID; nil if there is none of exactly that ID.
func byID[S any](p *Provider, n providers.Noun, id providers.ID) (*record[S], error) {
	k, ok := keyOf(id)
	if !ok {
		return nil, nil
	}
	r, err := load[S](p.dir(n, k))
	if err != nil || r == nil || r.ID != id {
		return nil, err
	}
	return r, nil
}

// records loads all records of the kind, of one owner, or of all if the owner is empty; sorted by owner and name.
func records[S any](p *Provider, n providers.Noun, o providers.Owner) ([]*record[S], error) {
	if o == "" {
		o = "*"
	} else if (providers.Key{Owner: o, Name: "any"}).Validate(0) != nil {
		return nil, nil
	}
	dirs, err := filepath.Glob(filepath.Join(globQuote(p.folder), string(o), string(n)+"s", "*"))
	if err != nil {
		return nil, err
	}
	var rs []*record[S]
	for _, d := range dirs {
		r, err := load[S](d)
		if err != nil {
			return nil, err
		}
		if r != nil {
			rs = append(rs, r)
		}
	}
	return rs, nil
}

// globQuote makes a pattern that matches just the path.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// writeJSON writes the file in one step.
func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(b, '\n'), 0o600)
}

// writeFile writes the file in one step, with its folder.
func writeFile(path string, b []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if filepath.Base(path) == "record.json" {
		err = errors.Join(err, f.Sync()) // it must be whole after the host's power failed, too
	}
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
