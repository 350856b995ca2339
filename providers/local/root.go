//go:build linux

package local

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// freshFolders are the machine's own and empty at first: nothing of the host's shows through.
func freshFolders() map[string]fs.FileMode {
	return map[string]fs.FileMode{
		"/root": 0o700, "/home": 0o755, "/mnt": 0o755, "/media": 0o755, "/srv": 0o755,
		"/tmp": 0o777 | fs.ModeSticky, "/var/tmp": 0o777 | fs.ModeSticky, "/var/spool": 0o755,
		"/etc/ssh": 0o755, "/etc/kubernetes": 0o755, "/etc/cni": 0o755, "/etc/provision": 0o755, "/etc/service": 0o755,
		"/etc/cron.d": 0o755, "/var/lib/cni": 0o755, "/var/lib/docker": 0o755, "/run": 0o755,
	}
}

// diskFolders are mounted from the machine's disk folder: an overlay could not be made on the root, which is one itself.
func diskFolders() map[string]string {
	return map[string]string{
		"/var/lib/containerd": "containerd",
		"/var/lib/kubelet":    "kubelet",
		"/var/lib/etcd":       "etcd",
		"/var/lib/provision":  "provision",
		"/opt/provision":      "opt",
		"/var/log":            "log",
	}
}

// userDataFile is where a machine finds what it runs once.
const userDataFile = "/var/lib/cloud/user-data"

// A root is a machine's root as the host sees it: for each layer the folder that takes what differs from the host.
type root struct {
	dir    string // the machine's
	layers []string
}

func (r root) upper(layer int) string {
	return filepath.Join(r.dir, "layers", strconv.Itoa(layer), "upper")
}

func (r root) work(layer int) string {
	return filepath.Join(r.dir, "layers", strconv.Itoa(layer), "work")
}

func (r root) disk(name string) string { return filepath.Join(r.dir, "disk", name) }

// host is where on the host a path of the machine is written to.
func (r root) host(path string) string {
	for i := len(r.layers) - 1; i >= 0; i-- {
		if below(path, r.layers[i:i+1]) {
			rel, _ := filepath.Rel(r.layers[i], path)
			return filepath.Join(r.upper(i), rel)
		}
	}
	return filepath.Join(r.upper(0), path)
}

// layOut makes everything that a machine's root needs before its first boot. It may be repeated.
func (r root) layOut(rec *machineRecord, sshdPath string) error {
	for i := range r.layers {
		if err := errors.Join(os.MkdirAll(r.upper(i), 0o755), os.MkdirAll(r.work(i), 0o755)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(r.dir, "root"), 0o755); err != nil {
		return err
	}
	for path, mode := range freshFolders() {
		if err := r.fresh(path, mode); err != nil {
			return err
		}
	}
	for path, name := range diskFolders() {
		if err := errors.Join(os.MkdirAll(r.disk(name), 0o755), r.folder(path)); err != nil {
			return err
		}
	}
	key, err := r.hostKey()
	if err != nil {
		return err
	}
	rec.HostKeys = []string{key}
	return r.files(rec, sshdPath)
}

// folder makes a folder of the machine with the modes that the host's folders of that name have.
func (r root) folder(path string) error {
	if path == "/" {
		return nil
	}
	if err := r.folder(filepath.Dir(path)); err != nil {
		return err
	}
	at := r.host(path)
	if err := os.Mkdir(at, 0o755); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	if s, err := os.Stat(path); err == nil && s.IsDir() {
		st := s.Sys().(*syscall.Stat_t)
		return errors.Join(os.Chown(at, int(st.Uid), int(st.Gid)), os.Chmod(at, s.Mode()))
	}
	return nil
}

// fresh makes a folder through which nothing of the host's shows.
func (r root) fresh(path string, mode fs.FileMode) error {
	if err := r.folder(path); err != nil {
		return err
	}
	at := r.host(path)
	if err := errors.Join(os.Chown(at, 0, 0), os.Chmod(at, mode)); err != nil {
		return err
	}
	if err := unix.Setxattr(at, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		return fail(providers.Unsupported, "the file system of %s does not keep the marks that an overlay needs (trusted.overlay.opaque): %w", r.dir, err)
	}
	return nil
}

// hostKey returns the public half of the machine's SSH host key, which is made at first.
func (r root) hostKey() (string, error) {
	file := r.host("/etc/ssh/ssh_host_ed25519_key")
	if b, err := os.ReadFile(file); err == nil {
		s, err := ssh.ParsePrivateKey(b)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", file, err)
		}
		return publicLine(s.PublicKey()), nil
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", err
	}
	if err := writeFile(file+".pub", []byte(publicLine(key)+"\n"), 0o644); err != nil {
		return "", err
	}
	return publicLine(key), writeFile(file, pem.EncodeToMemory(block), 0o600)
}

func publicLine(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

// files writes the files that differ from the host's.
func (r root) files(rec *machineRecord, sshdPath string) error {
	s := rec.Spec
	resolv, err := resolvConf(rec.CIDR)
	if err != nil {
		return err
	}
	config, err := sshdConfig(sshdPath)
	if err != nil {
		return err
	}
	shadow, err := shadowFile()
	if err != nil {
		return err
	}
	id := sha256.Sum256([]byte(rec.ID))
	hosts := fmt.Sprintf("127.0.0.1\tlocalhost\n%s\t%s\n\n::1\tlocalhost ip6-localhost ip6-loopback\n", rec.Address, s.Name)
	all := []struct {
		path, text string
		mode       fs.FileMode
	}{
		{"/etc/hostname", s.Name + "\n", 0o644},
		{"/etc/hosts", hosts, 0o644},
		{"/etc/machine-id", hex.EncodeToString(id[:16]) + "\n", 0o444},
		{"/etc/resolv.conf", resolv, 0o644},
		{"/etc/fstab", "", 0o644},
		{"/etc/shadow", shadow, 0o600},
		{"/etc/motd", "", 0o644},
		{"/etc/ssh/sshd_config", config, 0o644},
		{"/root/.ssh/authorized_keys", strings.Join(s.AuthorizedKeys, "\n") + "\n", 0o600},
	}
	if len(s.UserData) > 0 {
		all = append(all, struct {
			path, text string
			mode       fs.FileMode
		}{userDataFile, string(s.UserData), 0o700})
	}
	for _, f := range all {
		if err := r.folder(filepath.Dir(f.path)); err != nil {
			return err
		}
		if err := writeFile(r.host(f.path), []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return os.Chmod(r.host("/root/.ssh"), 0o700)
}

// shadowFile lets nobody in by password, and takes no password of the host's along.
func shadowFile() (string, error) {
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for line := range strings.Lines(string(passwd)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			fmt.Fprintf(&b, "%s:*:20000:0:99999:7:::\n", name)
		}
	}
	return b.String(), nil
}

// resolvConf is the host's, without name servers on the host's loopback, which a machine cannot reach. There is always
// one, as programs fail without: the gateway, which refuses.
func resolvConf(network netip.Prefix) (string, error) {
	var kept strings.Builder
	servers := 0
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		kept.Reset()
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 2 || f[0] == "nameserver" && (strings.HasPrefix(f[1], "127.") || f[1] == "::1") {
				continue
			}
			switch f[0] {
			case "nameserver":
				servers++
				fallthrough
			case "search", "domain", "options":
				kept.WriteString(strings.Join(f, " ") + "\n")
			}
		}
		if servers > 0 {
			return kept.String(), nil
		}
	}
	return fmt.Sprintf("nameserver %s\n", gateway(network)), nil
}

// sshdConfig lets root in by key only.
func sshdConfig(sshdPath string) (string, error) {
	program, err := os.ReadFile(sshdPath)
	if err != nil {
		return "", err
	}
	lines := []string{
		"HostKey /etc/ssh/ssh_host_ed25519_key",
		"AuthorizedKeysFile .ssh/authorized_keys",
		"PermitRootLogin prohibit-password",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"UsePAM no",
		"UseDNS no",
		"PrintMotd no",
		"X11Forwarding no",
		"MaxStartups 100:30:200",
		"MaxSessions 100",
		"LoginGraceTime 30",
		"SetEnv LANG=C.UTF-8",
		"Subsystem sftp internal-sftp",
	}
	if bytes.Contains(bytes.ToLower(program), []byte("persourcepenalties")) { // since OpenSSH 9.8; an older one refuses the word
		lines = append(lines, "PerSourcePenalties no")
	}
	return strings.Join(lines, "\n") + "\n", nil
}
