// Package awstest is what tests of package aws stand on: moto, a server that others wrote and that keeps the state of
// EC2, Elastic Load Balancing, IAM and STS, and in front of it a proxy of ours that does what AWS does and moto does not.
//
// The proxy logs every request; replays client tokens and refuses changed input; splits lists into pages; does not find
// what was just made, for a while; lets instances, balancers and NAT gateways take their time; throttles by AWS's documented
// buckets; runs out of capacity; cuts the connection before or after the effect of a request; and refuses deletes out of
// order by a table written from AWS's documentation.
package awstest

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Options say how unlike moto the cloud is. The zero value is moto with client tokens, orderly deletes and one name for one
// balancer.
type Options struct {
	Page     int  // most things in one answer of a list; 0: all
	Late     int  // answers in which a thing that was made just now is missing
	Slow     int  // answers in which a machine, balancer or NAT gateway is still on its way to its new state
	Throttle bool // AWS's documented buckets

	Hook    Hook            // stands between the proxy and moto; nil: nobody does
	Log     func(Request)   // is told of every request once it is answered; nil: nobody is
	Prepare func(*exec.Cmd) // may change how moto is started; it counts in New only
}

// A Cloud is AWS, as far as tests need it, at URL. Its methods are safe for concurrent use.
type Cloud struct {
	URL string // of the proxy: the endpoint for clients

	moto    string // URL of what is behind it
	command *exec.Cmd
	exited  chan struct{}
	folder  string
	server  *httptest.Server
	client  *http.Client

	mu       sync.Mutex
	options  Options
	log      []Request
	cut      *cut
	faults   map[string]*fault // by action
	tokens   map[string]*token // by action and client token
	hidden   map[string]int    // by ID: answers it is missing in
	states   map[string]state  // by ID: what is still shown of its state
	rates    map[string]*bucket
	console  func(instance string) string
	quotas   map[string]float64
	secrets  map[string]aws.Credentials // by access key, of those whom policies are enforced on
	users    map[string]string          // their names, by access key
	policies map[string]document        // of users, by name
	admin    string                     // access key of the one who may do everything
	now      func() time.Time

	catalogue map[string]*tree // of machine types: outlives a Reset
}

//go:embed amis.json
var images []byte

//go:embed sitecustomize.py
var quicken []byte

// New starts a cloud. Close ends it. The program moto_server must be on PATH or where .ci/setup puts it.
func New(ctx context.Context, o Options) (*Cloud, error) {
	path, err := program()
	if err != nil {
		return nil, err
	}
	c := &Cloud{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}, now: time.Now, catalogue: map[string]*tree{}}
	c.forget(o)
	if c.folder, err = os.MkdirTemp("", "awstest"); err != nil {
		return nil, err
	}
	for range 3 { // somebody else may take the port meanwhile
		if err = c.start(ctx, path); err == nil {
			c.server = httptest.NewServer(http.HandlerFunc(c.serve))
			c.URL = c.server.URL
			return c, nil
		}
	}
	return nil, errors.Join(err, os.RemoveAll(c.folder))
}

// program finds moto_server: on PATH, or in .cache of this folder or one above it.
func program() (string, error) {
	path, err := exec.LookPath("moto_server")
	if err == nil {
		return path, nil
	}
	folder, _ := os.Getwd()
	for ; folder != filepath.Dir(folder); folder = filepath.Dir(folder) {
		path := filepath.Join(folder, ".cache", "moto", "bin", "moto_server")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("moto is missing, on which provider aws is tested: run .ci/setup tests, or pip install 'moto[server]': %w", err)
}

// forget makes the proxy as it was at first.
func (c *Cloud) forget(o Options) {
	c.options, c.log, c.cut = o, nil, nil
	c.faults, c.tokens, c.hidden, c.states = map[string]*fault{}, map[string]*token{}, map[string]int{}, map[string]state{}
	c.rates = buckets()
	c.console = Console
	c.users, c.policies = map[string]string{}, map[string]document{}
	c.quotas, c.secrets, c.admin = map[string]float64{}, map[string]aws.Credentials{}, ""
}

// start starts moto and waits until it answers.
func (c *Cloud) start(ctx context.Context, path string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	amis := filepath.Join(c.folder, "amis.json")
	if err := errors.Join(os.WriteFile(amis, images, 0o600), os.WriteFile(filepath.Join(c.folder, "sitecustomize.py"), quicken, 0o600)); err != nil {
		return err
	}
	c.command = exec.Command(path, "-H", "127.0.0.1", "-p", port)
	c.command.Env = append(os.Environ(), "MOTO_AMIS_PATH="+amis, "MOTO_ENABLE_AMI_VALIDATION=1", "MOTO_ENABLE_KEYPAIR_VALIDATION=1",
		"MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION=1",
		"PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+strings.TrimSuffix(c.folder+":"+os.Getenv("PYTHONPATH"), ":"))
	c.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a wrapper that it may start is ended with it
	var said bytes.Buffer
	c.command.Stderr = &said
	if c.options.Prepare != nil {
		c.options.Prepare(c.command)
	}
	if err := c.command.Start(); err != nil {
		return err
	}
	c.exited, c.moto = make(chan struct{}), "http://127.0.0.1:"+port
	go func() { _ = c.command.Wait(); close(c.exited) }()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if resp, err := c.client.Get(c.moto + "/moto-api/data.json"); err == nil {
			resp.Body.Close()
			return nil
		}
		select {
		case <-c.exited:
			return fmt.Errorf("moto_server ended: %s", said.Bytes())
		case <-ctx.Done():
			c.stop()
			return fmt.Errorf("moto_server does not answer: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends moto: that very process and what it started.
func (c *Cloud) stop() {
	_ = syscall.Kill(-c.command.Process.Pid, syscall.SIGKILL)
	<-c.exited
}

// Close ends the cloud.
func (c *Cloud) Close() error {
	c.server.CloseClientConnections()
	c.server.Close()
	c.stop()
	return os.RemoveAll(c.folder)
}

// Reset empties the cloud and makes it one with other options.
func (c *Cloud) Reset(o Options) error {
	c.mu.Lock()
	c.forget(o)
	c.mu.Unlock()
	if err := c.enforcing("inf"); err != nil {
		return err
	}
	resp, err := c.client.Post(c.moto+"/moto-api/reset", "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("moto-api/reset: %s", resp.Status)
	}
	return err
}

// Behind is the URL of moto itself, for a reader that shall see what is there and nothing of what the proxy does.
func (c *Cloud) Behind() string { return c.moto }
