package ui

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// golden compares got with testdata/name, where escape characters are written as ␛ so that the files can be read.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = strings.ReplaceAll(got, "\x1b", "␛")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is missing; write it with go test -update", path)
	} else if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// fits checks that no line is wider than the style.
func fits(t *testing.T, what, text string, width int) {
	t.Helper()
	for l := range strings.SplitSeq(stripEscapes(text, false), "\n") {
		if columns(l) > width {
			t.Errorf("%s: line %q has %d columns; want at most %d", what, l, columns(l), width)
		}
	}
}

// styles are the ways in which everything is laid out in goldens.
func styles() map[string]Style {
	m := map[string]Style{}
	for _, w := range []int{40, 80, 120} {
		m[fmt.Sprint(w)] = Style{Width: w, Unicode: true}
		m[fmt.Sprintf("%d-color", w)] = Style{Width: w, Unicode: true, Color: true}
		m[fmt.Sprintf("%d-ascii", w)] = Style{Width: w}
	}
	return m
}

func eachStyle(t *testing.T, name string, text func(Style) string) {
	for k, s := range styles() {
		t.Run(k, func(t *testing.T) {
			got := text(s)
			fits(t, name, got, s.Width)
			if hasColor := strings.Contains(got, "\x1b"); hasColor != s.Color {
				t.Errorf("%s has colours: %v; want %v", name, hasColor, s.Color)
			}
			if !s.Unicode && strings.ContainsAny(got, "█░✓✗⊘⠋") {
				t.Errorf("%s in ASCII has symbols beyond it:\n%s", name, got)
			}
			golden(t, name+"-"+k+".golden", got)
		})
	}
}

func TestPlanText(t *testing.T) {
	plan := []PlanLine{
		{Create, "network.main", []string{"range: 10.88.0.0/24"}, "cluster.hcl:6"},
		{Create, "machine.control-plane[0]", []string{"type: small", "name: demo-control-plane-with-a-long-name-0 in the network main of the cluster demo"}, "cluster.hcl:11"},
		{Update, "node.workers[0]", []string{`labels.tier: "web" → "api"`}, "cluster.hcl:19"},
		{Restart, "node.workers[1]", []string{"kubernetes: 1.36.3 → 1.37.2"}, "cluster.hcl:4"},
		{Replace, "machine.workers[2]", []string{"type: small → large (cannot be changed in place)"}, "environments/production/europe/cluster.hcl:118"},
		{Delete, "machine.workers[3]", nil, ""},
	}
	notes := []Note{{"Cost", "123.45 USD a month, 12.00 more than now", []string{"105.00  3 machines of type small", "  9.12  60 GiB of root disks", "List prices of europe of 2026-11-01, 22 days old: https://prices.example/a/long/path/to/it"}}}
	eachStyle(t, "plan", func(s Style) string {
		return PlanText(plan, "Plan: 2 to create, 2 to change, 1 to replace, 1 to delete.", notes, s)
	})
	if got := PlanText(nil, "No changes.", nil, Style{}); got != "No changes.\n" {
		t.Errorf("a plan without changes: %q", got)
	}
}

func TestTable(t *testing.T) {
	header := []string{"NAME", "ROLE", "STATUS", "VERSION", "ADDRESS", "NOTE"}
	rows := [][]string{
		{"demo-cp-0", "control-plane", "Ready", "v1.37.2", "10.88.0.2", ""},
		{"demo-workers-0", "worker", "NotReady", "v1.37.2", "10.88.0.3", "kubelet 已停止 posting status since 12:31; its machine does not answer SSH"},
		{"demo-workers-1", "worker", "Ready"},
	}
	eachStyle(t, "table", func(s Style) string { return Table(header, rows, s) })
}

func testSpans() []Span {
	ms := time.Millisecond
	return []Span{
		{"network.main", "", 100 * ms, 300 * ms, true},
		{"machine.control-plane[0]", "", 400 * ms, 1200 * ms, true},
		{"machine.workers[0]", "", 400 * ms, 1100 * ms, false},
		{"node.control-plane[0] install", "", 1600 * ms, 9000 * ms, true},
		{"node.control-plane[0] install", "upload bundle", 1700 * ms, 4000 * ms, false},
		{"node.control-plane[0] install", "unpack", 5700 * ms, 1900 * ms, false},
		{"node.control-plane[0] install", "start", 7600 * ms, 3000 * ms, false},
		{"api", "", 10600 * ms, 3300 * ms, true},
		{"plan", "list", 0, 80 * ms, false},
		{"node.control-plane[0]", "", 13900 * ms, 81400 * ms, true},
	}
}

func TestTimingsText(t *testing.T) {
	eachStyle(t, "timings", func(s Style) string { return TimingsText(testSpans(), s) })
	if got := TimingsText(nil, Style{}); got != "" {
		t.Errorf("timings of nothing: %q", got)
	}
}

// TestTimingsOfMany: a table for 10,000 steps can be read, and has all critical ones.
func TestTimingsOfMany(t *testing.T) {
	var spans []Span
	for i := range 10_000 {
		spans = append(spans, Span{Address: fmt.Sprintf("machine.workers[%d]", i), Start: time.Duration(i) * time.Millisecond, Took: time.Duration(i%977) * time.Millisecond, Critical: i%2000 == 0})
	}
	got := TimingsText(spans, Style{Width: 80})
	if n := strings.Count(got, "\n"); n != most+3 {
		t.Errorf("%d lines; want %d", n, most+3)
	}
	for i := 0; i < 10_000; i += 2000 {
		if !strings.Contains(got, fmt.Sprintf("* machine.workers[%d] ", i)) {
			t.Errorf("the critical step %d is missing", i)
		}
	}
	if !strings.Contains(got, "and 9940 more, each shorter\n") {
		t.Errorf("no word about what is left out:\n%s", got)
	}
}

// stream is what happens in an apply where one machine fails.
func stream(start time.Time) []Event {
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	return []Event{
		{Type: Begin, Time: at(0.2), Steps: []string{"network.main", "machine.control-plane[0]", "node.control-plane[0] install", "machine.workers[0]", "node.workers[0]", "machine.workers[1]", "node.workers[1]", "addon.coredns"}},
		{Type: Started, Time: at(0.3), Address: "network.main"},
		{Type: Done, Time: at(0.6), Address: "network.main", Text: "10.88.0.0/24", Took: 300 * time.Millisecond},
		{Type: Started, Time: at(0.6), Address: "machine.control-plane[0]"},
		{Type: Started, Time: at(0.6), Address: "machine.workers[0]", Text: "small"},
		{Type: Started, Time: at(0.6), Address: "machine.workers[1]"},
		{Type: Done, Time: at(1.8), Address: "machine.control-plane[0]", Text: "created 10.88.0.2", Took: 1200 * time.Millisecond},
		{Type: Failed, Time: at(1.9), Address: "machine.workers[1]", Text: "run instance demo-workers-1: capacity: eu-west-1a has no more of them\x1b[2J", Took: 1300 * time.Millisecond},
		{Type: Blocked, Time: at(1.9), Address: "node.workers[1]", Cause: "machine.workers[1]"},
		{Type: Blocked, Time: at(1.9), Address: "addon.coredns", Cause: "machine.workers[1]"},
		{Type: Done, Time: at(2), Address: "machine.workers[0]", Text: "created 10.88.0.3", Took: 1400 * time.Millisecond},
		{Type: Started, Time: at(2), Address: "node.workers[0]"},
		{Type: Started, Time: at(2), Address: "node.control-plane[0] install"},
		{Type: Progress, Time: at(2.1), Address: "node.workers[0]", Text: "waiting for SSH"},
		{Type: Progress, Time: at(3), Address: "node.control-plane[0] install", Text: "upload bundle", Done: 34_000_000, Total: 75_000_000},
	}
}

func TestTree(t *testing.T) {
	start := time.Unix(0, 0)
	var m model
	for _, e := range stream(start) {
		m.apply(e)
	}
	for _, rows := range []int{30, 12, 10, 8, 6, 4, 2} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			eachStyle(t, fmt.Sprintf("tree%d", rows), func(s Style) string {
				lines := m.tree(s, rows, start.Add(14300*time.Millisecond), start)
				if len(lines) > rows {
					t.Errorf("%d lines in %d rows", len(lines), rows)
				}
				text := strings.Join(lines, "\n") + "\n"
				fits(t, "tree", text, s.Width-1)
				return text
			})
		})
	}
}

// TestTreeOfMany: 10,000 steps are counted by group.
func TestTreeOfMany(t *testing.T) {
	start := time.Unix(0, 0)
	var m model
	add := func(typ Type, a string) {
		m.apply(Event{Type: typ, Address: a, Time: start, Cause: "machine.web[7]", Text: "x"})
	}
	for i := range 5000 {
		node := Done
		switch {
		case i >= 4900:
			node = Started
		case i < 20:
			node = Failed
		}
		add(Done, fmt.Sprintf("machine.web[%d]", i))
		add(node, fmt.Sprintf("node.web[%d]", i))
	}
	got := strings.Join(m.tree(Style{Width: 80, Unicode: true}, 24, start.Add(time.Second), start), "\n")
	want := "web  4880/5000 done, 20 failed, 100 running\n" // the failed ones still fit
	if !strings.HasPrefix(got, want) || strings.Count(got, "✗") != 20 {
		t.Errorf("got\n%s\nwant it to begin with\n%sand to have 20 ✗", got, want)
	}
	got = strings.Join(m.tree(Style{Width: 80, Unicode: true}, 10, start.Add(time.Second), start), "\n")
	if want := "web  4880/5000 done, 20 failed, 100 running\n   1.0s  9880/10000 steps done, 20 failed, 100 running"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func BenchmarkTree(b *testing.B) {
	start := time.Unix(0, 0)
	var m model
	for i := range 10_000 {
		m.apply(Event{Type: Started, Address: fmt.Sprintf("node.pool-%d[%d]", i%7, i), Time: start})
	}
	for b.Loop() {
		m.tree(Style{Width: 120}, 50, start.Add(time.Minute), start)
	}
}
