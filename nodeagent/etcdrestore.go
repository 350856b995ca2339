package nodeagent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/nodeagent/member"
	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/templates"
)

// revisions is how far a restored cluster's revisions are ahead of its snapshot's. Whoever watched the old cluster had seen
// later ones, and must not take new ones for those.
const revisions = 1_000_000_000

// words are what a person must say who gives up what only the lost members held.
const words = "lose-what-only-others-hold"

// runRestore makes this node's member a cluster of one.
func runRestore(ctx context.Context, f *flag.FlagSet, args []string, out io.Writer) error {
	snapshot := f.String("snapshot", "", "")
	sure := f.Bool(words, false, "")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	if !*sure {
		return fmt.Errorf("%w: restore makes this node's etcd a new cluster of one; what only the other members hold is lost, and they must never come back: say so with --%s", errUsage, words)
	}
	n, err := controlPlaneNode()
	if err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	if err := refuseQuorum(ctx, n); err != nil && *snapshot == "" {
		return err
	}
	if *snapshot != "" {
		err = fromSnapshot(ctx, n, *snapshot, say)
	} else {
		err = fromSurvivor(ctx, say)
	}
	if err != nil {
		return err
	}
	return awaitAlone(ctx, n, say)
}

// refuseQuorum refuses to break a cluster that works.
func refuseQuorum(ctx context.Context, n templates.Node) error {
	c, err := etcdCluster(n, nil)
	if err != nil {
		return err
	}
	r, err := c.Report(ctx)
	if err != nil || !r.Quorum {
		return nil
	}
	all, healthy := r.Voters()
	if all == 1 {
		return nil
	}
	return fmt.Errorf("etcd has a quorum: %d of %d voting members are healthy, so nothing needs to be lost; remove members that are gone instead", healthy, all)
}

// fromSurvivor keeps this member's own data, and forgets the others.
func fromSurvivor(ctx context.Context, say func(string, ...any)) error {
	if exists(member.HoldFile) {
		return fmt.Errorf("somebody works on etcd's data on this node already: %s is there", member.HoldFile)
	}
	if found, _ := filepath.Glob(filepath.Join(etcd.DataDir, "member/wal/*.wal")); len(found) == 0 {
		return errors.New("this node has no data of etcd: name a snapshot with --snapshot, or restore on a node that has data")
	}
	say("etcd starts again as a cluster of one, with its own data")
	if err := supervisor.WriteFile(member.ForceFile, []byte("restore\n"), 0o600); err != nil {
		return err
	}
	if err := tell(ctx, http.MethodPost, "/etcd/look"); err != nil {
		return err
	}
	return tell(ctx, http.MethodPost, "/restart/"+etcd.Name)
}

// fromSnapshot puts a snapshot's data in the place of the member's.
func fromSnapshot(ctx context.Context, n templates.Node, path string, say func(string, ...any)) error {
	var s templates.EtcdSnapshot
	if err := inspect(ctx, path, &s); err != nil {
		return err
	}
	say("%s is whole: revision %d, %d keys, %d MiB", path, s.Revision, s.Keys, s.Size>>20)
	fresh := filepath.Join(etcd.DataDir, "restored")
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	peer := etcd.Peer(n.Address)
	if _, err := tool(ctx, "etcdutl", "snapshot", "restore", path, "--data-dir="+fresh, "--name="+n.Name,
		"--initial-cluster="+n.Name+"="+peer, "--initial-advertise-peer-urls="+peer,
		// Another token than before, so that members of the old cluster are never taken for members of this one.
		"--initial-cluster-token="+n.UID+"-"+time.Now().UTC().Format("20060102T150405Z"),
		fmt.Sprintf("--bump-revision=%d", revisions), "--mark-compacted"); err != nil {
		return err
	}
	say("etcd ends, and its data is put aside in %s", asideDir)
	return whileStopped(ctx, "its data to be restored", func() error {
		return errors.Join(setAside(time.Now()), forget(), os.Rename(filepath.Join(fresh, "member"), filepath.Join(etcd.DataDir, "member")))
	})
}

// awaitAlone waits until etcd is a cluster of one that works, and starts the API server anew: what it has cached is of the
// cluster before.
func awaitAlone(ctx context.Context, n templates.Node, say func(string, ...any)) error {
	c, err := etcdClient()
	if err != nil {
		return err
	}
	local := c.At(etcd.ClientURL)
	ctx, cancel := context.WithTimeout(ctx, restoreTimeout)
	defer cancel()
	for {
		list, err := local.Members(ctx, true)
		if err == nil && len(list.Members) == 1 && !exists(member.ForceFile) {
			say("etcd is a cluster of one: member %s", list.Members[0].ID)
			return tell(ctx, http.MethodPost, "/restart/kube-apiserver")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("etcd is no cluster of one after %v: %w; see the log: node-agent logs etcd", restoreTimeout, errors.Join(err, ctx.Err()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
