//go:build linux && amd64

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/crashtest"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
)

// owners are ours and strangers with like names, whose objects nobody may touch.
var owners = []providers.Owner{"demo", "demo2", "dem"}

// A flavour is how the vendor is reached.
type flavour struct {
	name    string // empty: it is built in
	cluster string // the file
	env     []string
	sockets bool         // the program and the vendor are two processes, and what they say to one another counts
	stride  int          // every so many moments are in a sample, besides the first and last of a kind
	only    []string     // names of scenarios; nil: all
	bucket  *crashBucket // where the state is; nil: a folder
	most    int          // so many cases are in a sample at most; 0: no limit
	thin    int          // of a sample, every so many cases are taken, besides the first of a kind
}

func (f flavour) where() string {
	if f.name == "" {
		return ""
	}
	return " by " + f.name
}

// builtIn is a vendor in the program itself.
func builtIn(*testing.T) flavour { return flavour{cluster: crashCluster, stride: 10, thin: 8} }

// A crashRig is the program, and where each scenario begins and ends.
type crashRig struct {
	flavour
	t         *testing.T
	dir       string
	program   string
	tally     crashtest.Tally
	scenarios []scenario // those that work undisturbed
	begins    map[string]*crashtest.Site
	ends      map[string]crashtest.World
	files     map[string][]string      // of the user's home, at the end
	took      map[string]time.Duration // undisturbed
	cases     atomic.Int64
	shown     atomic.Int64
}

func newCrashRig(t *testing.T, reach func(t *testing.T) flavour) *crashRig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: the command hides its memory, so that only root can watch it to kill it; run the tests as root")
	}
	dir := t.TempDir()
	if in, err := os.MkdirTemp("/dev/shm", "crash-"); err == nil { // what a kill leaves does not depend on the disk
		dir = in
		t.Cleanup(func() { os.RemoveAll(in) })
	}
	r := &crashRig{flavour: reach(t), t: t, dir: dir, program: buildProgram(t, dir), begins: map[string]*crashtest.Site{}, ends: map[string]crashtest.World{}, files: map[string][]string{}, took: map[string]time.Duration{}}
	for _, s := range crashScenarios() {
		if (r.only == nil || slices.Contains(r.only, s.name)) && r.prepare(s) {
			r.scenarios = append(r.scenarios, s)
		}
	}
	return r
}

// variable returns the scenarios whose variables can be changed, the vendor's options among them.
func (r *crashRig) variable() []scenario {
	return slices.DeleteFunc(slices.Clone(r.scenarios), func(s scenario) bool { return s.saved })
}

// buildProgram builds the command as it is shipped.
func buildProgram(t testing.TB, dir string) string {
	t.Helper()
	program := filepath.Join(dir, "provision")
	cmd := exec.Command("go", "build", "-trimpath", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// raise makes a site where the scenario is about to begin.
func (r *crashRig) raise(s scenario, dir string) (*crashtest.Site, error) {
	cluster := r.cluster
	if r.bucket != nil {
		cluster = r.bucket.stateBlock(filepath.Base(dir)) + cluster
	}
	site, err := crashtest.NewSite(dir, r.program, cluster)
	if err != nil {
		return nil, err
	}
	site.Env = r.env
	if err := strangers(site); err != nil {
		return nil, err
	}
	for _, args := range s.before {
		if o, err := site.Run(args...); err != nil || !o.OK() {
			return nil, fmt.Errorf("undisturbed: %v %v", o, err)
		}
	}
	if s.agent {
		if err := agentObjects(site); err != nil {
			return nil, err
		}
	}
	if s.lost {
		return site, os.RemoveAll(site.State())
	}
	return site, nil
}

// begin makes a site for one case of the scenario.
func (r *crashRig) begin(s scenario) (*crashtest.Site, error) {
	dir := filepath.Join(r.dir, fmt.Sprintf("case-%d", r.cases.Add(1)))
	if r.bucket != nil { // a bucket is not copied
		return r.raise(s, dir)
	}
	return r.begins[s.name].Copy(dir)
}

// prepare runs a scenario undisturbed, and says whether that went well.
func (r *crashRig) prepare(s scenario) bool {
	r.t.Helper()
	site, err := r.raise(s, filepath.Join(r.dir, s.name))
	if err != nil {
		r.t.Error(err)
		return false
	}
	r.begins[s.name] = site
	clean, err := r.begin(s)
	if err != nil {
		r.t.Error(err)
		return false
	}
	start := time.Now()
	if o, err := clean.Run(s.args...); err != nil || !o.OK() {
		r.t.Errorf("undisturbed: %v %v", o, err)
		return false
	}
	r.took[s.name] = time.Since(start)
	w, err := clean.World(owners...)
	if err != nil {
		r.t.Fatal(err)
	}
	if len(w.Objects) < 2*len(owners)-2 {
		r.t.Fatalf("%s: only %v is there", s.name, w.Objects)
	}
	r.ends[s.name], r.files[s.name] = w, clean.Files()
	return true
}

// strangers makes objects of other owners, with names like ours.
func strangers(s *crashtest.Site) error {
	f, err := fake.Open(s.Vendor(), fake.Options{})
	if err != nil {
		return err
	}
	for _, o := range owners[1:] {
		n, err := f.Networks().Create(context.Background(), providers.NetworkSpec{Owner: o, Name: "main", CIDR: netip.MustParsePrefix("10.99.0.0/24")})
		if err != nil {
			return err
		}
		if _, err := f.Machines().Create(context.Background(), providers.MachineSpec{Owner: o, Name: "demo-workers-0", Pool: "workers", Network: n.ID, Type: "small"}); err != nil {
			return err
		}
	}
	return nil
}

// agentObjects makes what the cluster's own agent makes: a balancer in front of a machine and a volume on it.
func agentObjects(s *crashtest.Site) error {
	f, err := fake.Open(s.Vendor(), fake.Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	ms, err := f.Machines().List(ctx, "demo")
	if err != nil {
		return err
	}
	m := ms[len(ms)-1]
	port := providers.BalancerPort{Name: "http", Protocol: "tcp", Port: 80, TargetPort: 30080}
	if _, err := f.LoadBalancers().Create(ctx, providers.LoadBalancerSpec{Owner: "demo", Name: "web", Network: m.Network, Ports: []providers.BalancerPort{port}, Targets: []providers.ID{m.ID}}); err != nil {
		return err
	}
	v, err := f.Volumes().Create(ctx, providers.VolumeSpec{Owner: "demo", Name: "data", SizeGiB: 1, Zone: m.Zone})
	if err != nil {
		return err
	}
	_, err = f.Volumes().Attach(ctx, v.ID, m.ID)
	return err
}

// A disturbance runs the program, with something that disturbs it, and says whether that happened.
type disturbance func(s *crashtest.Site, args []string) (o crashtest.Outcome, disturbed bool, err error)

// A crash is one case: a scenario, and what is done to its run.
type crash struct {
	scenario
	group   string
	name    string
	disturb disturbance
	options string // of the vendor, in the run after it too
}

// run runs one case: disturbed, then plain, then looks.
func (r *crashRig) run(c crash) crashtest.Verdict {
	site, err := r.begin(c.scenario)
	if err != nil {
		r.t.Error(err)
		return crashtest.Verdict{Problems: []string{err.Error()}}
	}
	defer os.RemoveAll(site.Dir)
	l := &look{r: r, c: c, site: site, args: c.args}
	l.then = c.mend()
	if c.options != "" {
		vars := []string{"--var", "options=" + c.options}
		l.args, l.then = slices.Concat(l.args, vars), slices.Concat(l.then, vars)
	}
	l.all()
	r.tally.Add(c.group, l.v)
	r.report(l)
	return l.v
}

// report shows a case that failed; many are counted only.
func (r *crashRig) report(l *look) {
	if l.v.OK() {
		return
	}
	if *crashKeep != "" {
		if _, err := l.site.Copy(filepath.Join(*crashKeep, fmt.Sprintf("%s %s", l.c.group, l.c.name))); err != nil {
			r.t.Log(err)
		}
	}
	if n := r.shown.Add(1); int(n) <= *crashShow {
		r.t.Errorf("%s, %s:\n%v\n--- disturbed: %v\n--- after: %v", l.c.group, l.c.name, l.v.Problems, l.disturbed, l.after)
	} else {
		r.t.Errorf("%s, %s: %.200v", l.c.group, l.c.name, l.v.Problems[0])
	}
}

// each runs the cases on so many goroutines.
func (r *crashRig) each(width int, cases []crash) {
	next := make(chan crash)
	var wg sync.WaitGroup
	for range width {
		wg.Go(func() {
			for c := range next {
				r.run(c)
			}
		})
	}
	for _, c := range cases {
		if strings.Contains(c.group+", "+c.name, *crashOnly) {
			next <- c
		}
	}
	close(next)
	wg.Wait()
}
