package nodeagent

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/provisionhq/provision/templates"
)

// expiredFor is how long a certificate has to have ended before the node counts as one that has not joined: a clock that
// is wrong for a while takes no node's identity away.
const expiredFor = 24 * time.Hour

// An identity is the files of a node's way into its cluster.
type identity struct {
	client string // certificate and key that the kubelet got, as a link to the newest
	token  string // kubeconfig that it joins with
}

// nodeIdentity is where they are on a node.
func nodeIdentity() identity { return identity{client: kubeletClient, token: templates.BootstrapConf} }

// settle removes the token once the node has its certificate: it is used, and the kubelet reads it only where it has no certificate
// that is valid. A certificate that ended long ago is of no use, so the link to it is removed: the next apply sees a node that has not
// joined and gives it a new token. What it did is returned in a few words; "" for nothing.
func (i identity) settle(now time.Time) (did string, err error) {
	pair, err := tls.LoadX509KeyPair(i.client, i.client)
	if err != nil { // not there yet, or the kubelet's to mend
		return "", nil
	}
	switch end := pair.Leaf.NotAfter; {
	case now.Before(end):
		did, err = "removed the token that the node joined with", os.Remove(i.token)
	case now.After(end.Add(expiredFor)) && !exists(i.token):
		did, err = "the node's certificate ended long ago: it has to join again", os.Remove(i.client)
	default:
		return "", nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return did, nil
}

// settleIdentity is settle, told in the log.
func (a *agent) settleIdentity() {
	did, err := nodeIdentity().settle(time.Now())
	switch {
	case err != nil:
		a.log.Error("cannot settle the node's identity", "err", err)
	case did != "":
		a.log.Info(did)
	}
}
