package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/templates"
)

// The add-ons of every cluster.
const (
	rolesAddon   = "roles"
	policyAddon  = "network-policy-guard"
	dnsAddon     = "coredns"
	metricsAddon = "metrics-server"
	cloudAddon   = "cloud-agent"
	storageAddon = "storage"
)

// addonManifests renders the cluster's add-ons, by name.
func (e *Engine) addonManifests() (map[string][]byte, error) {
	dns := templates.CoreDNS{
		Image: e.image("coredns"), Address: plan.DNS(e.Cluster), Domain: e.Cluster.Network.Domain, Replicas: dnsReplicas(e.Cluster),
	}
	all := map[string]func() ([]byte, error){
		rolesAddon:  templates.RenderRBAC,
		policyAddon: templates.RenderNetworkPolicyGuard,
		dnsAddon:    func() ([]byte, error) { return templates.RenderCoreDNS(dns) },
		metricsAddon: func() ([]byte, error) {
			return templates.RenderMetricsServer(templates.MetricsServer{Image: e.image("metrics-server")})
		},
	}
	c := e.nodeCloud()
	if c != nil {
		all[cloudAddon] = templates.RenderCloudAgent
	}
	if c != nil && c.Volumes {
		storage := templates.Storage{Vendor: c.Vendor, Snapshots: e.Provider.Caps().Snapshots}
		all[storageAddon] = func() ([]byte, error) { return templates.RenderStorage(storage) }
	}
	out := map[string][]byte{}
	for name, render := range all {
		b, err := render()
		if err != nil {
			return nil, err
		}
		out[name] = b
	}
	return out, nil
}

// dnsReplicas is one on a single machine and two where they can be on different ones.
func dnsReplicas(c *config.Cluster) int { return min(2, c.Machines()) }

// image finds the bundle's image of that program.
func (e *Engine) image(program string) string {
	for _, i := range e.programs.Manifest.Images {
		if strings.Contains(i.Name, "/"+program+":") {
			return i.Name
		}
	}
	return ""
}

// addonHashes are the hashes that a plan compares.
func addonHashes(manifests map[string][]byte) map[string]string {
	hs := map[string]string{}
	for name, b := range manifests {
		sum := sha256.Sum256(b)
		hs[name] = hex.EncodeToString(sum[:8])
	}
	return hs
}

// roles applies the roles that joining needs, and one token for each new node, in one call.
func (e *Engine) roles(ctx context.Context, names tokens) error {
	if len(names) == 0 {
		return nil
	}
	docs := [][]byte{e.manifests[rolesAddon]}
	if b, ok := e.manifests[cloudAddon]; ok { // before the first node, which takes no pods until the agent has looked at it
		docs = append(docs, b)
	}
	for _, name := range names.names() {
		t := names[name]
		b, err := templates.RenderToken(templates.Token{ID: t.ID, Secret: t.Secret, Node: name, Expires: time.Now().Add(tokenLife)})
		if err != nil {
			return err
		}
		docs = append(docs, b)
	}
	k, err := e.kube(ctx)
	if err != nil {
		return err
	}
	return k.apply(ctx, bytes.Join(docs, []byte("\n---\n")))
}

// applyAddons applies the add-ons that the plan changes, and notes what was applied, in one call.
func (e *Engine) applyAddons(ctx context.Context, names []string) error {
	var docs [][]byte
	hashes := maps.Clone(e.world.Addons)
	if hashes == nil {
		hashes = map[string]string{}
	}
	for _, n := range slices.Sorted(slices.Values(names)) {
		docs = append(docs, e.manifests[n])
		hashes[n] = e.want.Addons[n]
	}
	k, err := e.kube(ctx)
	if err != nil {
		return err
	}
	if err := k.apply(ctx, bytes.Join(docs, []byte("\n---\n"))); err != nil {
		return diag.Wrap(err, diag.AddonFailed, "The add-ons %s were not applied: %s.", strings.Join(names, ", "), firstLine(err))
	}
	rec, err := record(hashes)
	if err != nil {
		return err
	}
	if err := k.apply(ctx, rec); err != nil {
		return fmt.Errorf("note which add-ons were applied: %w", err)
	}
	return nil
}

// newTokens makes one token per name.
func newTokens(names []string) (tokens, error) {
	ts := tokens{}
	for _, n := range names {
		t, err := pki.NewToken()
		if err != nil {
			return nil, err
		}
		ts[n] = t
	}
	return ts, nil
}
