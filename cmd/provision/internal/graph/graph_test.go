package graph

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// build makes a graph of lines like "c: a b"; the steps do nothing.
func build(t *testing.T, lines ...string) *Graph {
	t.Helper()
	g := &Graph{}
	for _, l := range lines {
		address, after, _ := strings.Cut(l, ":")
		if err := g.Add(Step{Address: address, After: strings.Fields(after)}); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		add  []string
		want string
	}{
		{"empty", nil, ""},
		{"as added", []string{"a", "b", "c"}, "a b c"},
		{"one chain ends before the next begins", []string{"net", "m0: net", "m1: net", "n0: m0", "n1: m1"}, "net m0 n0 m1 n1"},
		{"dependency added later", []string{"b: a", "a"}, "a b"},
		{"diamond", []string{"a", "b: a", "c: a", "d: c b"}, "a b c d"},
		{"dependency named twice", []string{"a", "b: a a"}, "a b"},
		{"shared end", []string{"m0", "m1", "n0: m0", "n1: m1", "all: n1 n0", "x"}, "m0 n0 m1 n1 all x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := build(t, c.add...).Order()
			if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("Order of %q = %v, %v; want %s", c.add, got, err, c.want)
			}
		})
	}
}

func TestDuplicate(t *testing.T) {
	g := build(t, "a", "b: a")
	var dup *DuplicateError
	if err := g.Add(Step{Address: "a", After: []string{"b"}}); !errors.As(err, &dup) || dup.Address != "a" {
		t.Errorf("second a: %v; want a DuplicateError for a", err)
	}
	if got, err := g.Order(); err != nil || g.Len() != 2 {
		t.Errorf("after the refused step: %v, %v; want the two first steps as they were", got, err)
	}
}

func TestUnsound(t *testing.T) {
	for _, c := range []struct {
		name string
		add  []string
		want string
	}{
		{"unknown", []string{"a: x", "b: a y"}, "a comes after x, which is no step\nb comes after y, which is no step"},
		{"itself", []string{"a: a"}, "steps wait for one another: a after a"},
		{"two", []string{"a: b", "b: a"}, "steps wait for one another: a after b after a"},
		{"a circle with a tail on both sides", []string{"start", "end: c", "a: start c", "b: a", "c: b"},
			"steps wait for one another: a after c after b after a"},
		{"a circle beside sound steps", []string{"x", "y: x", "a: c", "b: a", "c: b"}, "steps wait for one another: a after c after b after a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ran := false
			g := build(t, c.add...)
			g.steps[0].Run = func(context.Context) error { ran = true; return nil }
			_, err := g.Run(t.Context(), Options{})
			if err == nil || err.Error() != c.want {
				t.Errorf("Run of %q: error %q; want %q", c.add, fmt.Sprint(err), c.want)
			}
			if ran {
				t.Errorf("Run of %q ran a step of an unsound graph", c.add)
			}
		})
	}
}

// TestOrderOfAny checks on random graphs that Order holds each step once, behind what it needs, and that Width 1 runs it.
func TestOrderOfAny(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		g, after := &Graph{}, map[string][]string{}
		perm := r.Perm(30)
		for i := range perm { // step k may come after smaller ones; they are added in random order
			k := perm[i]
			var deps []string
			for range r.IntN(4) {
				if k > 0 {
					deps = append(deps, fmt.Sprint(r.IntN(k)))
				}
			}
			after[fmt.Sprint(k)] = deps
			if err := g.Add(Step{Address: fmt.Sprint(k), After: deps}); err != nil {
				t.Fatal(err)
			}
		}
		order, err := g.Order()
		if err != nil || len(order) != 30 {
			t.Fatalf("seed %d: Order = %v, %v", seed, order, err)
		}
		for i, a := range order {
			for _, d := range after[a] {
				if at := slices.Index(order, d); at < 0 || at >= i {
					t.Errorf("seed %d: %s is at %d, and %s, which it needs, at %d", seed, a, i, d, at)
				}
			}
		}
		var ran []string
		if _, err := g.Run(t.Context(), Options{Width: 1, Observe: func(e Event) {
			if e.State == Running {
				ran = append(ran, e.Address)
			}
		}}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(ran, order) {
			t.Errorf("seed %d: width 1 ran %v; want %v", seed, ran, order)
		}
	}
}
