package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// built is the result of building: each program with its file and version.
type built struct {
	programs []program
	files    map[string]string // by program name
	modules  map[string]module // likewise
}

func (b *built) version(name string) string { return b.modules[name].Version }

// A module is what `go list -m -json` says of one.
type module struct {
	Path    string
	Version string
	Dir     string
	Time    time.Time
}

// pauseTag is the version of pause in the Kubernetes release, as in its build/pause/Makefile. containerd's default
// configuration names the same one, so nothing has to be configured.
const pauseTag = "3.10.2"

// checkTools names what is missing before minutes of building.
func (p *packer) checkTools() error {
	if p.arch != "amd64" && p.arch != "arm64" {
		return fmt.Errorf("architecture %q: not one of amd64, arm64", p.arch)
	}
	need := map[string]string{p.cc(): "to compile pause and runc: " + p.ccPackages(), "zstd": "to compress: zstd"}
	if p.fast {
		delete(need, "zstd")
	}
	for tool, why := range need {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing (Debian package needed %s)", tool, why)
		}
	}
	probe := exec.Command(p.cc(), "-static", "-o", os.DevNull, "-x", "c", "-", "-lseccomp")
	probe.Stdin = strings.NewReader("int main(void){return 0;}")
	if out, err := probe.CombinedOutput(); err != nil {
		return fmt.Errorf("static libseccomp for %s is missing (Debian package needed to compile runc: %s)\n%s", p.arch, p.ccPackages(), out)
	}
	return nil
}

func (p *packer) cross() bool { return p.arch != runtime.GOARCH }

func (p *packer) triple() string {
	return map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[p.arch]
}

func (p *packer) cc() string {
	if p.cross() {
		return p.triple() + "-gcc"
	}
	return "gcc"
}

func (p *packer) ccPackages() string {
	if p.cross() {
		return "gcc-" + strings.ReplaceAll(p.triple(), "_", "-") + " libseccomp-dev:" + p.arch
	}
	return "gcc libc6-dev libseccomp-dev pkg-config"
}

// build builds what has changed, one program after another: the Go tool uses all processors itself.
func (p *packer) build(ctx context.Context) (*built, error) {
	b := &built{programs: programs(), files: map[string]string{}, modules: map[string]module{}}
	if err := os.MkdirAll(filepath.Join(p.cache, "bin"), 0o755); err != nil {
		return nil, err
	}
	for _, prog := range b.programs {
		m, err := findModule(ctx, prog)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", prog.name, err)
		}
		out := filepath.Join(p.cache, "bin", prog.name)
		b.files[prog.name], b.modules[prog.name] = out, m
		start, how := time.Now(), "built"
		cmd := p.command(ctx, prog, m, out)
		fresh, err := p.once(cmd, prog, m, out)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", prog.name, err)
		}
		if !fresh {
			how = "cached"
		}
		info, err := os.Stat(out)
		if err != nil {
			return nil, err
		}
		fmt.Printf("%-24s %-8s %6.1f MB %17.1fs  %s\n", prog.name, how, mega(info.Size()), time.Since(start).Seconds(), m.Version)
	}
	return b, nil
}

// findModule resolves the module that gives a program its version. Programs of this repository have none: an image has the version
// that its tag is, and what runs on the node that of the bundle.
func findModule(ctx context.Context, prog program) (module, error) {
	switch {
	case prog.module == "" && prog.image != nil:
		return module{Version: prog.image.tag}, nil
	case prog.module == "":
		return module{Version: "bundled"}, nil
	}
	var m module
	list := func() error {
		cmd := exec.CommandContext(ctx, "go", "list", "-m", "-json", prog.module)
		cmd.Dir = prog.folder
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
		return output(cmd, &m)
	}
	if err := list(); err != nil || m.Dir != "" {
		return m, err
	}
	// Listed but not downloaded yet.
	get := exec.CommandContext(ctx, "go", "mod", "download", prog.module)
	get.Dir = prog.folder
	if err := run(get); err != nil {
		return m, err
	}
	return m, list()
}

func output(cmd *exec.Cmd, v any) error {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	data, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	return json.Unmarshal(data, v)
}

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// command is the compiler's command for a program: always the same arguments and settings for the same inputs.
func (p *packer) command(ctx context.Context, prog program, m module, out string) *exec.Cmd {
	if prog.name == "pause" {
		return exec.CommandContext(ctx, p.cc(), "-Os", "-Wall", "-Werror", "-static", "-s", "-DVERSION=v"+pauseTag,
			"-Wl,--build-id=none", "-o", out, filepath.Join(m.Dir, "build/pause/linux/pause.c"))
	}
	flags := "-s -w -buildid=" + prog.linkerStamps(m)
	cgo := "0"
	if prog.cgo {
		cgo = "1"
		flags += " -linkmode external -extldflags '-static -Wl,--build-id=none'"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", prog.tags, "-ldflags", flags, "-o", out, prog.pkg)
	cmd.Dir = prog.folder
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOOS=linux", "GOARCH="+p.arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=-mod=readonly", "GOWORK=off", "CC="+p.cc(), "PKG_CONFIG_PATH=/usr/lib/"+p.triple()+"/pkgconfig")
	return cmd
}

// linkerStamps are the -X flags, in a fixed order.
func (prog program) linkerStamps(m module) string {
	var flags []string
	for name, format := range prog.stamps {
		value := strings.NewReplacer("%s", m.Version, "%t", m.Time.UTC().Format(time.RFC3339)).Replace(format)
		flags = append(flags, " -X "+name+"="+value)
	}
	slices.Sort(flags)
	return strings.Join(flags, "")
}

// once runs the command unless the file it makes was made by the same command from the same inputs.
func (p *packer) once(cmd *exec.Cmd, prog program, m module, out string) (fresh bool, err error) {
	if prog.module == "" && prog.image == nil { // made of all of this repository, whose changes the Go tool follows
		return true, run(cmd)
	}
	stamp, err := p.stamp(cmd, prog, m)
	if err != nil {
		return false, err
	}
	if have, err := os.ReadFile(out + ".stamp"); err == nil && string(have) == stamp {
		if _, err := os.Stat(out); err == nil {
			return false, nil
		}
	}
	os.Remove(out + ".stamp")
	if err := run(cmd); err != nil {
		return false, err
	}
	return true, os.WriteFile(out+".stamp", []byte(stamp), 0o644)
}

// stamp is a hash of all that a build depends on: the tools, the command, the pinned modules and our own source.
func (p *packer) stamp(cmd *exec.Cmd, prog program, m module) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), p.arch, cmd.Args, m.Version, m.Time)
	if prog.cgo || prog.name == "pause" {
		tool, err := exec.Command(p.cc(), "--version").Output()
		if err != nil {
			return "", err
		}
		h.Write(tool)
	}
	folder, names := prog.folder, []string{"go.mod", "go.sum"}
	if prog.module == "" { // ours, and made of the standard library only
		folder, names = filepath.Join(prog.folder, prog.pkg), nil
	}
	sources, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return "", err
	}
	sources = slices.DeleteFunc(sources, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	for _, name := range names {
		sources = append(sources, filepath.Join(folder, name))
	}
	for _, name := range sources {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", filepath.Base(name), len(data))
		h.Write(data)
	}
	if len(sources) == 0 {
		return "", errors.New("no source in " + folder)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
