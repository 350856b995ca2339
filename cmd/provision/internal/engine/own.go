package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/provisionhq/provision/bootstrap"
	host "github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/templates"
)

// own makes sure that the cluster at the vendor is the one that the state is about. Where the state was lost it takes the
// cluster's UID from its objects and its secrets from its control plane; nothing is restarted for that.
func (e *Engine) own(ctx context.Context) error {
	uid := e.vendorUID()
	switch {
	case uid == "" || uid == e.State.UID():
	case !e.State.Exists():
		if err := e.adopt(uid); err != nil {
			return err
		}
	case e.nothingMade() && e.ReadOnly:
		e.want.UID, e.secrets = uid, nil
	case e.nothingMade():
		return &LateError{UID: uid}
	}
	if err := e.checkOwner(); err != nil {
		return err
	}
	e.world.Keys = plan.HaveKeys
	if e.secrets != nil {
		return nil
	}
	e.world.Keys = plan.NoKeys
	if uid == "" || !e.want.Nodes {
		return nil
	}
	s, err := e.recover(ctx)
	if err != nil || s == nil {
		return err
	}
	e.secrets, e.world.Keys = s, plan.RecoverKeys
	return nil
}

// A LateError says that the cluster was there already, with another UID, while the state at hand is new: nothing was made with
// it. That happens where a state was lost and the vendor's lists did not show yet what another command had made. The new
// state is of no use and can be removed; the next look takes the cluster's own UID over. It changes nothing.
type LateError struct {
	UID string        // the cluster's own
	Lag time.Duration // how long it may take until the vendor's lists show everything; 0 if they do
}

func (e *LateError) Error() string {
	return "the cluster is there already, with the UID " + e.UID + ", and the vendor's lists did not show it"
}

// DiagnosticID makes it a diagnostic of its own.
func (e *LateError) DiagnosticID() string { return string(diag.StateForeign) }

// Advice says how to go on.
func (e *LateError) Advice() (string, []string) {
	return "Put the state back that made it, if you have it. If it is lost, wait until the vendor's lists show everything, a minute at most, and run the same command again: it takes the cluster over.", nil
}

// nothingMade says whether no object is known that was made with this state.
func (e *Engine) nothingMade() bool { return len(e.remember().ids()) == 0 }

// elses says whether what a create returned is of another cluster of this name: one whose lists were late.
func (e *Engine) elses(m providers.Meta) error {
	if uid := m.Tags[plan.UIDTag]; uid != "" && uid != e.want.UID && !e.remember().ids()[m.ID] {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.late = &LateError{UID: uid, Lag: e.Provider.Caps().Lag}
		return e.late
	}
	return nil
}

// Late says whether Apply found a cluster that the vendor's lists had not shown, and had nothing made before.
func (e *Engine) Late() *LateError {
	e.mu.Lock()
	late := e.late
	e.mu.Unlock()
	if late == nil || !e.nothingMade() {
		return nil
	}
	return late
}

// vendorUID is the UID that the cluster's objects bear; empty if it has none.
func (e *Engine) vendorUID() string {
	if e.mixed {
		return e.State.UID()
	}
	for _, n := range e.world.Networks {
		if u := n.Tags[plan.UIDTag]; u != "" {
			return u
		}
	}
	for _, m := range e.world.Machines {
		if u := m.Tags[plan.UIDTag]; u != "" {
			return u
		}
	}
	return ""
}

// adopt goes on with the UID that the cluster has.
func (e *Engine) adopt(uid string) error {
	e.want.UID = uid
	if e.ReadOnly {
		return nil
	}
	return e.State.Adopt(uid)
}

// checkOwner refuses to touch a cluster of the same name that is not the one this state is about.
func (e *Engine) checkOwner() error {
	if e.mixed || !e.State.KnowsUID() && e.ReadOnly {
		return nil
	}
	for _, n := range e.world.Networks {
		if err := e.State.CheckUID(n.Tags[plan.UIDTag]); err != nil {
			return err
		}
	}
	for _, m := range e.world.Machines {
		if err := e.State.CheckUID(m.Tags[plan.UIDTag]); err != nil {
			return err
		}
	}
	return nil
}

// recover reads the cluster's secrets back from its control plane, with an SSH key made again from the user's identity. It
// returns nil if no control-plane machine has any: then the cluster never began, and new ones do.
func (e *Engine) recover(ctx context.Context) (*secrets, error) {
	seeds, err := e.State.Derive(sshLabel(e.want.UID))
	if err != nil {
		return nil, err
	}
	var problems []string
	any := false
	for _, m := range e.world.Machines {
		if m.Pool != plan.ControlPlanePool || m.Partial || !m.SSH.IsValid() {
			continue
		}
		any = true
		s, err := e.recoverFrom(ctx, m, seeds)
		if s != nil {
			return s, nil
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("- %s: %s", m.Name, firstLine(err)))
		}
	}
	if any && len(problems) > 0 || !any && e.begun() {
		return nil, e.lost(len(seeds), problems)
	}
	return nil, nil
}

// begun says whether the cluster may have nodes: then its secrets are somewhere, and new ones would be others.
func (e *Engine) begun() bool {
	for _, m := range e.world.Machines {
		if m.Pool == plan.ControlPlanePool && m.State == providers.Stopped {
			return true
		}
	}
	return false
}

// recoverFrom reads the secrets from one control-plane machine; nil without an error if it has none.
func (e *Engine) recoverFrom(ctx context.Context, m providers.Machine, seeds [][]byte) (*secrets, error) {
	last := errors.New("no key at hand opens it")
	for _, seed := range seeds {
		key, err := sshKey(seed, e.Cluster.Name)
		if err != nil {
			return nil, err
		}
		s, err := newSecrets(key, nil)
		if err != nil {
			return nil, err
		}
		found, err := e.readAuthorities(ctx, m, s)
		var denied *host.AuthError
		if errors.As(err, &denied) {
			last = err
			continue
		}
		return found, err
	}
	return nil, last
}

func (e *Engine) readAuthorities(ctx context.Context, m providers.Machine, s *secrets) (*secrets, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	h, err := e.dialWith(ctx, m, s.keys)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	files, err := bootstrap.ReadFiles(ctx, h, append(pki.RecoverPaths(), templates.NodePath))
	if err != nil {
		return nil, err
	}
	if len(files[pki.RecoverPaths()[0]]) == 0 {
		return nil, nil
	}
	if n, err := templates.ParseNode(files[templates.NodePath]); err == nil && n.UID != e.want.UID {
		return nil, fmt.Errorf("it is a node of another cluster, %s", n.Cluster)
	}
	a, err := pki.Recover(files)
	if err != nil {
		return nil, err
	}
	s.authority = a
	return s, nil
}

// sshLabel names the use that the cluster's SSH key is derived for.
func sshLabel(uid string) string { return "provision ssh " + uid }

// lost says which secrets are gone and how to go on.
func (e *Engine) lost(identities int, problems []string) error {
	how := "There is no age identity at hand to make the SSH key from again"
	if identities > 0 {
		how = fmt.Sprintf("The SSH key was made again from the %d identities at hand, and did not open the control plane", identities)
	}
	why := ""
	if len(problems) > 0 {
		why = ":\n\n" + strings.Join(problems, "\n")
	} else {
		why = "."
	}
	return diag.New(diag.SecretsLost, "The cluster %q exists at the vendor, and the state at hand, %s, does not have its secrets: the SSH key that its machines let in, and the authorities of its certificates, which its control-plane machines hold too. %s%s\n\nThe cluster goes on as it is. Nothing was touched.",
		e.Cluster.Name, e.State.Folder(), how, why).
		Next("Put back the state that made the cluster, or the identity of whoever made it (~/.config/provision/identity.age), or start the control-plane machines again, and run the same command. If all are lost, the cluster can still be removed by its owner's tag:", "provision destroy "+e.Cluster.File)
}

// begin makes the secrets of a new cluster, or saves those that were read back. It is a step of its own, before the first
// machine.
func (e *Engine) begin(c plan.Change) error {
	if c.Action == plan.Update {
		return e.secrets.save(e.State)
	}
	if e.secrets != nil {
		return nil
	}
	s, err := makeSecrets(e.State, e.Cluster.Name, e.want.UID, time.Now())
	if err != nil {
		return err
	}
	e.secrets = s
	return nil
}

func authorizedKey(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}
