package bootstrap

import (
	"fmt"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/bootstrap/ssh"
)

// Programs are what is uploaded to every node of one architecture. One value is shared by all targets: its files are
// read by each upload for itself, their checksums once.
type Programs struct {
	Agent    *ssh.Source
	Bundle   *ssh.Source
	Manifest *bundle.Manifest
}

// LoadPrograms opens the node agent and the bundle. It reads little of them.
func LoadPrograms(agent, path string) (*Programs, error) {
	a, err := ssh.FromFile(agent)
	if err != nil {
		return nil, fmt.Errorf("node agent: %w", err)
	}
	b, err := bundle.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := ssh.FromFile(path)
	if err != nil {
		return nil, err
	}
	return &Programs{Agent: a, Bundle: s, Manifest: b.Manifest}, nil
}
