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
	sockets bool // the program and the vendor are two processes, and what they say to one another counts
	stride  int  // every so many moments are in a sample, besides the first and last of a kind
	thin    int  // of a sample, every so many cases are taken, besides the first of a kind
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
		if r.prepare(s) {
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

// prepare runs a scenario undisturbed, and says whether that went well.
func (r *crashRig) prepare(s scenario) bool {
	r.t.Helper()
	site, err := crashtest.NewSite(filepath.Join(r.dir, s.name), r.program, r.cluster)
	if err != nil {
		r.t.Fatal(err)
	}
	site.Env = r.env
	if err := strangers(site); err != nil {
		r.t.Fatal(err)
	}
	for _, args := range s.before {
		if !r.plainly(site, args) {
			return false
		}
	}
	if s.agent {
		if err := agentObjects(site); err != nil {
			r.t.Fatal(err)
		}
	}
	if s.lost {
		if err := os.RemoveAll(site.State()); err != nil {
			r.t.Fatal(err)
		}
	}
	r.begins[s.name] = site
	clean, err := site.Copy(filepath.Join(r.dir, s.name+" done"))
	if err != nil {
		r.t.Fatal(err)
	}
	start := time.Now()
	if !r.plainly(clean, s.args) {
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

func (r *crashRig) plainly(s *crashtest.Site, args []string) bool {
	r.t.Helper()
	o, err := s.Run(args...)
	if err != nil || !o.OK() {
		r.t.Errorf("undisturbed: %v %v", o, err)
		return false
	}
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
	dir := filepath.Join(r.dir, fmt.Sprintf("case-%d", r.cases.Add(1)))
	site, err := r.begins[c.scenario.name].Copy(dir)
	if err != nil {
		return crashtest.Verdict{Problems: []string{err.Error()}}
	}
	l := &look{r: r, c: c, site: site, args: c.args}
	l.then = c.mend()
	if c.options != "" {
		vars := []string{"--var", "options=" + c.options}
		l.args, l.then = slices.Concat(l.args, vars), slices.Concat(l.then, vars)
	}
	l.all()
	r.tally.Add(c.group, l.v)
	r.report(l)
	os.RemoveAll(dir)
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

// A look is one case while it is looked at.
type look struct {
	r                *crashRig
	c                crash
	site             *crashtest.Site
	args, then       []string
	v                crashtest.Verdict
	disturbed, after crashtest.Outcome
	keys             bool // a machine was made before the disturbance ended, so the key to it has to be kept
}

func (l *look) problem(format string, args ...any) {
	l.v.Problems = append(l.v.Problems, fmt.Sprintf(format, args...))
}

func (l *look) all() {
	var err error
	if l.disturbed, l.v.Disturbed, err = l.c.disturb(l.site, l.args); err != nil {
		l.problem("the disturbed run: %v", err)
		return
	}
	if len(l.disturbed.Exit.Orphans) > 0 {
		l.problem("processes outlived the program: %v", l.disturbed.Exit.Orphans)
	}
	if l.disturbed.Exit.Late {
		l.problem("the disturbed run took too long")
	}
	had, err := l.site.Secrets()
	if err != nil {
		l.problem("secrets after the disturbance: %v", err)
	}
	l.keyed(had)
	if l.after, err = l.site.Run(l.then...); err != nil {
		l.problem("the run after it: %v", err)
		return
	}
	l.settled(had)
}

// keyed checks that no machine is there before the key to it is safe.
func (l *look) keyed(had map[string][]string) {
	w, err := l.site.World("demo")
	if err != nil {
		l.problem("the vendor: %v", err)
		return
	}
	for k := range w.Objects {
		if !strings.HasPrefix(k, "machine ") {
			continue
		}
		l.keys = !l.c.lost
		if len(had) == 0 && !l.c.destroys() && !l.c.lost { // a vendor whose machines do not answer has nothing to bring keys back from
			l.v.Lost++
			l.problem("%s is there and no secret is saved", k)
		}
	}
}

// settled looks at what the run after the disturbance made.
func (l *look) settled(had map[string][]string) {
	if l.disturbed.Asked() || l.after.Asked() {
		l.v.Questions++
		l.problem("it asked")
	}
	if !l.after.OK() {
		l.problem("the run after it ended with %d", l.after.Exit.Code)
	}
	w, err := l.site.World(owners...)
	if err != nil {
		l.problem("the vendor: %v", err)
		return
	}
	d := w.Compare(l.r.ends[l.c.scenario.name])
	l.v.Orphans, l.v.Twice = len(d.Orphans), len(d.Twice)
	if !d.None() {
		l.problem("the vendor has:\n%v", d)
	}
	l.v.Converged = l.after.OK() && d.None()
	l.litter()
	if l.c.destroys() {
		if left := l.site.Left(); len(left) > 0 {
			l.problem("the state is left: %v", left)
		}
		return
	}
	has, err := l.site.Secrets()
	if err != nil {
		l.problem("secrets: %v", err)
	}
	if lost := crashtest.Lost(had, has); l.keys && len(lost) > 0 || len(has) == 0 {
		l.v.Lost += max(1, len(lost))
		l.problem("lost of %d secrets: %v", len(had), lost)
	}
	l.unchanged()
}

// litter checks that what the killed run left is swept away, at the latest by a run an hour later.
func (l *look) litter() {
	left := func() (left []string) {
		for _, f := range l.site.Files() {
			if !slices.Contains(l.r.files[l.c.scenario.name], f) {
				left = append(left, f)
			}
		}
		return left
	}
	if len(left()) == 0 {
		return
	}
	if err := l.site.Age(time.Hour); err != nil {
		l.problem("%v", err)
	}
	later := [][]string{l.then}
	if l.c.destroys() { // there is nothing to do any more: with a new cluster there is
		later = [][]string{{"apply", "--auto-approve"}, l.then}
	}
	for _, args := range later {
		if o, err := l.site.Run(args...); err != nil || !o.OK() {
			l.problem("an hour later: %v %v", o, err)
		}
	}
	if left := left(); len(left) > 0 {
		l.problem("left behind: %v", left)
	}
}

// unchanged checks that there is nothing left to do.
func (l *look) unchanged() {
	args := append([]string{"plan", "--detailed-exitcode"}, l.then[2:]...)
	o, err := l.site.Run(args...)
	if err != nil || !o.OK() {
		l.v.Converged = false
		l.problem("it is not settled: %v %v", o, err)
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
		next <- c
	}
	close(next)
	wg.Wait()
}
