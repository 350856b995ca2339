package engine

import (
	"errors"
	"fmt"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
)

// fromInventory explains why hosts that were there before any cluster cannot be looked at: what is wrong is on the way to
// them, and the vendor, who is only a list of them, has refused nothing. The words are the vendor's, which name each host.
func (e *Engine) fromInventory(what string, err error) (diag.Diagnostic, bool) {
	var changed *ssh.HostKeyChanged
	var unknown *ssh.HostKeyUnknown
	d, ok := e.fromSSH(err)
	switch {
	case errors.As(err, &changed):
		d = d.Next("Find out who answers there: compare with the key that the host's own console shows. " + newKey(changed))
	case errors.As(err, &unknown):
		d = diag.Wrap(err, diag.HostKeyUnknown, "").Next("Compare with the key that the host's own console shows, and write it into the inventory; this asks for each and writes it:",
			"provision hosts keys "+e.Cluster.File)
	case !ok:
		return d, false
	}
	d.Detail = upper(what) + ": " + err.Error() + ". Nothing was changed."
	if d.Advice == "" {
		d = d.Next("See what is wrong with which host, and how it is mended:", "provision doctor "+e.Cluster.File)
	}
	return d, true
}

// newKey says what to write into the inventory once a key that changed is known to be the host's own.
func newKey(changed *ssh.HostKeyChanged) string {
	if changed.Line == "" {
		return "If the host was installed anew on purpose, write its new key into the inventory, as its console shows it: /etc/ssh/ssh_host_ed25519_key.pub."
	}
	return fmt.Sprintf("Only if it is the same, and the host was installed anew on purpose, write it into the inventory: host_key = %q", changed.Line)
}
