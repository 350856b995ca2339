//go:build linux && amd64

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/crashtest"
	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket/buckettest"
)

// A crashBucket keeps states, each below a prefix of its own.
type crashBucket struct {
	t      *testing.T
	server *buckettest.Server
}

func (b *crashBucket) stateBlock(prefix string) string {
	return fmt.Sprintf("state {\n  url = %q\n}\n", b.server.URL(prefix))
}

// objects calls use with all that is in a site's state.
func (b *crashBucket) objects(s *crashtest.Site, use func(key string, content []byte) error) error {
	in := b.server.OpenURL(b.t, b.server.URL(filepath.Base(s.Dir)))
	defer in.Close()
	keys, err := in.List(context.Background(), "")
	if err != nil {
		return err
	}
	for _, k := range keys {
		content, _, err := in.Get(context.Background(), k)
		if errors.Is(err, fs.ErrNotExist) { // removed by what a killed command had sent before
			continue
		}
		if err != nil {
			return err
		}
		if err := use(k, content); err != nil {
			return err
		}
	}
	return nil
}

// fetch copies a site's state to where its secrets are looked for.
func (b *crashBucket) fetch(s *crashtest.Site) error {
	if err := os.RemoveAll(s.Elsewhere()); err != nil {
		return err
	}
	return b.objects(s, func(key string, content []byte) error {
		path := filepath.Join(s.Elsewhere(), key)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		return os.WriteFile(path, content, 0o600)
	})
}

// left names what is in a site's state.
func (b *crashBucket) left(s *crashtest.Site) (left []string) {
	if err := b.objects(s, func(key string, _ []byte) error { left = append(left, key); return nil }); err != nil {
		left = append(left, err.Error())
	}
	return left
}

// TestCrashBucket kills the command at every boundary where its state is in a bucket, whatever is on its way over the network.
func TestCrashBucket(t *testing.T) {
	for _, server := range buckettest.Servers(t) {
		t.Run(server.Name, func(t *testing.T) {
			vendors := regexp.MustCompile("^(AWS|AZURE|GOOGLE|GCE|STORAGE)_")
			env := slices.DeleteFunc(os.Environ(), func(v string) bool { return !vendors.MatchString(v) })
			r := newCrashRig(t, func(t *testing.T) flavour {
				return flavour{name: server.Name, cluster: crashCluster, env: env, sockets: true, bucket: &crashBucket{t, server},
					only: []string{"apply", "replace", "destroy"}, stride: 1000, thin: 4, most: 10}
			})
			r.killedAtBoundaries()
			t.Logf("\n%s", r.tally.String())
		})
	}
}
