package autoscaler

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

// invitationLife is how long a machine may take from being asked for to its node's certificate: as long as Karpenter waits.
const invitationLife = 15 * time.Minute

// host invites machines to the cluster of the control-plane node that it runs on.
type host struct {
	root   string // of the node's file system
	client kubernetes.Interface
}

// basis is the part of an invitation that all machines share: what this very node is made of.
func (h host) basis() (templates.Invitation, error) {
	raw, err := os.ReadFile(filepath.Join(h.root, templates.NodePath))
	if err != nil {
		return templates.Invitation{}, err
	}
	n, err := templates.ParseNode(raw)
	if err != nil {
		return templates.Invitation{}, err
	}
	ca, err := os.ReadFile(filepath.Join(h.root, pki.ClusterCA.File()))
	if err != nil {
		return templates.Invitation{}, err
	}
	sum, err := checksum(filepath.Join(h.root, templates.AgentPath))
	if err != nil {
		return templates.Invitation{}, err
	}
	i := templates.Invitation{Cluster: n.Cluster, UID: n.UID, CA: string(bytes.TrimSpace(ca)), Agent: sum, Bundle: n.Bundle}
	for _, e := range n.Endpoints {
		address, _, err := net.SplitHostPort(e)
		if err != nil {
			return templates.Invitation{}, err
		}
		i.Servers = append(i.Servers, net.JoinHostPort(address, strconv.Itoa(templates.WelcomePort)))
	}
	return i, nil
}

func checksum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// bundle is what new nodes run.
func (h host) bundle() (string, error) {
	raw, err := os.ReadFile(filepath.Join(h.root, templates.NodePath))
	if err != nil {
		return "", err
	}
	n, err := templates.ParseNode(raw)
	return n.Bundle, err
}

// invite makes a token for a machine and returns its user data. A token that it had before is of no use any more.
func (h host) invite(ctx context.Context, machine string) ([]byte, string, error) {
	i, err := h.basis()
	if err != nil {
		return nil, "", err
	}
	t, err := pki.NewToken()
	if err != nil {
		return nil, "", err
	}
	t.ID, i.Name, i.Expires = tokenID(machine), machine, time.Now().Add(invitationLife)
	i.Token = t.Clear()
	// Karpenter takes it away when it has given the node all that pods look for.
	i.Taints = []templates.Taint{{Key: karpv1.UnregisteredTaintKey, Effect: string(corev1.TaintEffectNoExecute)}}
	data, err := templates.RenderUserData(i)
	if err != nil {
		return nil, "", err
	}
	manifest, err := templates.RenderToken(templates.Token{ID: t.ID, Secret: t.Secret, Node: machine, Expires: i.Expires, Bound: true})
	if err != nil {
		return nil, "", err
	}
	secret := &corev1.Secret{}
	if err := yaml.Unmarshal(manifest, secret); err != nil {
		return nil, "", err
	}
	if err := h.revoke(ctx, machine); err != nil {
		return nil, "", err
	}
	_, err = h.client.CoreV1().Secrets(secret.Namespace).Create(ctx, secret, metav1.CreateOptions{})
	return data, i.Bundle, err
}

// revoke deletes a machine's token, used or not.
func (h host) revoke(ctx context.Context, machine string) error {
	err := h.client.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, "bootstrap-token-"+tokenID(machine), metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete the token of %s: %w", machine, err)
	}
	return nil
}

// tokenID is the public part of a machine's token. It follows from the name, so that a token can be deleted without a right to read any.
func tokenID(machine string) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	sum := sha256.Sum256([]byte(machine))
	var id strings.Builder
	for _, b := range sum[:6] {
		id.WriteByte(letters[int(b)%len(letters)])
	}
	return id.String()
}
