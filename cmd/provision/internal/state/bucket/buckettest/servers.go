// Package buckettest is the suite that every kind of bucket passes, and the servers that it is run on: moto for S3, Azurite for
// Azure Blob, fake-gcs-server for Google Cloud Storage, each behind a proxy that lets requests go wrong.
package buckettest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// A Server is a program that others wrote and that speaks as one vendor's store does, on loopback.
type Server struct {
	Name   string // of the scheme: "s3", "azblob" or "gs"
	Proxy  *Proxy // stands before it; URL leads through it
	Bucket string // the bucket that is there

	parameters string
	denied     Fault // an answer that does not allow
	stranger   Fault // an answer that does not know who asks
	create     func(name string) error
	remove     func(name string) error
}

// Servers starts moto, Azurite and fake-gcs-server, sets the environment so that buckets of each are opened with the right
// credentials by this process and those that it starts, and stops exactly the processes it started when the test ends. A
// program that is missing fails the test: `.ci/setup tests` installs it.
func Servers(t testing.TB) []*Server {
	t.Helper()
	// Nothing asks the network where it runs, and no file of the person who runs the test is read.
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "provision", "AWS_SECRET_ACCESS_KEY": rand.Text(), "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AZURE_STORAGE_ACCOUNT": "provision", "AZURE_STORAGE_KEY": base64.StdEncoding.EncodeToString([]byte(rand.Text())),
		"AZURE_STORAGE_SAS_TOKEN": "", "GOOGLE_APPLICATION_CREDENTIALS": "", "GCE_METADATA_HOST": "127.0.0.1:1",
	} {
		t.Setenv(name, value)
		if value == "" { // empty is not the same as none
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	servers := []*Server{startMoto(t), startAzurite(t), startFakeGCS(t)}
	for _, s := range servers {
		s.Bucket = "states"
		if err := s.create(s.Bucket); err != nil {
			t.Fatalf("%s: make the bucket: %v", s.Name, err)
		}
	}
	return servers
}

// URL is the server's bucket with a prefix, through the proxy.
func (s *Server) URL(prefix string) string { return s.url(s.Bucket, prefix) }

func (s *Server) url(name, prefix string) string {
	u := s.Name + "://" + name + "/" + prefix
	if s.parameters != "" {
		u += "?" + s.parameters
	}
	return u
}

// Op tells what a request to the server asks for: "put", "get", "delete" or "list", as the methods of Bucket.
func (s *Server) Op(r *http.Request) string {
	q := r.URL.Query()
	listing := q.Get("list-type") != "" || q.Get("comp") == "list" || s.Name == "gs" && strings.HasSuffix(r.URL.Path, "/o")
	switch {
	case r.Method == http.MethodDelete:
		return "delete"
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return "put"
	case listing:
		return "list"
	}
	return "get"
}

// First returns a decision for Proxy.Set: the first n requests of an op fail.
func (s *Server) First(n int64, op string, f Fault) func(*http.Request) Fault {
	var seen atomic.Int64
	return func(r *http.Request) Fault {
		if s.Op(r) == op && seen.Add(1) <= n {
			return f
		}
		return Fault{}
	}
}

// Open opens the server's bucket with a prefix that nobody else has, until the test ends, with the patience that a busy
// machine needs.
func (s *Server) Open(t testing.TB) bucket.Bucket {
	t.Helper()
	return s.OpenURL(t, s.URL("t-"+strings.ToLower(rand.Text())))
}

// OpenURL opens a bucket by its URL, until the test ends, with the patience that a busy machine needs.
func (s *Server) OpenURL(t testing.TB, url string) bucket.Bucket {
	t.Helper()
	b, err := bucket.Opener{Attempt: time.Minute, Patience: 2 * time.Minute}.Open(context.Background(), url)
	if err != nil {
		t.Fatalf("open %s: %v", url, err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close %s: %v", url, err)
		}
	})
	return b
}

// Vanishing makes another bucket and returns its URL and what removes it with the object lock.json that must be in it.
func (s *Server) Vanishing(t testing.TB) (url string, vanish func()) {
	t.Helper()
	name := "v" + strings.ToLower(rand.Text())
	if err := s.create(name); err != nil {
		t.Fatalf("%s: make a bucket: %v", s.Name, err)
	}
	return s.url(name, "p"), func() {
		if err := s.remove(name); err != nil {
			t.Errorf("%s: remove the bucket %s: %v", s.Name, name, err)
		}
	}
}

func startMoto(t testing.TB) *Server {
	path, err := exec.LookPath("moto_server")
	if err != nil {
		t.Fatalf("moto_server is missing, run `.ci/setup tests` (or: pip install 'moto[server]'): %v", err)
	}
	url := start(t, func(port string) *exec.Cmd { return exec.Command(path, "-H", "127.0.0.1", "-p", port) })
	xml := map[string]string{"Content-Type": "application/xml"}
	s := &Server{Name: "s3", Proxy: newProxy(t, url)}
	s.denied = Fault{Status: 403, Header: xml, Body: `<Error><Code>AccessDenied</Code><Message>no</Message></Error>`}
	s.stranger = Fault{Status: 400, Header: xml, Body: `<Error><Code>ExpiredToken</Code><Message>old</Message></Error>`}
	s.parameters = "region=us-east-1&path_style=true&endpoint=" + s.Proxy.URL()
	s.create = func(name string) error { return ask(http.MethodPut, url+"/"+name, "") }
	s.remove = func(string) error { // moto removes no bucket that holds anything
		return errors.Join(ask(http.MethodPost, url+"/moto-api/reset", ""), s.create(s.Bucket))
	}
	return s
}

// neverCollect keeps Azurite from its collection of what was overwritten, which begins after ten minutes: it sorts all that is left
// anew for each thing that it removes, and answers nobody for as long; after some hundred thousand writes, that is for good.
const neverCollect = "require(%q + '/dist/src/blob/utils/constants').DEFAULT_GC_INTERVAL_MS = 0x7fffffff\n"

func startAzurite(t testing.TB) *Server {
	path := filepath.Join(root(t), ".cache/azurite/node_modules/.bin/azurite-blob")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("Azurite is missing, run `.ci/setup tests`: %v", err)
	}
	preload := filepath.Join(t.TempDir(), "preload.cjs")
	if err := os.WriteFile(preload, fmt.Appendf(nil, neverCollect, filepath.Join(root(t), ".cache/azurite/node_modules/azurite")), 0o600); err != nil {
		t.Fatal(err)
	}
	url := start(t, func(port string) *exec.Cmd {
		c := exec.Command(path, "--blobHost", "127.0.0.1", "--blobPort", port,
			"--inMemoryPersistence", "--disableTelemetry", "--silent")
		c.Env = append(os.Environ(), "NODE_OPTIONS=--require="+preload, "AZURITE_ACCOUNTS="+os.Getenv("AZURE_STORAGE_ACCOUNT")+":"+os.Getenv("AZURE_STORAGE_KEY"))
		return c
	})
	s := &Server{Name: "azblob", Proxy: newProxy(t, url)}
	s.denied = Fault{Status: 403, Header: map[string]string{"x-ms-error-code": "AuthorizationPermissionMismatch"}}
	s.stranger = Fault{Status: 403, Header: map[string]string{"x-ms-error-code": "AuthenticationFailed"}}
	s.parameters = "endpoint=" + s.Proxy.URL() + "/" + os.Getenv("AZURE_STORAGE_ACCOUNT")
	client := func(name string) (*container.Client, error) {
		key, err := container.NewSharedKeyCredential(os.Getenv("AZURE_STORAGE_ACCOUNT"), os.Getenv("AZURE_STORAGE_KEY"))
		if err != nil {
			return nil, err
		}
		return container.NewClientWithSharedKeyCredential(url+"/"+os.Getenv("AZURE_STORAGE_ACCOUNT")+"/"+name, key, nil)
	}
	s.create = func(name string) error {
		c, err := client(name)
		if err == nil {
			_, err = c.Create(context.Background(), nil)
		}
		return err
	}
	s.remove = func(name string) error {
		c, err := client(name)
		if err == nil {
			_, err = c.Delete(context.Background(), nil)
		}
		return err
	}
	return s
}

func startFakeGCS(t testing.TB) *Server {
	folder := filepath.Join(root(t), "cmd/provision/internal/state/bucket/buckettest/fakegcs")
	path := filepath.Join(root(t), ".cache/fake-gcs-server") // go build leaves it alone while it is up to date
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "github.com/fsouza/fake-gcs-server")
	build.Dir = folder
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build fake-gcs-server in %s: %v\n%s", folder, err, out)
	}
	url := start(t, func(port string) *exec.Cmd {
		return exec.Command(path, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory", "-log-level", "error")
	})
	s := &Server{Name: "gs", Proxy: newProxy(t, url)}
	s.Proxy.mend = s.Proxy.mendDelete
	s.denied = Fault{Status: 403, Body: `{"error":{"code":403,"message":"no","errors":[{"reason":"forbidden"}]}}`}
	s.stranger = Fault{Status: 401, Body: `{"error":{"code":401,"message":"old","errors":[{"reason":"authError"}]}}`}
	t.Setenv("STORAGE_EMULATOR_HOST", s.Proxy.URL())
	s.create = func(name string) error { return ask(http.MethodPost, url+"/storage/v1/b", `{"name":"`+name+`"}`) }
	s.remove = func(name string) error { // of the one object that is in it, and the bucket
		path := url + "/storage/v1/b/" + name
		return errors.Join(ask(http.MethodDelete, path+"/o/p%2Flock.json", ""), ask(http.MethodDelete, path, ""))
	}
	return s
}

// ask makes one request that must succeed.
func ask(method, url, body string) error {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, url, answer.Status)
	}
	return nil
}

// start starts a server on a free port and waits until it answers. Another process may take the port first: then it tries once more.
func start(t testing.TB, command func(port string) *exec.Cmd) (url string) {
	t.Helper()
	var said string
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		url = "http://127.0.0.1:" + port
		if said = run(t, command(port), url); said == "" {
			return url
		}
	}
	t.Fatal(said)
	return ""
}

// run starts one process, to be killed with all of its own at the test's end, and tells what it said if it does not answer.
func run(t testing.TB, c *exec.Cmd, url string) string {
	t.Helper()
	var out output
	c.Stdout, c.Stderr = &out, &out
	c.WaitDelay = time.Second
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait() // it is killed, and says so
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // its group, which is ours alone; it may be gone already
		<-ended
	})
	client := &http.Client{Timeout: time.Second}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		select {
		case <-ended:
			return fmt.Sprintf("%s ended: %s", c, &out)
		case <-time.After(50 * time.Millisecond):
		}
		if answer, err := client.Get(url); err == nil {
			_ = answer.Body.Close()
			return ""
		}
	}
	return fmt.Sprintf("%s does not answer within a minute: %s", c, &out)
}

// output is the last words of a process.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.b.Len() > 1<<16 {
		o.b.Reset()
	}
	return o.b.Write(p)
}

// String returns them.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// root is this repository's top folder, found from where the test runs.
func root(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for at := folder; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, ".ci/setup")); err == nil {
			return at
		}
		if at == filepath.Dir(at) {
			t.Fatalf("no .ci/setup above %s", folder)
		}
	}
}
