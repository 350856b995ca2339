package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Schema is the version of a bundle's format that this package reads and writes.
const Schema = 1

// ManifestName is the name of a bundle's first entry, and of the same file in the folder that it is unpacked to.
const ManifestName = "manifest.json"

// A Manifest says what a bundle holds.
type Manifest struct {
	Schema     int         `json:"schema"`
	ID         string      `json:"id"`         // SHA-256 of the manifest without its ID, so of all content
	Kubernetes string      `json:"kubernetes"` // version: v1.37.2
	Arch       string      `json:"arch"`       // as Go names it: amd64, arm64
	Components []Component `json:"components"`
	Files      []File      `json:"files"` // in the order of the archive
	Images     []Image     `json:"images"`
}

// A Component is a program that somebody released under a version of its own.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Module  string `json:"module"`  // the Go module it was built from
	Licence string `json:"licence"` // SPDX identifier
}

// A File is one file of a bundle. Paths are relative, with slashes.
type File struct {
	Path   string   `json:"path"`
	Size   int64    `json:"size"`
	SHA256 string   `json:"sha256"`
	Mode   uint32   `json:"mode"`            // permission bits
	Links  []string `json:"links,omitempty"` // symbolic links to make to the file: bin/kubelet
}

// An Image is a container image among the files: an OCI archive with uncompressed layers.
type Image struct {
	Name   string `json:"name"`   // registry.k8s.io/pause:3.10.2
	Path   string `json:"path"`   // the file that holds it
	Digest string `json:"digest"` // of the image's manifest: sha256:…
	First  bool   `json:"first"`  // to be imported before the kubelet starts
}

// Load reads the manifest of a bundle that has been unpacked to dir.
func Load(dir string) (*Manifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, err
	}
	m, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", ManifestName, dir, err)
	}
	return m, nil
}

// Parse reads a manifest and checks that it is whole and that its paths stay inside a folder.
func Parse(data []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, err
	}
	if m.Schema != Schema {
		return nil, fmt.Errorf("bundle has format %d, this program reads format %d", m.Schema, Schema)
	}
	if m.ID != m.identity() {
		return nil, errors.New("manifest does not match its ID")
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// Seal sets the ID from everything else and returns the manifest as it is stored.
func (m *Manifest) Seal() ([]byte, error) {
	m.Schema = Schema
	if err := m.check(); err != nil {
		return nil, err
	}
	m.ID = m.identity()
	data, err := json.MarshalIndent(m, "", "  ")
	return append(data, '\n'), err
}

// Lookup finds a file by its path or by one of its links.
func (m *Manifest) Lookup(name string) (File, bool) {
	for _, f := range m.Files {
		if f.Path == name || slices.Contains(f.Links, name) {
			return f, true
		}
	}
	return File{}, false
}

// Size is the sum of the files' sizes in bytes, unpacked.
func (m *Manifest) Size() int64 {
	var sum int64
	for _, f := range m.Files {
		sum += f.Size
	}
	return sum
}

func (m *Manifest) identity() string {
	bare := *m
	bare.ID = ""
	data, err := json.Marshal(bare)
	if err != nil {
		panic(err) // plain data always marshals
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// check refuses what could not be unpacked faithfully: paths that leave the folder, names used twice, names that are a
// folder and a file at once, nonsense sizes and modes.
func (m *Manifest) check() error {
	seen := map[string]bool{ManifestName: true}
	for _, f := range m.Files {
		for _, name := range append([]string{f.Path}, f.Links...) {
			if !local(name) {
				return fmt.Errorf("path %q leaves the folder or is not plain", name)
			}
			if seen[name] {
				return fmt.Errorf("path %q is there twice", name)
			}
			seen[name] = true
		}
		if f.Size < 0 || f.Mode&^0o777 != 0 || len(f.SHA256) != 2*sha256.Size {
			return fmt.Errorf("file %q has an impossible size, mode or checksum", f.Path)
		}
	}
	for name := range seen {
		for dir := parent(name); dir != ""; dir = parent(dir) {
			if seen[dir] {
				return fmt.Errorf("path %q is a file and a folder", dir)
			}
		}
	}
	return nil
}

// local reports whether name is a clean relative path below the current folder, made of slashes on every system.
func local(name string) bool {
	return fs.ValidPath(name) && name != "." && !strings.ContainsAny(name, "\\\x00")
}

func parent(name string) string {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ""
	}
	return name[:i]
}

func (f File) mode() fs.FileMode { return fs.FileMode(f.Mode) & fs.ModePerm }
