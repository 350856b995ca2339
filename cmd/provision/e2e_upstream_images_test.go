//go:build e2e

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/provisionhq/provision/templates"
)

// images gives every node the images that upstream's cases use, by the names that they look for: a node has no way to a registry. agnhost is
// upstream's, of the same version as the cases; the tools in it and in the others are this host's own.
func (u *upstream) images() {
	tools, err := toolLayer()
	if err != nil {
		u.t.Fatal(err)
	}
	agnhost, err := os.ReadFile(filepath.Join(u.bin, "agnhost"))
	if err != nil {
		u.t.Fatal(err)
	}
	var l layer
	l.file("agnhost", 0o755, agnhost)
	plain, err := assembled(v1.Config{Cmd: []string{"/bin/sh"}}, tools)
	if err != nil {
		u.t.Fatal(err)
	}
	full, err := assembled(v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}}, tools, l.done())
	if err != nil {
		u.t.Fatal(err)
	}
	listed, err := exec.Command(filepath.Join(u.bin, "upstream.test"), "--list-images").Output()
	if err != nil {
		u.t.Fatal(err)
	}
	all := map[name.Reference]v1.Image{}
	for _, ref := range regexp.MustCompile(`(?m)^registry\.k8s\.io/e2e-test-images/(agnhost|busybox|nginx|glibc-dns-testing):\S+$`).FindAllString(string(listed), -1) {
		img := plain
		if strings.Contains(ref, "/agnhost:") {
			img = full
		}
		parsed, err := name.ParseReference(ref)
		if err != nil {
			u.t.Fatal(err)
		}
		all[parsed] = img
		u.t.Log(ref)
	}
	if len(all) < 4 {
		u.t.Fatalf("images that the cases use: %v in\n%s", all, listed)
	}
	archive := filepath.Join(u.t.TempDir(), "images.tar")
	if err := tarball.MultiRefWriteToFile(archive, all); err != nil {
		u.t.Fatal(err)
	}
	var nodes sync.WaitGroup
	for _, n := range []string{"cp-0", "workers-0", "workers-1"} {
		nodes.Go(func() { u.importImages(n, archive) })
	}
	nodes.Wait()
}

func (u *upstream) importImages(node, archive string) {
	f, err := os.Open(archive)
	if err != nil {
		u.t.Error(err)
		return
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(u.t.Context(), 5*time.Minute)
	defer cancel()
	// Pinned, as a kubelet whose disk is nearly full removes what no pod uses at the moment.
	ctr := templates.Current + "/bin/ctr -n k8s.io images "
	line := ctr + "import - && for i in $(" + ctr + "ls -q | grep /e2e-test-images/); do " + ctr + "label $i io.cri-containerd.pinned=pinned || exit; done"
	c := exec.CommandContext(ctx, filepath.Join(u.bin, "provision"), "ssh", u.file, u.name+"-"+node, "--", line)
	c.Env, c.Stdin = u.environ, f
	if out, err := c.CombinedOutput(); err != nil {
		u.t.Errorf("import on %s: %v\n%s", node, err, out)
	}
}

// assembled is an image of these layers on nothing.
func assembled(config v1.Config, layers ...[]byte) (v1.Image, error) {
	config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	config.WorkingDir = "/"
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: "amd64", OS: "linux", Config: config})
	for _, l := range layers {
		if err == nil {
			img, err = mutate.AppendLayers(img, static.NewLayer(l, types.DockerUncompressedLayer))
		}
	}
	return img, err
}

// A layer is files, as an image has them.
type layer struct {
	buf bytes.Buffer
	w   *tar.Writer
}

func (l *layer) add(h tar.Header, data []byte) {
	if l.w == nil {
		l.w = tar.NewWriter(&l.buf)
	}
	h.Size = int64(len(data))
	l.w.WriteHeader(&h) // a bytes.Buffer takes everything
	l.w.Write(data)
}

func (l *layer) dir(name string, mode int64) {
	l.add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, nil)
}

func (l *layer) link(name, to string) {
	l.add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, nil)
}

func (l *layer) file(name string, mode int64, data []byte) {
	l.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, data)
}

func (l *layer) done() []byte {
	l.w.Close()
	return l.buf.Bytes()
}

// toolLayer is what upstream's images have of a small distribution: small tools (busybox), and those that Debian's busybox does not replace. Its shell
// takes its own tools before those in PATH, so the shell is bash (dash has no "let", which a case counts with), and its wget ends by a signal here.
func toolLayer() ([]byte, error) {
	var l layer
	for _, d := range []string{"usr", "usr/bin", "usr/lib", "usr/lib64", "etc", "root", "var", "proc", "sys", "dev", "mnt"} {
		l.dir(d, 0o755)
	}
	l.dir("tmp", 0o1777)
	for _, pair := range [][2]string{{"bin", "usr/bin"}, {"sbin", "usr/bin"}, {"lib", "usr/lib"}, {"lib64", "usr/lib64"}, {"usr/sbin", "bin"}} {
		l.link(pair[0], pair[1])
	}
	l.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	l.file("etc/wgetrc", 0o644, []byte("tries = 1\n")) // busybox's does not try twice, and a case waits for a wget that is refused
	l.file("etc/group", 0o644, []byte("root:x:0:\nnobody:x:65534:\n"))
	real := []string{"busybox", "bash", "curl", "wget", "nc", "nsenter", "ip", "ss"}
	files := map[string]string{} // where it is in the image: where it is here
	for _, tool := range real {
		if err := withLibraries(files, tool); err != nil {
			return nil, err
		}
	}
	for _, to := range slices.Sorted(maps.Keys(files)) {
		data, err := os.ReadFile(files[to])
		if err != nil {
			return nil, err
		}
		l.file(to, 0o755, data)
	}
	l.link("usr/bin/sh", "bash")
	applets, err := exec.Command("busybox", "--list").Output()
	if err != nil {
		return nil, err
	}
	for a := range strings.FieldsSeq(string(applets)) {
		if !slices.Contains(real, a) && a != "sh" {
			l.link("usr/bin/"+a, "busybox")
		}
	}
	return l.done(), nil
}

// withLibraries adds a program of this host and what it is linked with.
func withLibraries(files map[string]string, tool string) error {
	program, err := exec.LookPath(tool)
	if err != nil {
		return fmt.Errorf("%w: run make conformance", err)
	}
	files["usr/bin/"+tool] = program
	out, err := exec.Command("ldd", program).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "not a dynamic executable") {
		return fmt.Errorf("ldd %s: %w: %s", program, err, out)
	}
	for _, lib := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		to := strings.TrimPrefix(path.Clean(lib[1]), "/")
		if !strings.HasPrefix(to, "usr/") {
			to = "usr/" + to
		}
		files[to] = lib[1]
	}
	return nil
}
