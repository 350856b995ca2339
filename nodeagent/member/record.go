package member

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/nodeagent/etcdapi"
	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/templates"
)

// Files of the keeper, in a folder that outlives etcd's data.
const (
	Dir        = "/var/lib/provision/etcd"
	RecordFile = Dir + "/member.json"
	HoldFile   = Dir + "/hold"              // etcd does not start while it is there; it says why
	ForceFile  = Dir + "/force-new-cluster" // etcd makes itself a cluster of one when it starts next
)

// A record is what a node remembers of its member when etcd does not run. It is what tells a member that was removed, or
// has lost its data, from a new one.
type record struct {
	Cluster etcdapi.ID `json:"cluster"`
	Member  etcdapi.ID `json:"member"`
	Joined  bool       `json:"joined"` // it has been one of a quorum
	Voter   bool       `json:"voter"`
	Others  []string   `json:"others"` // client endpoints of the other members, as they were last seen
}

func loadRecord(root string) (record, error) {
	var r record
	b, err := os.ReadFile(filepath.Join(root, RecordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

func (r record) equal(o record) bool {
	return r.Cluster == o.Cluster && r.Member == o.Member && r.Joined == o.Joined && r.Voter == o.Voter && slices.Equal(r.Others, o.Others)
}

func (r record) save(root string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return supervisor.WriteFile(filepath.Join(root, RecordFile), append(b, '\n'), 0o600)
}

// hasData reports whether etcd has begun to write here.
func hasData(root string) bool {
	found, err := filepath.Glob(filepath.Join(root, etcd.DataDir, "member/wal/*.wal"))
	return err == nil && len(found) > 0
}

// founding returns the members that shall found the cluster together, if this node was told so.
func founding(root string) ([]templates.EtcdMember, error) {
	b, err := os.ReadFile(filepath.Join(root, templates.FoundingPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return templates.ParseFounding(b)
}
