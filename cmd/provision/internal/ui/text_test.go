package ui

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, line, lines string }{
		{"plain", "plain", "plain"},
		{"a\tb\r\nc", "a b  c", "a\tb\nc"},
		{"\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m"},
		{"\x1b[2J\x1b[Hgone", "gone", "gone"},
		{"\x1b]0;title\agone\x1b]8;;http://x\x1b\\link", "gonelink", "gonelink"},
		{"\x1b[?25lhidden\x1b", "hidden", "hidden"},
		{"\x1b[>1m", "", ""},
		{"bell\a and \u202eright to left", "bell and right to left", "bell and right to left"},
		{"8-bit \u009b2J", "8-bit 2J", "8-bit 2J"},
		{"bad \xff bytes", "bad \uFFFD bytes", "bad \uFFFD bytes"},
		{"unfinished \x1b[31", "unfinished", "unfinished "},
	} {
		if got := clean(c.in); got != c.line {
			t.Errorf("clean(%q) = %q; want %q", c.in, got, c.line)
		}
		if got := cleanLines(c.in); got != c.lines {
			t.Errorf("cleanLines(%q) = %q; want %q", c.in, got, c.lines)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 5, ""},
		{"one two three", 7, "one two|three"},
		{"longerthanthat x", 6, "longer|thanth|at x"},
		{"日本語の文字", 5, "日本|語の|文字"},
		{"日本", 1, "日本"}, // there is no way
		{"a b", 0, "a|b"},
	} {
		if got := strings.Join(wrap(c.in, c.n), "|"); got != c.want {
			t.Errorf("wrap(%q, %d) = %q; want %q", c.in, c.n, got, c.want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 0: "0.0s", 40 * time.Millisecond: "0.0s", 12345 * time.Millisecond: "12.3s",
		99940 * time.Millisecond: "99.9s", 99960 * time.Millisecond: "1m40s", 125 * time.Second: "2m05s",
		time.Hour - time.Millisecond: "60m00s", 62 * time.Minute: "1h02m", 30 * time.Hour: "30h00m",
	} {
		if got := seconds(d); got != want || len(got) > 7 {
			t.Errorf("seconds(%v) = %q; want %q", d, got, want)
		}
	}
}

func TestGroupOf(t *testing.T) {
	for address, want := range map[string]string{
		"network.main": "network", "machine.workers[1]": "workers", "node.control-plane[0] install": "control-plane",
		"addon.metrics-server": "addon", "api": "cluster", "node labels": "cluster", "": "cluster",
	} {
		if got := groupOf(address); got != want {
			t.Errorf("groupOf(%q) = %q; want %q", address, got, want)
		}
	}
}

func TestStyleOf(t *testing.T) {
	if s := StyleOf(&strings.Builder{}, []string{"LANG=de_DE.UTF-8"}); s != (Style{Width: 80, Unicode: true}) {
		t.Errorf("of a buffer: %+v", s)
	}
	if s := StyleOf(&strings.Builder{}, []string{"LANG=de_DE.UTF-8", "LC_ALL=C"}); s.Unicode {
		t.Error("LC_ALL=C does not win over LANG")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if s := StyleOf(null, nil); s.Color {
		t.Error("/dev/null has colours")
	}
}

func TestConfirm(t *testing.T) {
	for _, c := range []struct {
		in   string
		want bool
		rest string
	}{
		{"yes\n", true, ""}, {"yes\r\nmore", true, "more"}, {"yes", true, ""}, {" yes \n", true, ""},
		{"y\n", false, ""}, {"Yes\n", false, ""}, {"YES\n", false, ""}, {"yes please\n", false, ""}, {"\nyes\n", false, "yes\n"}, {"", false, ""}, {"no\n", false, ""},
	} {
		in, out := strings.NewReader(c.in), &strings.Builder{}
		got, err := Confirm(t.Context(), in, out, "Do it?")
		if err != nil || got != c.want || !strings.HasPrefix(out.String(), "Do it?\n") {
			t.Errorf("Confirm(%q) = %v, %v; want %v", c.in, got, err, c.want)
		}
		if rest, _ := io.ReadAll(in); string(rest) != c.rest {
			t.Errorf("Confirm(%q) leaves %q; want %q", c.in, rest, c.rest)
		}
	}
}

func TestConfirmInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	go cancel()
	if ok, err := Confirm(ctx, r, io.Discard, "Do it?"); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("Confirm = %v, %v; want false, %v", ok, err, context.Canceled)
	}
}
