package ui

import (
	"strings"
)

// PlanText lays a plan out: each change with its symbol, its address and the place that asked, its details below, and the
// summary at the end.
func PlanText(plan []PlanLine, summary string, s Style) string {
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
