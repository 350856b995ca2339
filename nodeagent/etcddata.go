package nodeagent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/provisionhq/provision/controlplane/etcd"
	"github.com/provisionhq/provision/controlplane/pki"
	"github.com/provisionhq/provision/nodeagent/member"
	"github.com/provisionhq/provision/nodeagent/supervisor"
	"github.com/provisionhq/provision/templates"
)

const (
	snapshotDir = "/var/lib/provision/snapshots"
	// asideDir is where data goes that is in the way. It is below etcd's own folder, which may be a disk of its own.
	asideDir = etcd.DataDir + "/aside"

	stopTimeout    = 30 * time.Second
	restoreTimeout = 2 * time.Minute
)

func runSnapshot(ctx context.Context, f *flag.FlagSet, args []string, out io.Writer) error {
	keep := f.Int("keep", 5, "")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	if *keep < 1 {
		return fmt.Errorf("%w: --keep must be 1 or more", errUsage)
	}
	s, err := takeSnapshot(ctx, time.Now().UTC())
	if err != nil {
		return err
	}
	if err := prune(snapshotDir, *keep); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(s)
}

// takeSnapshot copies etcd's data to the disk, and reads the copy again to see that it is whole.
func takeSnapshot(ctx context.Context, now time.Time) (templates.EtcdSnapshot, error) {
	s := templates.EtcdSnapshot{Path: filepath.Join(snapshotDir, now.Format("20060102T150405.000Z")+".db"), Taken: now}
	if err := os.MkdirAll(snapshotDir, 0o700); err != nil {
		return s, err
	}
	part := s.Path + ".part"
	defer os.Remove(part)
	if _, err := tool(ctx, "etcdctl", "--endpoints="+etcd.ClientURL, "--cacert="+pki.EtcdCA.File(), "--cert="+pki.CertFile("etcd/client"),
		"--key="+pki.KeyFile("etcd/client"), "snapshot", "save", part); err != nil {
		return s, err
	}
	if err := inspect(ctx, part, &s); err != nil {
		return s, err
	}
	return s, errors.Join(os.Chmod(part, 0o600), os.Rename(part, s.Path))
}

// inspect reads a snapshot and checks that it is whole.
func inspect(ctx context.Context, path string, s *templates.EtcdSnapshot) error {
	b, err := tool(ctx, "etcdutl", "snapshot", "status", path, "--write-out=json")
	if err != nil {
		return err
	}
	var st struct {
		Hash      uint32 `json:"hash"`
		Revision  int64  `json:"revision"`
		TotalKey  int64  `json:"totalKey"`
		TotalSize int64  `json:"totalSize"`
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return fmt.Errorf("etcdutl snapshot status: %w", err)
	}
	s.Hash, s.Revision, s.Keys, s.Size = st.Hash, st.Revision, st.TotalKey, st.TotalSize
	return nil
}

// tool runs one of etcd's own programs.
func tool(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(templates.Current, "bin", name), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		words := bytes.TrimSpace(stderr.Bytes())
		return nil, fmt.Errorf("%s: %w: %s", name, err, words[max(0, len(words)-1000):])
	}
	return out, nil
}

// prune removes all snapshots but the newest. Their names sort by time.
func prune(dir string, keep int) error {
	list, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil {
		return err
	}
	slices.Sort(list)
	for _, old := range list[:max(0, len(list)-keep)] {
		if err := os.Remove(old); err != nil {
			return err
		}
	}
	return nil
}

// wipe puts the data of a member aside that the cluster does not count in, so that the node can join anew.
func wipe(ctx context.Context) error {
	if _, err := controlPlaneNode(); err != nil {
		return err
	}
	s, err := askStatus(ctx)
	if err != nil {
		return err
	}
	if s.Etcd == nil {
		return errors.New("this node's agent says nothing of etcd")
	}
	switch s.Etcd.State {
	case templates.EtcdRemoved, templates.EtcdForeign, templates.EtcdLost:
	case templates.EtcdJoining, templates.EtcdFounding:
		return nil // there is no data
	default:
		return fmt.Errorf("this node's member of etcd is in order (%s, %s): remove it from the cluster first", s.Etcd.State, s.Etcd.Member)
	}
	return whileStopped(ctx, "its data to be wiped", func() error {
		return errors.Join(setAside(time.Now()), forget())
	})
}

// forget removes what the node remembers of its member, and any order that was meant for it.
func forget() error {
	var errs []error
	for _, path := range []string{member.RecordFile, member.ForceFile, templates.FoundingPath} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// setAside moves etcd's data out of its way. What was moved before is deleted: one copy is enough.
func setAside(now time.Time) error {
	data := filepath.Join(etcd.DataDir, "member")
	if !exists(data) {
		return nil
	}
	if err := os.RemoveAll(asideDir); err != nil {
		return err
	}
	if err := os.MkdirAll(asideDir, 0o700); err != nil {
		return err
	}
	return os.Rename(data, filepath.Join(asideDir, now.UTC().Format("20060102T150405Z")))
}

// whileStopped does something while etcd does not run on this node, and lets it run again.
func whileStopped(ctx context.Context, why string, do func() error) error {
	if err := supervisor.WriteFile(member.HoldFile, []byte(why+"\n"), 0o600); err != nil {
		return err
	}
	err := stopEtcd(ctx)
	if err == nil {
		err = do()
	}
	if e := os.Remove(member.HoldFile); e != nil {
		err = errors.Join(err, e)
	}
	return errors.Join(err, tell(ctx, http.MethodPost, "/reload"))
}

// stopEtcd ends etcd. The hold keeps it from starting again.
func stopEtcd(ctx context.Context) error {
	// The keeper must have seen the hold before etcd is told to start again.
	if err := tell(ctx, http.MethodPost, "/etcd/look"); err != nil {
		return err
	}
	if err := tell(ctx, http.MethodPost, "/restart/"+etcd.Name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err := watchStatus(ctx, func(s templates.Status) bool {
		for _, p := range s.Processes {
			if p.Name == etcd.Name {
				return p.PID == 0 && (p.State == templates.Waiting || p.State == templates.Stopped)
			}
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("etcd does not end: %w", err)
	}
	return nil
}

func askStatus(ctx context.Context) (templates.Status, error) {
	res, err := ask(ctx, http.MethodGet, "/status")
	if err != nil {
		return templates.Status{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return templates.Status{}, err
	}
	return templates.ParseStatus(b)
}
