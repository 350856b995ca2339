package nodeagent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/templates"
)

// configure writes what the payload holds, below root, and returns the paths that changed. A node of another cluster is
// refused: two clusters' keys in one folder would be neither's.
func configure(root string, in io.Reader) ([]string, error) {
	raw, err := io.ReadAll(io.LimitReader(in, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("read payload: %w", err)
	}
	p, err := templates.ParsePayload(raw)
	if err != nil {
		return nil, err
	}
	if err := check(p.Node); err != nil {
		return nil, err
	}
	nodePath := filepath.Join(root, templates.NodePath)
	if err := sameCluster(nodePath, p.Node); err != nil {
		return nil, err
	}
	node, err := templates.RenderNode(p.Node)
	if err != nil {
		return nil, err
	}
	changed := []string{}
	// node.json comes last: it says that everything else is here.
	for _, f := range append(p.Files, templates.File{Path: templates.NodePath, Mode: "0600", Content: node}) {
		did, err := put(filepath.Join(root, f.Path), f)
		if err != nil {
			return changed, err
		}
		if did {
			changed = append(changed, f.Path)
		}
	}
	return changed, nil
}

// check refuses a node that could not run.
func check(n templates.Node) error {
	switch {
	case n.Cluster == "" || n.UID == "" || n.Name == "" || n.Bundle == "":
		return errors.New("payload: node has no cluster, UID, name or bundle")
	case n.Role != templates.ControlPlane && n.Role != templates.Worker:
		return fmt.Errorf("payload: node has the unknown role %q", n.Role)
	case !n.Address.IsValid() || !n.Pods.IsValid() || !n.Services.IsValid() || !n.DNS.IsValid() || len(n.Endpoints) == 0:
		return errors.New("payload: node has no address, ranges, DNS or endpoints")
	case n.Role != templates.ControlPlane && n.Welcome:
		return errors.New("payload: only a control-plane node has what invited machines need")
	case n.Role == templates.ControlPlane && len(n.Etcd) == 0:
		return errors.New("payload: a control-plane node needs members of etcd")
	}
	return nil
}

func sameCluster(path string, want templates.Node) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var have struct{ Cluster, UID, Name string }
	if json.Unmarshal(old, &have) != nil || have.UID == want.UID && have.Name == want.Name {
		return nil // a damaged file is written anew
	}
	return fmt.Errorf("this machine is node %s of cluster %s (%s) already; node-agent reset makes it free", have.Name, have.Cluster, have.UID)
}

// put writes a file and reports whether it had to.
func put(path string, f templates.File) (bool, error) {
	mode, err := f.Perm()
	if err != nil {
		return false, err
	}
	old, err := os.ReadFile(path)
	same := err == nil && bytes.Equal(old, f.Content)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, err
	}
	return !same, supervisor.WriteFile(path, f.Content, mode)
}

// runConfigure is the command: it configures the machine and tells the agent, if one runs.
func runConfigure(ctx context.Context, in io.Reader, out io.Writer) error {
	changed, err := configure("/", in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := tell(ctx, http.MethodPost, "/reload"); err != nil && !errors.Is(err, errNotRunning) {
		return fmt.Errorf("tell the node agent: %w", err)
	}
	return json.NewEncoder(out).Encode(map[string][]string{"changed": changed})
}
