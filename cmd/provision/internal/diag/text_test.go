package diag

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode"
)

// sample is the diagnostic of the design document.
func sample() Diagnostic {
	return Diagnostic{
		ID: OutOfCapacity,
		Range: &Range{File: "cluster.hcl", Source: `  type = "m7i.4xlarge"`,
			Start: Pos{31, 10, 500}, End: Pos{31, 23, 513}},
		In: `pool "workers"`, Address: "machine.workers[2]",
		Detail: "AWS has no m7i.4xlarge left in eu-west-1a, so machine.workers[2] was not created. The other 11 steps are done and are " +
			"safe to keep; 2 steps that needed this machine were not tried.",
		Advice:   "Choose another type or zone, or run the same command again later:",
		Commands: []string{"provision apply cluster.hcl"},
	}
}

func TestTextIsAsDesigned(t *testing.T) {
	const want = `Error: Out of capacity

  on cluster.hcl line 31, in pool "workers":
  31:   type = "m7i.4xlarge"

AWS has no m7i.4xlarge left in eu-west-1a, so machine.workers[2] was not created. The other 11 steps are done and are
safe to keep; 2 steps that needed this machine were not tried.

Choose another type or zone, or run the same command again later:
    provision apply cluster.hcl
`
	for _, width := range []int{120, 200, 1000} {
		if got := (Text{Width: width}).Render(Diagnostics{sample()}); got != want {
			t.Errorf("width %d: got\n%s\nwant\n%s", width, got, want)
		}
	}
}

func TestTextAt40Columns(t *testing.T) {
	d := sample()
	d.Range.Source = `  machine = "a-very-long-name-of-a-machine-type-that-does-not-fit" # and a comment`
	d.Range.Start, d.Range.End = Pos{31, 13, 503}, Pos{31, 68, 558}
	d.Detail = "Not done:\n\n- machine.workers[2], which needed a machine of that type\n- node.workers[2]"
	const want = `Error: Out of capacity

  on cluster.hcl line 31, in pool
  "workers":
  31:   machine = "a-very-long-name-of-…

Not done:

- machine.workers[2], which needed a
  machine of that type
- node.workers[2]

Choose another type or zone, or run the
same command again later:
    provision apply cluster.hcl
`
	for _, width := range []int{40, 20, 1, -5} {
		if got := (Text{Width: width}).Render(Diagnostics{d}); got != want {
			t.Errorf("width %d: got\n%s\nwant\n%s", width, got, want)
		}
	}
}

// TestTextFits tries all widths: only a word that is longer than the line may stand out, and commands are never broken.
func TestTextFits(t *testing.T) {
	d := sample()
	d.Output = []string{"kubelet: failed to run Kubelet: running with swap on is not supported"}
	d.Detail += " Näheres: 日本語のテキスト 日本語のテキスト 日本語のテキスト 日本語のテキスト 日本語のテキスト."
	for width := 40; width <= 120; width++ {
		for line := range strings.Lines((Text{Width: width}).Render(Diagnostics{d})) {
			line = strings.TrimSuffix(line, "\n")
			if columns(line) > width && !strings.HasPrefix(line, "  | ") && !strings.HasPrefix(line, "    ") {
				t.Errorf("width %d: %d columns: %q", width, columns(line), line)
			}
		}
	}
}

func TestTextSeveral(t *testing.T) {
	w := New(NoWorkers, "None.")
	w.Severity = Warning
	got := Text{}.Render(Diagnostics{New(SyntaxError, "One."), w})
	want := "Error: Syntax error\n\nOne.\n\nWarning: No machine for pods\n\nNone.\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (Text{}).Render(nil); got != "" {
		t.Errorf("of none: got %q", got)
	}
}

func TestTextColour(t *testing.T) {
	d := sample()
	got := Text{Width: 120, Colour: true}.Render(Diagnostics{d})
	for _, want := range []string{
		"\x1b[1;31mError:\x1b[0m\x1b[1m Out of capacity\x1b[0m\n",
		"  31:   type = \x1b[4m\"m7i.4xlarge\"\x1b[0m\n",
		"    \x1b[36mprovision apply cluster.hcl\x1b[0m\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	plain := Text{Width: 120}.Render(Diagnostics{d})
	if stripped := strip(got); stripped != plain {
		t.Errorf("colour changes more than colour: got\n%s\nwant\n%s", stripped, plain)
	}
}

// strip removes the styles that Text writes.
func strip(s string) string {
	for _, style := range []string{styleError, styleWarning, styleBold, styleDim, styleMark, styleCommand, "0"} {
		s = strings.ReplaceAll(s, "\x1b["+style+"m", "")
	}
	return s
}

func TestTextMarksWhatIsMeant(t *testing.T) {
	for _, test := range []struct {
		name, source string
		start, end   Pos
		want         string
	}{
		{"umlauts before", `äöü = "x"`, Pos{1, 7, 9}, Pos{1, 10, 12}, "  1: äöü = \x1b[4m\"x\"\x1b[0m"},
		{"marks that combine", "e\u0301 = 1", Pos{1, 5, 6}, Pos{1, 6, 7}, "  1: e\u0301 = \x1b[4m1\x1b[0m"},
		{"several lines", "a = [", Pos{1, 5, 4}, Pos{3, 2, 20}, "  1: a = \x1b[4m[\x1b[0m"},
		{"the end of the line", "a =", Pos{1, 4, 3}, Pos{1, 4, 3}, "  1: a ="},
		{"beyond the end", "a =", Pos{1, 400, 400}, Pos{1, 401, 401}, "  1: a ="},
	} {
		got := Text{Colour: true}.source(Range{Source: test.source, Start: test.start, End: test.end})
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// TestTextIsHarmless gives a terminal's control characters to everything that is foreign.
func TestTextIsHarmless(t *testing.T) {
	const evil = "a\x1b]0;title\x07b\x9b2Jc\rd\u202ee\xfff\u2028g"
	d := Diagnostic{ID: BootstrapFailed, Range: &Range{File: "c.hcl", Source: evil, Start: Pos{1, 1, 0}, End: Pos{1, 2, 1}},
		In: evil, Detail: evil, Advice: evil, Commands: []string{evil}, Output: []string{evil, "x\ty"}}
	got := Text{}.Render(Diagnostics{d})
	for i, r := range got {
		if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control)) {
			t.Errorf("%U at %d of %q", r, i, got)
		}
	}
	if !strings.Contains(got, "  | x  y\n") {
		t.Errorf("a tab is not two spaces: %q", got)
	}
}

func TestTextBoundsOutput(t *testing.T) {
	d := New(BootstrapFailed, "x")
	for i := range 1000 {
		d.Output = append(d.Output, fmt.Sprintf("line %d", i))
	}
	d.Output = append(d.Output, strings.Repeat("x", 10_000), "two\nlines\n")
	got := Text{}.Render(Diagnostics{d})
	if n := strings.Count(got, "  | "); n != maxOutputLines+1 {
		t.Errorf("%d lines of output, want %d", n, maxOutputLines+1)
	}
	for _, want := range []string{"\n  | … 983 earlier lines\n  | line 983\n", "xxx…\n  | two\n  | lines\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if len(got) > 2000 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestProse(t *testing.T) {
	_, text, _ := Explain("syntax-error")
	got := Text{Width: 50}.Prose(text)
	if a, b := strings.Fields(got), strings.Fields(text); !reflect.DeepEqual(a, b) {
		t.Errorf("words changed: %q, %q", a, b)
	}
	if n := strings.Count(got, "\n\n"); n != 1 {
		t.Errorf("%d paragraphs, want 2:\n%s", n+1, got)
	}
	for line := range strings.Lines(got) {
		if columns(line)-1 > 50 {
			t.Errorf("%d columns: %q", columns(line)-1, line)
		}
	}
}

func TestUseColour(t *testing.T) {
	for _, test := range []struct {
		terminal bool
		environ  []string
		want     bool
	}{
		{true, nil, true},
		{true, []string{"TERM=xterm", "NO_COLOR="}, true},
		{true, []string{"NO_COLOR=1"}, false},
		{true, []string{"TERM=dumb"}, false},
		{false, nil, false},
	} {
		if got := UseColour(test.terminal, test.environ); got != test.want {
			t.Errorf("UseColour(%v, %q) = %v", test.terminal, test.environ, got)
		}
	}
}

func TestJSON(t *testing.T) {
	ds := Diagnostics{sample(), New(NoWorkers, "x")}
	ds[1].Severity = Warning
	b, err := JSON(ds)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Schema      int
		Exit        int `json:"exit_code"`
		Diagnostics Diagnostics
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != 1 || got.Exit != 1 || !reflect.DeepEqual(got.Diagnostics, ds) {
		t.Errorf("read back: %+v\nwant %+v", got, ds)
	}
	for _, want := range []string{`"id":"out-of-capacity","severity":"error","range":{"file":"cluster.hcl"`, `"start":{"line":31,"column":10,"byte":500}`, `"summary":"Out of capacity","exit_code":1`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	if b, _ := JSON(nil); string(b) != `{"schema":1,"exit_code":0,"diagnostics":[]}` {
		t.Errorf("of none: %s", b)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"large", "medium", "small", "control_plane"}
	for word, want := range map[string]string{"smal": "small", "smlal": "small", "Small": "small", "tiny": "", "": "", "controlplane": "control_plane", "xlarge": "large", "my-medium-one": "medium", "network": ""} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("detail", "source", 1, 2, 40)
	f.Fuzz(func(t *testing.T, detail, source string, column, end, width int) {
		d := Diagnostic{ID: Internal, Detail: detail, Output: []string{detail}, Range: &Range{Source: source, Start: Pos{1, column, column}, End: Pos{1, end, end}}}
		for _, colour := range []bool{false, true} {
			if !strings.HasSuffix(Text{width, colour}.Render(Diagnostics{d}), "\n") {
				t.Error("does not end in a new line")
			}
		}
	})
}
