package ssh_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/bootstrap/ssh"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

const sshdPath = "/usr/sbin/sshd"

// An sshd is a real OpenSSH server on the loopback address.
type sshd struct {
	addr    string
	hostKey string
	keys    *ssh.Keys
	pem     []byte
}

// startSSHD starts an OpenSSH server that lets the current user in with a new key.
func startSSHD(t testing.TB) *sshd {
	t.Helper()
	if _, err := os.Stat(sshdPath); err != nil {
		t.Fatalf("this test needs the package openssh-server: %v", err)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil && os.Geteuid() == 0 {
		t.Fatal(err)
	}
	dir := t.TempDir()
	hostPEM, hostKey := newKey(t)
	userPEM, userKey := newKey(t)
	addr := freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	conf := write("sshd_config", fmt.Appendf(nil, `ListenAddress %s:%s
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
`, host, port, write("host", hostPEM), write("authorized", gossh.MarshalAuthorizedKey(userKey))))
	cmd := exec.Command(sshdPath, "-D", "-e", "-f", conf)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", log.Bytes())
		}
	})
	return &sshd{addr, string(gossh.MarshalAuthorizedKey(hostKey)), newKeys(t, ssh.KeyOptions{PEM: [][]byte{userPEM}}), userPEM}
}

func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *sshd) options(t testing.TB) ssh.Options {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return ssh.Options{Addr: s.addr, User: u.Username, Keys: s.keys, HostKeys: []string{s.hostKey}, Timeout: 20 * time.Second}
}

func TestOpenSSH(t *testing.T) {
	s := startSSHD(t)
	h := dial(t, s.options(t))
	t.Run("Run", func(t *testing.T) {
		res, err := h.Run(context.Background(), ssh.Command{Line: "cat; echo err >&2; exit 3", Stdin: strings.NewReader("in")})
		var exit *ssh.ExitError
		if string(res.Stdout) != "in" || string(res.Stderr) != "err\n" || !errors.As(err, &exit) || exit.Status != 3 {
			t.Errorf("got %q, %q, %v", res.Stdout, res.Stderr, err)
		}
	})
	t.Run("signal", func(t *testing.T) { testSignal(t, h) })
	t.Run("Put", func(t *testing.T) { testOpenSSHPut(t, h) })
	t.Run("Dial", func(t *testing.T) { testOpenSSHDial(t, h) })
	t.Run("terminal", func(t *testing.T) {
		res, err := h.Run(context.Background(), ssh.Command{Line: "stty size; echo $TERM", Login: true, TTY: &ssh.TTY{Term: "vt100", Width: 90, Height: 30}})
		if got := strings.ReplaceAll(string(res.Stdout), "\r", ""); err != nil || got != "30 90\nvt100\n" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("bastion", func(t *testing.T) {
		behind := startSSHD(t)
		o := behind.options(t)
		o.Through = h
		res, err := dial(t, o).Run(context.Background(), ssh.Command{Line: "echo $SSH_CONNECTION"})
		if _, port, _ := net.SplitHostPort(behind.addr); err != nil || !strings.HasSuffix(strings.TrimSpace(string(res.Stdout)), port) {
			t.Errorf("got %q, %v", res.Stdout, err)
		}
	})
	t.Run("agent", func(t *testing.T) {
		o := s.options(t)
		o.Keys = newKeys(t, ssh.KeyOptions{Agent: startAgent(t, s.pem)})
		if _, err := dial(t, o).Run(context.Background(), ssh.Command{Line: "true"}); err != nil {
			t.Error(err)
		}
	})
	t.Run("key refused", func(t *testing.T) {
		o := s.options(t)
		o.Keys = newKeys(t, ssh.KeyOptions{})
		if _, err := ssh.Dial(context.Background(), o); !errors.As(err, new(*ssh.AuthError)) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("host key changed", func(t *testing.T) {
		o := s.options(t)
		_, k := newKey(t)
		o.HostKeys = []string{string(gossh.MarshalAuthorizedKey(k))}
		if _, err := ssh.Dial(context.Background(), o); !errors.As(err, new(*ssh.HostKeyChanged)) {
			t.Errorf("got %v", err)
		}
	})
}

// testSignal shows that a command whose context ends does not live on at the machine.
func testSignal(t *testing.T, h ssh.Host) {
	mark := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := func(line string) {
		if line == "started" {
			cancel()
		}
	}
	_, err := h.Run(ctx, ssh.Command{Line: "sleep 1000 & echo $! >" + ssh.Quote(mark) + "; echo started; wait", Lines: started})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	pid, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		b, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || bytes.Contains(b, []byte(") Z ")) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the command's child lives on")
}

func testOpenSSHPut(t *testing.T, h ssh.Host) {
	content := noise(20 << 20)
	local, remote := filepath.Join(t.TempDir(), "local"), filepath.Join(t.TempDir(), "a", "b")
	if err := os.WriteFile(local, content, 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := ssh.FromFile(local)
	if err != nil {
		t.Fatal(err)
	}
	f := ssh.File{Path: remote, Mode: 0o750, Source: src}
	ctx, cancel := context.WithCancel(context.Background())
	f.Progress = func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	}
	if err := h.Put(ctx, f); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled upload: %v", err)
	}
	if i, err := os.Stat(remote + ".part"); err != nil || i.Size() < 5<<20 {
		t.Errorf("of a cancelled upload is left: %v, %v", i, err)
	}
	first := int64(-1)
	f.Progress = func(done, _ int64) {
		if first < 0 {
			first = done
		}
	}
	if err := h.Put(context.Background(), f); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(remote)
	if i, serr := os.Stat(remote); err != nil || serr != nil || !bytes.Equal(got, content) || i.Mode() != 0o750 {
		t.Errorf("file arrived with %d bytes: %v", len(got), err)
	}
	if first < 5<<20 {
		t.Errorf("the second upload began at %d", first)
	}
}

func testOpenSSHDial(t *testing.T, h ssh.Host) {
	path := filepath.Join(t.TempDir(), "socket")
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": path} {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				io.Copy(c, c)
				c.Close()
			}
		}()
		c, err := h.Dial(context.Background(), network, l.Addr().String())
		if err != nil {
			t.Errorf("%s: %v", network, err)
			continue
		}
		io.WriteString(c, "hello")
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
			t.Errorf("%s: got %q, %v", network, got, err)
		}
		c.Close()
	}
	if _, err := h.Dial(context.Background(), "tcp", freeAddr(t)); err == nil {
		t.Error("a dial to nobody succeeds")
	}
}

// startAgent serves an ssh-agent that has one key.
func startAgent(t *testing.T, key []byte) string {
	raw, err := gossh.ParseRawPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: *raw.(*ed25519.PrivateKey)}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go agent.ServeAgent(ring, c)
		}
	}()
	return path
}

// BenchmarkPut uploads 64 MiB to a real OpenSSH server on the loopback address.
func BenchmarkPut(b *testing.B) {
	h := dial(b, startSSHD(b).options(b))
	content := noise(64 << 20)
	src := ssh.FromBytes(content)
	dir := b.TempDir()
	b.SetBytes(int64(len(content)))
	for i := 0; b.Loop(); i++ {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := h.Put(context.Background(), ssh.File{Path: path, Mode: 0o600, Source: src}); err != nil {
			b.Fatal(err)
		}
		os.Remove(path)
	}
}
