package bootstrap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

// configure tells the machine which node it is, and gives it its files.
func configure() Phase {
	return Phase{Name: "configure", Done: configured, Do: doConfigure}
}

// configured compares checksums of what is there with those of what is wanted.
func configured(ctx context.Context, t *Target) (bool, error) {
	f, err := t.gatherNode(ctx)
	if err != nil {
		return false, err
	}
	node, err := templates.RenderNode(t.Node)
	if err != nil || f.Files[templates.NodePath] != checksum(node) {
		return false, err
	}
	for _, file := range t.Files {
		if f.Files[file.Path] != checksum(file.Content) {
			return false, nil
		}
	}
	return true, nil
}

func doConfigure(ctx context.Context, t *Target) error {
	files, err := t.founding(ctx)
	if err != nil {
		return err
	}
	payload, err := templates.RenderPayload(templates.Payload{Node: t.Node, Files: files})
	if err != nil {
		return err
	}
	c := ssh.Command{Line: ssh.Quote(templates.AgentPath, "configure"), Stdin: bytes.NewReader(payload)}
	if _, err := t.Host.Run(ctx, c); err != nil {
		return named(err, "node-agent configure")
	}
	node, err := templates.RenderNode(t.Node)
	if err != nil {
		return err
	}
	t.change(func(f *Facts) {
		f.Files[templates.NodePath] = checksum(node)
		for _, file := range t.Files {
			f.Files[file.Path] = checksum(file.Content)
		}
	})
	return nil
}

// founding returns the target's files, and for a bare machine whose node founds the cluster's etcd the order to do so. It is
// given once: a node that has lost its data must not found another cluster.
func (t *Target) founding(ctx context.Context) ([]templates.File, error) {
	if t.Node.Role != templates.ControlPlane || t.JoinEtcd {
		return t.Files, nil
	}
	f, err := t.gatherNode(ctx)
	if err != nil || f.Node != nil {
		return t.Files, err
	}
	order, err := templates.RenderFounding(t.Node.Etcd)
	return append(slices.Clone(t.Files), order), err
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
