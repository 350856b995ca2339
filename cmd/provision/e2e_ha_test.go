//go:build e2e

package main

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

var haRounds = flag.Int("ha.rounds", 1, "how often each control-plane machine is lost in turn")

var haSlack = flag.Float64("ha.slack", 1, "how much longer all may take than promised, on a computer that others use too")

// slack is the limit on a computer that others use too.
func slack(d time.Duration) time.Duration { return time.Duration(*haSlack * float64(d)) }

// bound is how long the API may stay away when a machine of three is lost.
const bound = 5 * time.Second

// TestE2EHA makes a cluster with three control-plane machines, a virtual address and a balancer, and loses machines, the
// network between them, and the quorum. The parts build on one another.
func TestE2EHA(t *testing.T) {
	before := takeSnapshot(t, "e2e")
	t.Run("cluster", func(t *testing.T) {
		r := newHARig(t)
		r.parts([]haPart{{"apply", (*haRig).partFound}, {"lose", (*haRig).partLose}, {"partition", (*haRig).partPartition}, {"quorum", (*haRig).partQuorum}})
	})
	before.compare(t, takeSnapshot(t, "e2e"))
}

// TestE2EControlPlane is the short form of TestE2EHA and TestE2EHAScale: the first machine lost for good, the one with the virtual
// address cut off, and from three to one and back.
func TestE2EControlPlane(t *testing.T) {
	before := takeSnapshot(t, "e2e")
	t.Run("cluster", func(t *testing.T) {
		r := newHARig(t)
		r.parts([]haPart{{"apply", (*haRig).partFound}, {"lose the first", (*haRig).partFirst}, {"partition", (*haRig).partCutOff}, {"count", (*haRig).partOne}})
	})
	before.compare(t, takeSnapshot(t, "e2e"))
}

func (r *haRig) partFirst() { r.loseOne(0, 0) }

func (r *haRig) partOne() { r.counts(1, 3) }

type haPart struct {
	name string
	do   func(*haRig)
}

// parts runs them in order, and ends with the first that fails.
func (r *haRig) parts(parts []haPart) {
	t := r.t
	for _, p := range parts {
		ok := t.Run(p.name, func(t *testing.T) {
			r.t = t
			p.do(r)
		})
		r.t = t
		if !ok {
			t.FailNow()
		}
	}
}

// partFound: from nothing to three and two, by phase.
func (r *haRig) partFound() {
	out := r.applied("3 + 2 from nothing", 6*time.Minute)
	_, timings, _ := strings.Cut(out, "\n   start ")
	r.t.Logf("   start %s", timings)
	if r.took > slack(90*time.Second) {
		r.t.Errorf("it took %v, want at most %v", r.took, slack(90*time.Second))
	}
	r.whole("three members", 3, time.Minute)
	r.login()
	r.web()
}

// partLose: each control-plane machine in turn is lost, under load; the API answers again soon on all ways, one apply brings
// three members back, and no acknowledged write is lost.
func (r *haRig) partLose() {
	for round := range *haRounds {
		for i := range 3 {
			r.loseOne(round, i)
		}
	}
}

// loseOne loses a machine: by its power, or for good, in turns. The first is lost for good at first.
func (r *haRig) loseOne(round, i int) {
	node := fmt.Sprintf("cp-%d", i)
	s := r.status()
	what := fmt.Sprintf("round %d: %s ", round, node)
	for _, m := range s.Etcd.Members {
		if m.Leader && m.Name == r.full(node) {
			what += "(which leads etcd) "
		}
	}
	if s.Address.Holder == r.full(node) {
		what += "(which has the virtual address) "
	}
	w := r.write(fmt.Sprintf("lose-%d-%d", round, i))
	ps := append(r.probe(), r.serviceProbe("workers-0"))
	time.Sleep(time.Second)
	if (round+i)%2 == 0 {
		what += "is deleted at the vendor"
		r.remove(node)
	} else {
		what += "loses power"
		r.kill(node)
	}
	time.Sleep(7 * time.Second)
	ps.seen(r.t, what, bound)
	r.applied("the apply after it", 4*time.Minute)
	r.whole("three members", 3, time.Minute)
	ps.seen(r.t, "while it comes back", bound)
	ps.end()
	w.end(r.t)
}

// serviceProbe fetches the demo's page from a machine.
func (r *haRig) serviceProbe(node string) *probe {
	c := r.client(way{from: node, address: r.service + ":80"}, 2*time.Second, false)
	return newProbe("the Service from "+node, func() error {
		_, _, err := request(c, "GET", "http://"+r.service+"/", "")
		return err
	})
}
