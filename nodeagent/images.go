package nodeagent

import (
	"context"
	"fmt"
	"os/exec"
	"path"
	"strings"
	"sync"

	"github.com/provisionhq/provision/bootstrap/bundle"
)

// An importer hands the bundle's images to containerd.
type importer struct {
	dir      string // where the bundle is
	images   []bundle.Image
	progress func(first, all bool) // is told which of them are there
}

// run imports what containerd does not have yet, side by side: first what the kubelet needs to start at all.
func (i importer) run(ctx context.Context) error {
	have, err := i.present(ctx)
	if err != nil {
		return err
	}
	for _, first := range []bool{true, false} {
		var batch []bundle.Image
		for _, img := range i.images {
			if img.First == first && have[img.Name] != img.Digest {
				batch = append(batch, img)
			}
		}
		if err := i.batch(ctx, batch); err != nil {
			return err
		}
		i.progress(true, !first)
	}
	return nil
}

// batch imports images, two at a time: more of them only wait for the same disk.
func (i importer) batch(ctx context.Context, images []bundle.Image) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	width := make(chan struct{}, 2)
	for _, img := range images {
		all.Go(func() {
			width <- struct{}{}
			defer func() { <-width }()
			if _, err := i.ctr(ctx, "images", "import", path.Join(i.dir, img.Path)); err != nil {
				cancel(fmt.Errorf("import %s: %w", img.Name, err))
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// present returns the digests of the images that containerd has, by name.
func (i importer) present(ctx context.Context) (map[string]string, error) {
	out, err := i.ctr(ctx, "images", "ls")
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	have := map[string]string{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 2 {
			have[f[0]] = f[2]
		}
	}
	return have, nil
}

// ctr runs containerd's own client in the namespace that Kubernetes uses.
func (i importer) ctr(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path.Join(i.dir, "bin/ctr"), append([]string{"--address", containerdSocket, "--namespace", "k8s.io"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ctr: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// names returns the name of the image that sandboxes are made of, and those of all others.
func names(m *bundle.Manifest) (pause string, others []string, err error) {
	for _, img := range m.Images {
		if strings.Contains(img.Name, "/pause:") {
			pause = img.Name
		} else {
			others = append(others, img.Name)
		}
	}
	if pause == "" {
		err = fmt.Errorf("bundle %s has no pause image", m.ID)
	}
	return pause, others, err
}
