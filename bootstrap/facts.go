package bootstrap

import (
	"bytes"
	"context"
	_ "embed" // the script
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/templates"
)

//go:embed facts.sh
var factsScript string

// Facts are what is known of a machine, as it was when they were gathered.
type Facts struct {
	Root        bool // commands run as root
	Arch        string
	Kernel      string
	Hostname    string
	Memory      int64    // bytes
	Cgroup      int      // version; 0 if there are none
	Controllers []string // of cgroups
	Init        string   // "systemd", "openrc", "runit" or ""
	Tools       []string // found of those that a node needs
	Overlay     bool     // the kernel can mount overlayfs
	Disks       map[string]Disk
	Listeners   map[int]string // program by TCP port that is listened on; "" if its name is not known
	Skew        time.Duration  // of the machine's clock against ours, at least; 0 if within what can be measured

	Agent   string            // SHA-256 of the node agent; "" if it is not there
	Stale   bool              // a node agent runs whose program was replaced
	Bundles []string          // IDs of bundles that are unpacked
	Current string            // ID of the bundle in use
	Enabled bool              // the init system knows the node agent
	Joined  bool              // the kubelet has a client certificate
	Files   map[string]string // SHA-256 of those asked for, by path
	Status  *templates.Status // of the node agent; nil if it does not run
	Node    *templates.Node   // what the machine was told to be; nil if nothing
}

// A Disk is the file system that a folder is on.
type Disk struct {
	Device string
	Free   int64 // bytes
}

// Gather asks a machine for its facts, in one round trip. files are paths whose checksums are wanted. It changes nothing.
func Gather(ctx context.Context, h ssh.Host, files ...string) (*Facts, error) {
	return gather(ctx, h, "all", files)
}

// gather asks for all facts, or for those of the node only: whether it is enabled and has joined, what it was told and how
// it is. On a busy machine the others take half a second.
func gather(ctx context.Context, h ssh.Host, which string, files []string) (*Facts, error) {
	args := append([]string{"sh", "-c", factsScript, "provision-facts", which}, files...)
	sent := time.Now()
	res, err := h.Run(ctx, ssh.Command{Line: ssh.Quote(args...)})
	if err != nil {
		return nil, named(err, "gather facts")
	}
	return parseFacts(res.Stdout, sent, time.Now())
}

// parseFacts reads what facts.sh wrote between two moments.
func parseFacts(b []byte, sent, got time.Time) (*Facts, error) {
	f := &Facts{Disks: map[string]Disk{}, Listeners: map[int]string{}, Files: map[string]string{}}
	lines, node, ok := bytes.Cut(b, []byte("\n--\n"))
	if !ok {
		return nil, fmt.Errorf("facts of the machine are cut short")
	}
	for line := range strings.Lines(string(lines)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			return nil, fmt.Errorf("facts of the machine: unexpected line %q", line)
		}
		if err := f.set(key, value, sent, got); err != nil {
			return nil, fmt.Errorf("facts of the machine: %s: %w", key, err)
		}
	}
	if len(bytes.TrimSpace(node)) > 0 {
		n, err := templates.ParseNode(node)
		if err != nil {
			return nil, fmt.Errorf("%s of the machine: %w", templates.NodePath, err)
		}
		f.Node = &n
	}
	return f, nil
}

func (f *Facts) set(key, value string, sent, got time.Time) (err error) {
	switch key {
	case "uid":
		f.Root = value == "0"
	case "arch":
		f.Arch = goArch(value)
	case "kernel":
		f.Kernel = value
	case "hostname":
		f.Hostname = value
	case "init":
		f.Init = value
	case "tool":
		f.Tools = append(f.Tools, value)
	case "controllers":
		f.Controllers = strings.Fields(value)
	case "overlay":
		f.Overlay = true
	case "agent":
		f.Agent = value
	case "bundle":
		f.Bundles = append(f.Bundles, value)
	case "current":
		f.Current = value
	case "stale":
		f.Stale = true
	case "enabled":
		f.Enabled = true
	case "joined":
		f.Joined = true
	default:
		return f.parse(key, value, sent, got)
	}
	return nil
}

// parse sets those facts that are more than words.
func (f *Facts) parse(key, value string, sent, got time.Time) (err error) {
	first, rest, _ := strings.Cut(value, " ")
	switch key {
	case "time":
		f.Skew, err = skew(value, sent, got)
	case "memory":
		f.Memory, err = strconv.ParseInt(value, 10, 64)
		f.Memory <<= 10
	case "cgroup":
		f.Cgroup, err = strconv.Atoi(value)
	case "file":
		f.Files[rest] = first
	case "disk":
		var d Disk
		free, device, _ := strings.Cut(rest, " ")
		d.Device = device
		d.Free, err = strconv.ParseInt(free, 10, 64)
		d.Free <<= 10
		f.Disks[first] = d
	case "listen":
		var port int64
		port, err = strconv.ParseInt(value, 16, 32)
		if _, ok := f.Listeners[int(port)]; !ok {
			f.Listeners[int(port)] = ""
		}
	case "listener":
		var port int
		if port, err = strconv.Atoi(first); err == nil {
			f.Listeners[port] = program(rest)
		}
	case "status":
		var s templates.Status
		s, err = templates.ParseStatus([]byte(value))
		f.Status = &s
	}
	return err
}

// skew returns by how much a clock that showed the value between two moments is wrong at least.
func skew(value string, sent, got time.Time) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(strings.TrimRight(value, ".N%"), 64)
	if err != nil {
		return 0, err
	}
	whole, frac := math.Modf(seconds)
	theirs := time.Unix(int64(whole), int64(frac*1e9))
	if theirs.Before(sent) {
		// Without fractions the clock may show up to a second less than it is.
		return min(theirs.Add(time.Second).Sub(sent), 0), nil
	}
	return max(theirs.Sub(got), 0), nil
}

// program returns the name in users:(("NAME",pid=1,fd=2)).
func program(users string) string {
	_, rest, _ := strings.Cut(users, `"`)
	name, _, _ := strings.Cut(rest, `"`)
	return name
}

// goArch returns Go's name of a processor as uname has it.
func goArch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return machine
}
