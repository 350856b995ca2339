package ui

import (
	"strings"
)

// A Note is what a plan says beside its changes: a line, and rows below it.
type Note struct {
	Title string
	Text  string
	Rows  []string
}

// PlanText lays a plan out: each change with its symbol, its address and the place that asked, its details below, the summary,
// and the notes at the end.
func PlanText(plan []PlanLine, summary string, notes []Note, s Style) string {
	var b strings.Builder
	width := s.width()
	for _, p := range plan {
		address, cause := clean(p.Address), clean(p.Cause)
		l := line{{padLeft(p.Symbol, 5) + " ", symbolColor(p.Symbol)}, {address, bold}}
		if cause != "" && 6+columns(address)+2+columns(cause) <= width {
			l = append(l, piece{"  " + cause, dim})
			cause = ""
		}
		b.WriteString(l.in(s, width) + "\n")
		for _, d := range p.Details {
			for i, text := range wrap(clean(d), width-12) {
				indent := strings.Repeat(" ", 10)
				if i > 0 {
					indent += "  "
				}
				b.WriteString(indent + text + "\n")
			}
		}
		if cause != "" {
			b.WriteString(line{{strings.Repeat(" ", 10) + cause, dim}}.in(s, width) + "\n")
		}
	}
	if len(plan) > 0 && summary != "" {
		b.WriteString("\n")
	}
	if summary != "" {
		for _, text := range wrap(clean(summary), width) {
			b.WriteString(s.paint(bold, text) + "\n")
		}
	}
	for _, n := range notes {
		b.WriteString("\n" + n.in(s, width))
	}
	return b.String()
}

// in lays the note out in at most so many columns.
func (n Note) in(s Style, width int) string {
	var b strings.Builder
	title := clean(n.Title) + ":"
	for i, text := range wrap(title+" "+clean(n.Text), width) {
		if rest, ok := strings.CutPrefix(text, title); ok && i == 0 {
			text = s.paint(bold, title) + rest
		}
		b.WriteString(text + "\n")
	}
	for _, r := range n.Rows {
		// Leading spaces align numbers.
		row := strings.TrimLeft(r, " ")
		indent := strings.Repeat(" ", 4+len(r)-len(row))
		for i, text := range wrap(clean(row), width-len(indent)-2) {
			if i > 0 {
				text = "  " + text
			}
			b.WriteString(indent + text + "\n")
		}
	}
	return b.String()
}

func symbolColor(symbol string) color {
	switch symbol {
	case Create:
		return green
	case Update, Restart:
		return yellow
	case Delete, Replace:
		return red
	}
	return none
}
