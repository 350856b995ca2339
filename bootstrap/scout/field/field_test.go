//go:build linux

package field

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A running scout, on the loopback address.
type running struct {
	t     *testing.T
	in    *io.PipeWriter
	lines chan string
	done  chan int
	n     int
}

func start(t *testing.T) *running {
	t.Helper()
	in, w := io.Pipe()
	out, outW := io.Pipe()
	r := &running{t: t, in: w, lines: make(chan string, 1000), done: make(chan int, 1)}
	go func() { r.done <- Main(nil, in, outW, io.Discard); outW.Close() }()
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { w.Close(); <-r.done })
	if l := <-r.lines; l != Greeting {
		t.Fatalf("greeting: %q", l)
	}
	return r
}

// ask returns the parts of the answer, and its end: "= words" or "! reason".
func (r *running) ask(words ...any) (parts []string, end string) {
	r.t.Helper()
	r.send(words...)
	return r.wait()
}

func (r *running) send(words ...any) {
	r.n++
	fmt.Fprintln(r.in, append([]any{r.n}, words...)...)
}

func (r *running) wait() (parts []string, end string) {
	r.t.Helper()
	id := fmt.Sprint(r.n) + " "
	for timeout := time.After(30 * time.Second); ; {
		select {
		case l := <-r.lines:
			rest, ok := strings.CutPrefix(l, id)
			if part, more := strings.CutPrefix(rest, ". "); ok && more {
				parts = append(parts, part)
			} else if ok {
				return parts, rest
			}
		case <-timeout:
			r.t.Fatal("no answer")
		}
	}
}

func (r *running) want(end string, words ...any) []string {
	r.t.Helper()
	parts, got := r.ask(words...)
	if !strings.HasPrefix(got, end) {
		r.t.Fatalf("%v: got %q, want %q", words, got, end)
	}
	return parts
}

func content(n int) ([]byte, string) {
	b := make([]byte, n)
	rand.Read(b)
	h := sha256.Sum256(b)
	return b, hex.EncodeToString(h[:])
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestUnknown(t *testing.T) {
	r := start(t)
	r.want("! no request dance", "dance")
	r.want("! no request serve of so many arguments", "serve", "127.0.0.1")
	r.want("! ", "offer", "sum", "many", "/x")
	var out bytes.Buffer
	if code := Main([]string{"--help"}, strings.NewReader(""), io.Discard, &out); code != 2 || !strings.Contains(out.String(), "is run by provision") {
		t.Errorf("got %d, %q", code, out.String())
	}
}

// TestHandOn lets a file grow on one machine while a second gets it from the first, and a third from the second.
func TestHandOn(t *testing.T) {
	b, sum := content(3 << 20)
	dirs := [3]string{t.TempDir(), t.TempDir(), t.TempDir()}
	rs := [3]*running{start(t), start(t), start(t)}
	var at [3]string
	for i, r := range rs {
		r.want("= ", "offer", sum, len(b), dirs[i]+"/f")
		_, port := r.ask("serve", "127.0.0.1", "tok")
		at[i] = "127.0.0.1:" + strings.TrimPrefix(port, "= ")
	}
	rs[1].send("fetch", sum, len(b), dirs[1]+"/f", "0640", "tok", at[0])
	rs[2].send("fetch", sum, len(b), dirs[2]+"/f", "0640", "tok", at[1])
	f, err := os.Create(dirs[0] + "/f.part")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += 512 << 10 {
		f.Write(b[i:min(len(b), i+512<<10)])
		time.Sleep(20 * time.Millisecond)
	}
	f.Close()
	if err := os.Rename(dirs[0]+"/f.part", dirs[0]+"/f"); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 3; i++ {
		if parts, end := rs[i].wait(); !strings.HasPrefix(end, "=") || len(parts) == 0 {
			t.Fatalf("machine %d: %q after %q", i, end, parts)
		}
		got, err := os.ReadFile(dirs[i] + "/f")
		info, _ := os.Stat(dirs[i] + "/f")
		if err != nil || !bytes.Equal(got, b) || info.Mode().Perm() != 0o640 {
			t.Errorf("machine %d: %v, %d bytes", i, err, len(got))
		}
	}
	// Its name may go, as when it is unpacked.
	os.Remove(dirs[1] + "/f")
	late := filepath.Join(t.TempDir(), "f")
	rs[2].want("= ", "fetch", sum, len(b), late, "0600", "tok", at[1])
}

// TestOlder has another file under the name while the right one comes.
func TestOlder(t *testing.T) {
	b, sum := content(1000)
	old, _ := content(1000)
	dir := t.TempDir()
	write(t, dir+"/f", old)
	r, peer := start(t), start(t)
	r.want("= ", "offer", sum, len(b), dir+"/f")
	_, port := r.ask("serve", "127.0.0.1", "tok")
	to := filepath.Join(t.TempDir(), "f")
	peer.send("fetch", sum, len(b), to, "0600", "tok", "127.0.0.1:"+strings.TrimPrefix(port, "= "))
	time.Sleep(50 * time.Millisecond)
	write(t, dir+"/new", b) // so fast that nobody sees its part
	os.Rename(dir+"/new", dir+"/f")
	if _, end := peer.wait(); !strings.HasPrefix(end, "=") {
		t.Errorf("got %q", end)
	}
}

// TestResume goes on where an earlier fetch ended, and starts anew if that was wrong.
func TestResume(t *testing.T) {
	b, sum := content(100 << 10)
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "f")
	write(t, dir+"/f", b)
	r := start(t)
	r.want("= ", "offer", sum, len(b), dir+"/f")
	r.want("= ", "have", sum)
	_, port := r.ask("serve", "127.0.0.1", "tok")
	from := "127.0.0.1:" + strings.TrimPrefix(port, "= ")
	write(t, to+".part", b[:60<<10])
	r.want("= ", "fetch", sum, len(b), to, "0600", "tok", from)
	os.Remove(to)
	write(t, to+".part", make([]byte, 60<<10))
	r.want("! mismatch", "fetch", sum, len(b), to, "0600", "tok", from)
	r.want("= ", "fetch", sum, len(b), to, "0600", "tok", from)
	os.Remove(to)
	write(t, to+".part", make([]byte, 200<<10)) // longer than the file
	r.want("= ", "fetch", sum, len(b), to, "0600", "tok", from)
	if got, _ := os.ReadFile(to); !bytes.Equal(got, b) {
		t.Error("wrong content")
	}
}

// TestRefused has all that a peer can do wrong.
func TestRefused(t *testing.T) {
	b, sum := content(1000)
	dir := t.TempDir()
	write(t, dir+"/f", b)
	r := start(t)
	r.want("= ", "offer", sum, len(b), dir+"/f")
	r.want("= ", "have", sum)
	_, port := r.ask("serve", "127.0.0.1", "tok")
	from := "127.0.0.1:" + strings.TrimPrefix(port, "= ")
	to := filepath.Join(t.TempDir(), "f")
	r.want(`! refused: the peer answers ""`, "fetch", sum, 1000, to, "0600", "wrong", from)
	r.want(`! refused: the peer answers "not offered"`, "fetch", strings.Repeat("0", 64), 1000, to, "0600", "tok", from)
	r.want("! connect: connection refused", "fetch", sum, 1000, to, "0600", "tok", "127.0.0.1:1")
	r.want("! disk: ", "fetch", sum, 1000, "/dev/null/f", "0600", "tok", from)
	r.want("! not offered", "have", "other")
	// A liar: as many bytes as wanted, and others.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for _, answer := range []string{"ok\n" + strings.Repeat("x", 1000), "ok\n" + strings.Repeat("x", 10)} {
			c, err := l.Accept()
			if err != nil {
				return
			}
			readLine(c)
			io.WriteString(c, answer)
			c.Close()
		}
	}()
	r.want("! mismatch: arrived with", "fetch", sum, 1000, to, "0600", "tok", l.Addr())
	r.want("! lost: after 10 bytes", "fetch", sum, 1000, to, "0600", "tok", l.Addr())
	if _, err := os.Stat(to); err == nil {
		t.Error("a file that never came is there")
	}
}

// TestPorts puts up listeners and tries them, with what can be in the way.
func TestPorts(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	go func() {
		for {
			c, err := busy.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	_, taken, _ := net.SplitHostPort(busy.Addr().String())
	free, other := freePort(t), freePort(t)
	r := start(t)
	got := strings.Join(r.want("= ", "listen", "127.0.0.1", "tok", "tcp/"+free, "tcp/"+taken, "udp/"+free), "|")
	if want := "tcp/" + free + " ok|tcp/" + taken + " busy|udp/" + free + " ok"; got != want {
		t.Errorf("listen: got %s, want %s", got, want)
	}
	at := "127.0.0.1/"
	misses := r.want("= 5", "reach", "tok", at+"tcp/"+free, at+"udp/"+free, at+"tcp/"+taken+"/any", at+"tcp/"+taken, at+"tcp/"+other)
	all := strings.Join(misses, "|")
	if len(misses) != 2 || !strings.Contains(all, at+"tcp/"+taken+" stranger") || !strings.Contains(all, at+"tcp/"+other+" refused") {
		t.Errorf("misses: %q", misses)
	}
	if heard := r.want("= ", "heard"); len(heard) != 1 || heard[0] != "127.0.0.1" {
		t.Errorf("heard: %q", heard)
	}
	if small := r.want("= ", "mtu", "tok", free, 1500, 2, "127.0.0.1"); len(small) != 0 {
		t.Errorf("packets of 1500 bytes: %q", small)
	}
	if small := r.want("= ", "mtu", "tok", free, 65600, 1, "127.0.0.1"); len(small) != 1 || !strings.HasPrefix(small[0], "127.0.0.1 6") {
		t.Errorf("packets larger than there are: %q", small)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestMachine(t *testing.T) {
	r := start(t)
	dir := t.TempDir()
	_, end := r.ask("disk", dir+"/not/yet/there", "50ms")
	var n, p50, p99, longest int
	if _, err := fmt.Sscanf(end, "= %d %d %d %d", &n, &p50, &p99, &longest); err != nil || n == 0 || p50 > p99 || p99 > longest {
		t.Errorf("disk: %q", end)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("left: %v", files)
	}
	if bad := r.want("= ", "write", dir, "/proc/1"); len(bad) != 1 || !strings.HasPrefix(bad[0], "/proc/1 ") {
		t.Errorf("write: %q", bad)
	}
	_, end = r.ask("clock")
	var ns int64
	if _, err := fmt.Sscanf(end, "= %d", &ns); err != nil || time.Since(time.Unix(0, ns)).Abs() > time.Minute {
		t.Errorf("clock: %q", end)
	}
	_, end = r.ask("dns", "127.0.0.1", "kubernetes.io")
	if end == "" {
		t.Error("dns: no answer")
	}
}

// TestNoVanishUnasked runs the program as a person might.
func TestNoVanishUnasked(t *testing.T) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if code := Main(nil, strings.NewReader(""), io.Discard, io.Discard); code != 0 {
		t.Errorf("exit %d", code)
	}
	if _, err := os.Stat(self); err != nil {
		t.Errorf("the program removed itself: %v", err)
	}
}
