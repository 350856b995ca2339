package bootstrap

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/bootstrap/scout"
	"github.com/provisionhq/provision/bootstrap/ssh"
)

// Programs are what is uploaded to every node of one architecture. One value is shared by all targets: its files are
// read by each upload for itself, their checksums once.
type Programs struct {
	Agent    *ssh.Source
	Bundle   *ssh.Source
	Manifest *bundle.Manifest

	spread *distribution // hands them on from machine to machine; nil: all are sent from here
}

// A Program is one that some machines get beside those of all.
type Program struct {
	Path   string // on the machine
	Source *ssh.Source
}

// LoadPrograms opens the node agent and the bundle. It reads little of them. If there is a scout beside the agent, machines
// hand them on to each other on their own network: then each is sent from here once, or twice if a machine is lost.
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
	p := &Programs{Agent: a, Bundle: s, Manifest: b.Manifest}
	small, err := ssh.FromFile(filepath.Join(filepath.Dir(agent), scout.Program))
	switch {
	case err == nil:
		p.Spread(small)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return p, nil
}

// Spread makes machines hand the programs on to each other by means of the scout, from now on.
func (p *Programs) Spread(program *ssh.Source) { p.spread = newDistribution(program) }
