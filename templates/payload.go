package templates

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// A Payload is what `node-agent configure` reads on its standard input: all that one node must be told. It holds
// secrets, so it is piped and never stored or logged.
type Payload struct {
	Node  Node   `json:"node"`
	Files []File `json:"files"`
}

// A File is a file for a node to write.
type File struct {
	Path    string `json:"path"`    // absolute, below /etc/kubernetes or /etc/provision
	Mode    string `json:"mode"`    // octal permissions: "0600"
	Content []byte `json:"content"` // base64 in JSON
}

// Perm returns the file's permissions. The error names the file.
func (f File) Perm() (fs.FileMode, error) {
	m, err := strconv.ParseUint(f.Mode, 8, 32)
	if err != nil || m&^0o777 != 0 {
		return 0, fmt.Errorf("file %s: mode %q is not three octal digits", f.Path, f.Mode)
	}
	return fs.FileMode(m), nil
}

// Allowed reports whether a payload may write to the path: it is clean, absolute and below one of the two folders.
func Allowed(name string) bool {
	return path.Clean(name) == name && name != NodePath &&
		(strings.HasPrefix(name, "/etc/kubernetes/") || strings.HasPrefix(name, "/etc/provision/"))
}

// RenderPayload returns the payload as JSON.
func RenderPayload(p Payload) ([]byte, error) {
	p.Node.Schema = NodeSchema
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("render payload of %s: %w", p.Node.Name, err)
	}
	return append(b, '\n'), nil
}

// ParsePayload reads what RenderPayload wrote. Unknown fields, other schemas, paths that are not Allowed and paths that
// are there twice are errors. No error repeats a file's content.
func ParsePayload(b []byte) (Payload, error) {
	var p Payload
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Payload{}, fmt.Errorf("parse payload: %w", err)
	}
	if p.Node.Schema != NodeSchema {
		return Payload{}, fmt.Errorf("parse payload: node has schema %d, this program knows %d", p.Node.Schema, NodeSchema)
	}
	seen := map[string]bool{}
	for _, f := range p.Files {
		if !Allowed(f.Path) {
			return Payload{}, fmt.Errorf("parse payload: file %q is not below /etc/kubernetes or /etc/provision", f.Path)
		}
		if seen[f.Path] {
			return Payload{}, fmt.Errorf("parse payload: file %q is there twice", f.Path)
		}
		seen[f.Path] = true
		if _, err := f.Perm(); err != nil {
			return Payload{}, fmt.Errorf("parse payload: %w", err)
		}
	}
	return p, nil
}
