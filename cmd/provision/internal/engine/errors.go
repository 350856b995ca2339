package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/bootstrap"
	"github.com/provisionhq/provision/bootstrap/bundle"
	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/cmd/provision/internal/config"
	"github.com/provisionhq/provision/cmd/provision/internal/diag"
	"github.com/provisionhq/provision/cmd/provision/internal/plan"
	"github.com/provisionhq/provision/providers"
)

// explain turns what a step returned into a diagnostic: the address, the line that asked, and words for the cause.
func (e *Engine) explain(address string, err error) diag.Diagnostics {
	cause, in := e.place(address)
	var ds diag.Diagnostics
	for _, d := range e.diagnose(err) {
		d.Address = address
		if d.Range == nil {
			d = d.At(cause, in)
		}
		if d.Advice == "" {
			d = d.Next(mend(d.ID)+"What is done is kept; run the same command again to go on:", e.again())
		}
		ds = append(ds, d)
	}
	return ds
}

// place is the line that asked for what has the address.
func (e *Engine) place(address string) (*diag.Range, string) {
	if m, ok := e.member(address); ok {
		block, in := "pool."+m.PoolName(), fmt.Sprintf("pool %q", m.PoolName())
		if m.Pool == &e.Cluster.ControlPlane {
			block, in = "control_plane", "control_plane"
		}
		if r, ok := e.Cluster.Ranges[block]; ok {
			return &r, in
		}
	}
	if address == "network."+plan.NetworkName {
		for _, k := range []string{"network.machines", "network"} {
			if r, ok := e.Cluster.Ranges[k]; ok {
				return &r, "network"
			}
		}
	}
	return nil, ""
}

// again is the command that goes on.
func (e *Engine) again() string {
	if e.Again != "" {
		return e.Again
	}
	if e.destroying {
		return "provision destroy " + e.Cluster.File
	}
	return "provision apply " + e.Cluster.File
}

// same is the command that was given, to be given again when what stood in its way is mended: also where it only looks.
func (e *Engine) same() string { return cmp.Or(e.Asked, e.again()) }

// diagnose gives an error its diagnostic.
func (e *Engine) diagnose(err error) diag.Diagnostics {
	var known diag.Diagnostic
	if errors.As(err, &known) {
		return diag.AsDiagnostics(err)
	}
	if d, ok := e.fromSSH(err); ok {
		return diag.Diagnostics{d}
	}
	if d, ok := e.fromBundle(err); ok {
		return diag.Diagnostics{d}
	}
	if ds, ok := e.fromHost(err); ok {
		return ds
	}
	return diag.AsDiagnostics(err)
}

// fromHost knows the errors of package bootstrap: what a machine said about a phase that failed on it.
func (e *Engine) fromHost(err error) (diag.Diagnostics, bool) {
	var unfit *bootstrap.PreflightError
	var host *bootstrap.HostError
	if errors.As(err, &host) && errors.As(err, &unfit) {
		return e.unfit(host, unfit), true
	}
	if !errors.As(err, &host) {
		return nil, false
	}
	id := diag.BootstrapFailed
	words := host.Err.Error() + "\n" + strings.Join(host.Output, "\n")
	switch {
	case strings.Contains(words, bundle.ErrCorrupt.Error()):
		id = diag.BundleCorrupt
	case strings.Contains(words, bundle.ErrTruncated.Error()):
		id = diag.BundleTruncated
	case strings.Contains(words, "no space left on device"), strings.Contains(words, "MiB free"):
		id = diag.DiskFull
	case host.Phase == "ready":
		id = diag.NodeNotReady
	case host.Phase == "serve":
		id = diag.APINotAnswering
	}
	d := diag.Wrap(err, id, "On %s the phase %q failed: %s. What was done before it is kept.", host.Host, host.Phase, strings.TrimRight(host.Err.Error(), "."))
	d.Output = host.Output
	return diag.Diagnostics{d.Next("The lines above are the machine's own. More of them; what stands between the machines (blocked ports, clocks, disks); and to go on:",
		"provision logs "+e.Cluster.File+" "+host.Host+" node-agent", "provision doctor "+e.Cluster.File, e.again())}, true
}

// unfit lists all that keeps a machine from becoming a node.
func (e *Engine) unfit(host *bootstrap.HostError, err *bootstrap.PreflightError) diag.Diagnostics {
	var ds diag.Diagnostics
	for _, p := range err.Problems {
		id := diag.PreflightFailed
		switch p.ID {
		case bootstrap.OtherCluster:
			id = diag.NodeForeign
		case bootstrap.FullDisk:
			id = diag.DiskFull
		case bootstrap.NoTool:
			id = diag.ToolMissing
		case bootstrap.NotRoot:
			id = diag.NotRoot
		}
		ds = append(ds, diag.Wrap(err, id, "%s: %s. Nothing was changed on it.", host.Host, p.What).Next(p.Mend+", then run the same command again:", e.again()))
	}
	return ds
}

// fromSSH knows the errors of package ssh.
func (e *Engine) fromSSH(err error) (diag.Diagnostic, bool) {
	var changed *ssh.HostKeyChanged
	var silent *ssh.SilentError
	var away *ssh.UnreachableError
	var denied *ssh.AuthError
	var sudo *ssh.SudoError
	var space *ssh.SpaceError
	var lost *ssh.LostError
	var mismatch *ssh.MismatchError
	switch {
	case errors.As(err, &changed):
		return diag.Wrap(err, diag.HostKeyChanged, "%s. Another machine may have its address, or somebody reads along. Nothing was sent to it.", upper(changed.Error())).
			Next("If the machine was made anew on purpose, delete it so that provision makes one it knows; else find out who answers there before you go on."), true
	case errors.As(err, &silent):
		return diag.Wrap(err, diag.SSHSilent, "%s.", upper(silent.Error())).
			Next("See whether sshd runs there and whether something else has its port, then run the same command again:", e.again()), true
	case errors.As(err, &denied):
		return diag.Wrap(err, diag.SSHDenied, "%s.", upper(denied.Error())), true
	case errors.As(err, &sudo):
		id := diag.SudoPassword
		if !sudo.Password {
			id = diag.SSHDenied
		}
		return diag.Wrap(err, id, "%s.", upper(sudo.Error())).
			Next("Allow that user to use sudo without a password, or log in as root."), true
	case errors.As(err, &space):
		return diag.Wrap(err, diag.DiskFull, "%s. The machine is as it was before.", upper(space.Error())).
			Next("Make room there and run the same command again; an upload goes on where it ended:", e.again()), true
	case errors.As(err, &mismatch):
		return diag.Wrap(err, diag.BundleCorrupt, "%s. The file was removed there.", upper(mismatch.Error())), true
	case errors.As(err, &away):
		return diag.Wrap(err, diag.SSHUnreachable, "%s.", upper(away.Error())), true
	case errors.As(err, &lost):
		return diag.Wrap(err, diag.MachineDied, "%s. The machine stopped, restarted or lost its network while it was set up; what was done there is kept.", upper(lost.Error())).
			Next("Run the same command again; a machine that stopped is started again:", e.again()), true
	}
	return diag.Diagnostic{}, false
}

// fromBundle knows the errors of package bundle.
func (e *Engine) fromBundle(err error) (diag.Diagnostic, bool) {
	id := diag.ID("")
	switch {
	case errors.Is(err, bundle.ErrTruncated):
		id = diag.BundleTruncated
	case errors.Is(err, bundle.ErrCorrupt):
		id = diag.BundleCorrupt
	default:
		return diag.Diagnostic{}, false
	}
	return diag.Wrap(err, id, "%s. Nothing of it was used.", upper(err.Error())).
		Next("Make the bundle anew, or copy it again, and compare its SHA-256:", "make bundle"), true
}

// vendorError explains an error of a vendor that is not a step's. One that knows its diagnostic is left alone.
func (e *Engine) vendorError(what string, err error) error {
	kind := providers.KindOf(err)
	at := e.Cluster.Provider.Range
	var coded diag.Coded
	switch knows := errors.As(err, &coded); {
	case knows && coded.DiagnosticID() == string(diag.VendorDenied):
		ds := slices.Clone(diag.AsDiagnostics(err))
		for i := range ds {
			ds[i] = ds[i].At(&at, e.provider())
		}
		return ds
	case knows, kind == "":
		return err
	}
	var bad *providers.AttributeError
	if errors.As(err, &bad) { // nothing is touched yet: it is the file that is refused
		return config.BadProviderAttribute(e.Cluster, bad.Attribute, strings.TrimRight(bad.Text, "."))
	}
	if d, ok := e.fromInventory(what, err); ok {
		return d.At(&at, e.provider())
	}
	d := diag.Wrap(err, diag.KindID(string(kind)), "%s: %s.", upper(what), strings.TrimRight(err.Error(), ".")).At(&at, e.provider())
	if kind == providers.Denied {
		d.ID = diag.VendorDenied
	}
	d = d.Next(mendLook(d.ID)+"Then run the same command again:", e.same())
	var known interface{ Advice() (string, []string) }
	if errors.As(err, &known) {
		d.Advice, d.Commands = known.Advice()
	}
	return d
}

// provider is the block that names the vendor, as diagnostics call it.
func (e *Engine) provider() string { return fmt.Sprintf("provider %q", e.Cluster.Provider.Name) }

// upper begins a sentence, unless it begins with a name.
func upper(s string) string {
	s = strings.TrimSpace(s)
	if first, _, _ := strings.Cut(s, " "); s == "" || strings.HasSuffix(first, ":") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// firstLine is what an error says, in one line.
func firstLine(err error) string {
	l, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return l
}
