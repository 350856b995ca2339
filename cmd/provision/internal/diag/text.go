package diag

import (
	"fmt"
	"slices"
	"strings"
)

// Limits of what is shown of a host's own words.
const (
	maxOutputLines = 20
	maxOutputWidth = 400 // of one line, in columns
)

// A Text shows diagnostics to a person. The zero value writes plain text for 80 columns.
type Text struct {
	Width  int // columns of the terminal; 0 means 80. Below 40 lines get longer than that, text is never wider than 120
	Colour bool
}

// UseColour says whether to write colours to an output: to a terminal that can show them, unless NO_COLOR is set.
func UseColour(terminal bool, environ []string) bool {
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if name == "NO_COLOR" && value != "" || name == "TERM" && value == "dumb" {
			return false
		}
	}
	return terminal
}

// Render returns the diagnostics as text, each with an empty line after it but the last. What came from files, hosts and
// vendors cannot steer the terminal: control characters are made visible.
func (t Text) Render(ds Diagnostics) string {
	parts := make([]string, len(ds))
	for i, d := range ds {
		parts[i] = t.one(d)
	}
	return strings.Join(parts, "\n")
}

func (t Text) width() int {
	if t.Width == 0 {
		return 80
	}
	return min(max(t.Width, 40), 120)
}

// The styles, as parameters of the terminal's "select graphic rendition".
const (
	styleError   = "1;31"
	styleWarning = "1;33"
	styleBold    = "1"
	styleDim     = "2"
	styleMark    = "4"
	styleCommand = "36"
)

func (t Text) style(style, s string) string {
	if !t.Colour || s == "" {
		return s
	}
	return "\x1b[" + style + "m" + s + "\x1b[0m"
}

// one writes one diagnostic as blocks with an empty line between them.
func (t Text) one(d Diagnostic) string {
	blocks := []string{t.head(d)}
	if d.Range != nil {
		blocks = append(blocks, t.place(d))
	}
	blocks = append(blocks, t.prose(d.Detail)...)
	if len(d.Output) > 0 {
		blocks = append(blocks, t.output(d.Output))
	}
	blocks = append(blocks, t.prose(d.Advice)...)
	text := strings.Join(blocks, "\n")
	if len(d.Commands) > 0 && d.Advice == "" {
		text += "\n"
	}
	for _, c := range d.Commands {
		text += "    " + t.style(styleCommand, visible(c)) + "\n"
	}
	return text
}

func (t Text) head(d Diagnostic) string {
	style := styleError
	if d.Severity == Warning {
		style = styleWarning
	}
	word := d.Severity.String() + ":"
	lines := wrap(word+" "+d.Summary(), t.width(), "", "")
	for i := range lines {
		rest := lines[i]
		if i == 0 {
			rest = strings.TrimPrefix(rest, word)
			lines[i] = t.style(style, word) + t.style(styleBold, rest)
			continue
		}
		lines[i] = t.style(styleBold, rest)
	}
	return joinLines(lines)
}

// place writes where in the file it is, and the line itself.
func (t Text) place(d Diagnostic) string {
	where := fmt.Sprintf("on %s line %d", d.Range.File, d.Range.Start.Line)
	if d.In != "" {
		where += ", in " + d.In
	}
	where = visible(where)
	if d.Range.Source == "" {
		return joinLines(wrap(where+".", t.width(), "  ", "  "))
	}
	return joinLines(append(wrap(where+":", t.width(), "  ", "  "), t.source(*d.Range)))
}

// source writes the line that the range starts on, and with colour marks the range's part of it. Of a long line it shows
// what is around the range.
func (t Text) source(r Range) string {
	number := fmt.Sprintf("  %d: ", r.Start.Line)
	// The range's bytes count from the file's start; the line's first byte is where the column's bytes end.
	from := prefixBytes(r.Source, r.Start.Column-1)
	to := len(r.Source)
	if r.End.Line == r.Start.Line {
		to = min(max(from+r.End.Byte-r.Start.Byte, from), len(r.Source))
	}
	before, marked, after := visible(r.Source[:from]), visible(r.Source[from:to]), visible(r.Source[to:])
	room := t.width() - columns(number)
	if over := columns(before+marked+after) - room; over > 0 {
		before, marked, after = squeeze(before, marked, after, room)
	}
	return strings.TrimRight(number+before+t.style(styleMark, marked)+after, " ")
}

// squeeze shortens a line to the room, keeping the start of the marked part and a little of what is before it.
func squeeze(before, marked, after string, room int) (string, string, string) {
	if columns(before)+min(columns(marked), room/2) > room-1 {
		before = "…" + tail(before, room/4)
	}
	left := room - columns(before)
	if columns(marked) >= left {
		return before, cut(marked, left-1) + "…", ""
	}
	left -= columns(marked)
	if columns(after) > left {
		after = cut(after, left-1) + "…"
	}
	return before, marked, after
}

// Prose returns text of several paragraphs wrapped, as Explain returns it.
func (t Text) Prose(text string) string { return strings.Join(t.prose(text), "\n") }

// prose writes paragraphs, wrapped.
func (t Text) prose(text string) []string {
	var blocks []string
	for _, p := range paragraphs(text) {
		var lines []string
		for _, l := range p {
			first, rest := "", ""
			if item, ok := strings.CutPrefix(l, "- "); ok {
				l, first, rest = item, "- ", "  "
			}
			lines = append(lines, wrap(visible(l), t.width(), first, rest)...)
		}
		blocks = append(blocks, joinLines(lines))
	}
	return blocks
}

// paragraphs splits at empty lines. Within a paragraph lines run on, but an item of a list begins a new one.
func paragraphs(text string) [][]string {
	var ps [][]string
	var p []string
	for line := range strings.Lines(text + "\n\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			if len(p) > 0 {
				ps = append(ps, p)
			}
			p = nil
		case len(p) == 0 || strings.HasPrefix(line, "- "):
			p = append(p, line)
		default:
			p[len(p)-1] += " " + line
		}
	}
	return ps
}

// output writes the last of a host's own words.
func (t Text) output(words []string) string {
	var lines []string
	for _, w := range words {
		lines = append(lines, strings.Split(strings.TrimRight(w, "\r\n"), "\n")...)
	}
	left := len(lines) - maxOutputLines
	if left > 0 {
		lines = slices.Concat([]string{fmt.Sprintf("… %d earlier lines", left)}, lines[left:])
	}
	for i, l := range lines {
		if l = visible(strings.TrimRight(l, " \t\r")); columns(l) > maxOutputWidth {
			l = cut(l, maxOutputWidth-1) + "…"
		}
		lines[i] = strings.TrimRight("  | "+t.style(styleDim, l), " ")
	}
	return joinLines(lines)
}

func joinLines(lines []string) string { return strings.Join(lines, "\n") + "\n" }
