package ui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// most is how many spans a table of timings shows.
const most = 60

// TimingsText lays out where the time went: each span with its start, how long it took, and a bar on an axis that all of
// them share, in order of their start and the phases of a step below it. Those on the critical path are marked. Of very many,
// the shortest are left out, with a word on how long they were at most.
func TimingsText(spans []Span, s Style) string {
	if len(spans) == 0 {
		return ""
	}
	shown, hidden := longest(inOrder(spans))
	var end time.Duration
	name := 0
	for _, sp := range shown {
		end = max(end, sp.Start+sp.Took)
		name = max(name, columns(spanName(sp)))
	}
	name = min(name, max(12, s.width()-20-20))
	cells := s.width() - 20 - name - 2
	if cells < 10 { // no bar, then
		name, cells = s.width()-20, 0
	}
	var b strings.Builder
	b.WriteString(s.paint(bold, strings.TrimRight(fmt.Sprintf("%8s%9s   %s%s", "start", "took", pad("step", name), axis(cells, end)), " ")) + "\n")
	for _, sp := range shown {
		mark, c := " ", none
		if sp.Critical {
			mark, c = "*", bold
		}
		l := line{{padLeft(seconds(sp.Start), 8) + padLeft(seconds(sp.Took), 9) + " " + mark + " ", none}, {s.cut(spanName(sp), name), c}}
		if cells > 0 {
			l = append(l, piece{strings.Repeat(" ", max(0, name-columns(spanName(sp)))+2), none}, spanBar(sp, end, cells, s))
		}
		b.WriteString(strings.TrimRight(l.in(s, s.width()), " ") + "\n")
	}
	if hidden > 0 {
		fmt.Fprintf(&b, "%s and %d more, each shorter\n", s.symbols().cut, hidden)
	}
	if slices.ContainsFunc(shown, func(sp Span) bool { return sp.Critical }) {
		b.WriteString("* decided how long it took\n")
	}
	return b.String()
}

// spanName is what a span's row is called.
func spanName(sp Span) string {
	if sp.Phase == "" {
		return clean(sp.Address)
	}
	return "  " + clean(sp.Phase)
}

// inOrder puts the spans in order of their start, each step's phases behind it. A step that has phases and no span of its
// own gets one.
func inOrder(spans []Span) []Span {
	whole := map[string]Span{}
	for _, sp := range spans {
		if sp.Phase == "" {
			whole[sp.Address] = sp
		}
	}
	all := slices.Clone(spans)
	for _, sp := range spans {
		w, ok := whole[sp.Address]
		if !ok {
			w = Span{Address: sp.Address, Start: phasesStart(spans, sp.Address), Critical: sp.Critical}
			for _, p := range spans {
				if p.Address == sp.Address {
					w.Took = max(w.Took, p.Start+p.Took-w.Start)
				}
			}
			whole[sp.Address] = w
			all = append(all, w)
		}
	}
	slices.SortStableFunc(all, func(a, b Span) int {
		return cmp.Or(
			cmp.Compare(whole[a.Address].Start, whole[b.Address].Start), cmp.Compare(a.Address, b.Address),
			cmp.Compare(min(1, len(a.Phase)), min(1, len(b.Phase))), cmp.Compare(a.Start, b.Start))
	})
	return all
}

func phasesStart(spans []Span, address string) time.Duration {
	start := time.Duration(-1)
	for _, sp := range spans {
		if sp.Address == address && (start < 0 || sp.Start < start) {
			start = sp.Start
		}
	}
	return start
}

// class orders spans by what may be left out: critical ones last, phases before whole steps.
func class(sp Span) int {
	switch {
	case sp.Critical:
		return 0
	case sp.Phase == "":
		return 1
	}
	return 2
}

// longest leaves out the shortest of very many spans, and never a critical one.
func longest(spans []Span) (shown []Span, hidden int) {
	if len(spans) <= most {
		return spans, 0
	}
	by := slices.Clone(spans)
	slices.SortStableFunc(by, func(a, b Span) int {
		return cmp.Or(cmp.Compare(class(a), class(b)), cmp.Compare(b.Took, a.Took))
	})
	keep := map[Span]bool{}
	for i, sp := range by {
		if i < most || sp.Critical {
			keep[sp] = true
		}
	}
	for _, sp := range spans {
		if keep[sp] {
			shown = append(shown, sp)
		}
	}
	return shown, len(spans) - len(shown)
}

// axis is the head of the bars: 0s at their left and the end at their right.
func axis(cells int, end time.Duration) string {
	if cells == 0 {
		return ""
	}
	return "  0s" + padLeft(seconds(end), cells-2)
}

// spanBar is a span's place on an axis of so many cells from zero to end.
func spanBar(sp Span, end time.Duration, cells int, s Style) piece {
	if end <= 0 {
		end = 1
	}
	from := int(int64(sp.Start) * int64(cells) / int64(end))
	to := int((int64(sp.Start+sp.Took)*int64(cells) + int64(end) - 1) / int64(end))
	from = min(from, cells-1)
	c := cyan
	if sp.Phase != "" {
		c = dim
	}
	return piece{strings.Repeat(" ", from) + strings.Repeat(s.symbols().full, max(1, min(to, cells)-from)), c}
}
