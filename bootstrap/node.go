package bootstrap

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

// maxAnswer is how much kubectl may print: the node list of 5,000 nodes has about 50 MB.
const maxAnswer = 256 << 20

// Kubectl runs kubectl as the cluster's administrator on a control-plane node and returns its standard output. A failure
// is an *ssh.ExitError with kubectl's words.
func Kubectl(ctx context.Context, h ssh.Host, args []string, stdin []byte) ([]byte, error) {
	line := append([]string{templates.Current + "/bin/kubectl", "--kubeconfig", templates.AdminConf, "--cache-dir", "/run/provision/kubectl"}, args...)
	var out bytes.Buffer
	_, err := h.Run(ctx, ssh.Command{Line: ssh.Quote(line...), Stdin: bytes.NewReader(stdin), Stdout: &limited{w: &out, left: maxAnswer}})
	if err != nil && len(args) > 0 {
		return out.Bytes(), named(err, "kubectl "+args[0])
	}
	return out.Bytes(), err
}

// limited is a writer that fails after so many bytes.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	if l.left -= len(b); l.left < 0 {
		return 0, fmt.Errorf("answer is larger than %d MiB", maxAnswer>>20)
	}
	return l.w.Write(b)
}

// Status asks a node what runs on it.
func Status(ctx context.Context, h ssh.Host) (templates.Status, error) {
	res, err := h.Run(ctx, ssh.Command{Line: ssh.Quote(templates.AgentPath, "status", "--json")})
	if err != nil {
		return templates.Status{}, named(err, "node-agent status")
	}
	return templates.ParseStatus(res.Stdout)
}

// Reset stops all that runs on a node and removes all that bootstrap and the node agent have put there. A machine that
// is no node is left as it is.
func Reset(ctx context.Context, h ssh.Host) error {
	const script = `a=` + templates.AgentPath + ` unit=` + templates.UnitPath + `
if [ -x $a ]; then $a reset || exit; fi
if [ -e $unit ]; then
	systemctl disable --now node-agent.service || exit
	rm -f $unit && systemctl daemon-reload || exit
fi
if [ -e ` + templates.OpenRCPath + ` ]; then
	rc-update del node-agent default; rc-service node-agent stop
	rm -f ` + templates.OpenRCPath + ` || exit
fi
rm -rf ` + templates.ServiceDir + ` $a $a.part ` + scoutPath + ` ` + scoutPath + `.part /etc/provision
rm -rf ` + templates.BundleDir + `/* /var/lib/provision/* # either may be a mount
rmdir ` + templates.BundleDir + ` /var/lib/provision 2>/dev/null
exit 0`
	if _, err := h.Run(ctx, ssh.Command{Line: script}); err != nil {
		return named(err, "node-agent reset")
	}
	return nil
}
