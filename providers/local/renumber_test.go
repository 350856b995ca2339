//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
)

// TestRenumber gives a network another range under machines and a balancer that run, cut off at every step once, and sees that
// each moves when it is told to, reaches the others before and after, and that nothing of the old range is left.
func TestRenumber(t *testing.T) {
	w := newWorld(t)
	a, b := w.create(w.spec("demo", "a")), w.create(w.spec("demo", "b"))
	lbSpec, lb := w.balance("api", a, b)
	old := w.network("demo").CIDR
	n := providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: netip.MustParsePrefix("10.213.7.0/24")}
	link := w.linkName(providers.Key{Owner: "demo", Name: "main"})
	reach := func(when string) {
		t.Helper()
		for _, from := range []providers.Machine{a, b} {
			for _, to := range []netip.Addr{a.Private, b.Private} {
				w.within(5*time.Second, when+": "+from.Name+" reaches "+to.String(), func() bool {
					_, err := w.try(from, fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/%s/22'", to))
					return err == nil
				})
			}
		}
		w.within(5*time.Second, when+": the balancer answers", func() bool { return w.who(lb.Address.String()+":2222", a, b) != "" })
	}
	update := func(m *providers.Machine) func() error {
		spec := w.spec("demo", m.Name)
		return func() (err error) {
			is, err := w.Machines().Update(t.Context(), m.ID, spec)
			if err == nil {
				*m = is
			}
			return err
		}
	}

	if _, err := w.Networks().Update(t.Context(), a.Network, providers.NetworkSpec{Owner: "demo", Name: "main", CIDR: netip.PrefixFrom(old.Addr(), 22).Masked()}); providers.KindOf(err) != providers.Invalid {
		t.Errorf("a range that overlaps the old one: %v, want Invalid", err)
	}
	w.cutEverywhere(func() error { _, err := w.Networks().Update(t.Context(), a.Network, n); return err })
	reach("only the network has another range")
	w.cutEverywhere(update(&a))
	if !n.CIDR.Contains(a.Private) || !old.Contains(b.Private) {
		t.Fatalf("a is at %s and b at %s", a.Private, b.Private)
	}
	reach("one machine has moved")
	w.cutEverywhere(func() error {
		got, err := w.LoadBalancers().Update(t.Context(), lb.ID, lbSpec)
		if providers.KindOf(err) == "" && got.Partial { // its process was cut off
			got, err = w.LoadBalancers().Create(t.Context(), lbSpec)
		}
		if err == nil || providers.KindOf(err) == providers.Exists {
			lb, err = got, nil
		}
		return err
	})
	reach("the balancer has moved")
	w.cutEverywhere(update(&b))
	reach("all have moved")
	for name, got := range map[string]netip.Addr{"b": b.Private, "the balancer": lb.Address} {
		if !n.CIDR.Contains(got) {
			t.Errorf("%s is at %s", name, got)
		}
	}
	host, err := exec.Command("ip", "-4", "addr", "show", link).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for name, where := range map[string]string{"host": string(host), "a": w.run(a, "ip -4 addr show eth0; ip route"), "b": w.run(b, "ip -4 addr show eth0; ip route")} {
		if strings.Contains(where, old.Addr().String()[:strings.LastIndex(old.Addr().String(), ".")+1]) || !strings.Contains(where, "10.213.7.") {
			t.Errorf("%s has\n%s", name, where)
		}
	}
	boots := w.state(a).Boots
	w.try(a, "reboot") // the connection may be cut before it answers
	w.within(20*time.Second, "it has booted again", func() bool { s := w.state(a); return s.Boots > boots && s.Phase == running })
	reach("one has booted since")
	c := w.create(w.spec("demo", "c"))
	if c.Private == a.Private || c.Private == b.Private || !n.CIDR.Contains(c.Private) {
		t.Errorf("a new machine is at %s, others at %s and %s", c.Private, a.Private, b.Private)
	}
}

// cutEverywhere does something that is cut off after one step more each time, until it comes to its end.
func (w *world) cutEverywhere(do func() error) {
	w.t.Helper()
	cut := errors.New("cut")
	defer func() { w.cut = nil }()
	for n := 0; n < 40; n++ {
		left := n
		w.cut = func() error {
			if left--; left < 0 {
				return cut
			}
			return nil
		}
		err := do()
		if err == nil {
			return
		}
		if !errors.Is(err, cut) && !errors.Is(err, context.Canceled) {
			w.t.Fatalf("cut at step %d: %v", n, err)
		}
	}
	w.t.Fatal("it does not come to its end")
}
