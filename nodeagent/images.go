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

// What keeps the kubelet from removing an image when its disk is full: a node could not fetch it again. ours says that it was this
// agent that did so. As containerd's CRI has it: https://github.com/containerd/containerd/blob/main/internal/cri/labels/labels.go
const (
	pinned = "io.cri-containerd.pinned"
	ours   = "provision.sh/bundle"
)

// held is an image that containerd has.
type held struct{ digest, labels string }

func (h held) has(label string) bool { return strings.Contains(","+h.labels, ","+label+"=") }

// run imports what containerd does not have yet, side by side: first what the kubelet needs to start at all. Then it pins the
// bundle's images, and lets those go that an earlier bundle brought.
func (i importer) run(ctx context.Context) error {
	have, err := i.present(ctx)
	if err != nil {
		return err
	}
	for _, first := range []bool{true, false} {
		var batch []bundle.Image
		for _, img := range i.images {
			if img.First == first && have[img.Name].digest != img.Digest {
				batch = append(batch, img)
			}
		}
		if err := i.batch(ctx, batch); err != nil {
			return err
		}
		i.progress(true, !first)
	}
	return i.pin(ctx, have)
}

// pin gives images their labels, and takes them from those that are no longer the bundle's; had is what there was before.
func (i importer) pin(ctx context.Context, had map[string]held) error {
	current := map[string]bool{}
	for _, img := range i.images {
		current[img.Name] = true
		if was := had[img.Name]; was.digest == img.Digest && was.has(pinned) && was.has(ours) {
			continue
		}
		if _, err := i.ctr(ctx, "images", "label", img.Name, pinned+"=pinned", ours+"=yes"); err != nil {
			return fmt.Errorf("pin %s: %w", img.Name, err)
		}
	}
	for name, was := range had {
		if was.has(ours) && !current[name] {
			if _, err := i.ctr(ctx, "images", "label", name, pinned+"=", ours+"="); err != nil {
				return fmt.Errorf("let %s go: %w", name, err)
			}
		}
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

// present returns the images that containerd has, by name.
func (i importer) present(ctx context.Context) (map[string]held, error) {
	out, err := i.ctr(ctx, "images", "ls")
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	have := map[string]held{}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 2 { // name, type, digest, size and its unit, platforms, labels
			have[f[0]] = held{f[2], f[len(f)-1]}
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
