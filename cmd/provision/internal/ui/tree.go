package ui

import (
	"fmt"
	"strings"
	"time"
)

// tree lays the steps out, at most rows lines of them, with the last line for all together. The less room there is, the
// less of it is shown: first the steps that are done go, then the blocked, then those that run, then those that failed, and
// at last the groups.
func (m *model) tree(s Style, rows int, at time.Time, start time.Time) []string {
	rows = max(rows, 2)
	level := 0
	for level < onlyGroups && m.height(level) >= rows {
		level++
	}
	lines := m.lines(s, at, level)
	if over := len(lines) - (rows - 1); over > 0 {
		lines = lines[:rows-2]
		lines = append(lines, line{{fmt.Sprintf("%s and %d more", s.symbols().cut, over+1), dim}})
	}
	lines = append(lines, m.total(s, at.Sub(start)))
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.in(s, s.width()-1) // the last column stays free: some terminals wrap when it is filled
	}
	return texts
}

// onlyGroups is the level of least detail: a line for each group.
const onlyGroups = 4

// height is how many lines the tree has at that level.
func (m *model) height(level int) int {
	n := 0
	for _, g := range m.groups {
		if g.header(level) {
			n++
		}
		for _, st := range g.steps {
			if st.shown(level) || !g.header(level) {
				n++
			}
		}
	}
	return n
}

// header says whether the group has a line of its own. A single step stands for its group.
func (g *group) header(level int) bool { return len(g.steps) > 1 || level == onlyGroups }

// total is the line for all steps together.
func (m *model) total(s Style, took time.Duration) line {
	noun := " steps"
	if s.width() < 60 {
		noun = ""
	}
	return append(line{{padLeft(seconds(took), 7) + "  ", dim}}, m.count().line(noun)...)
}

// line writes counts: 37/50 done, 2 failed.
func (c counts) line(noun string) line {
	l := line{{fmt.Sprintf("%d/%d%s done", c.done, c.total, noun), none}}
	for _, p := range []struct {
		n     int
		word  string
		color color
	}{{c.failed, "failed", red}, {c.blocked, "blocked", yellow}, {c.running, "running", none}} {
		if p.n > 0 {
			l = append(l, piece{", ", none}, piece{fmt.Sprintf("%d %s", p.n, p.word), p.color})
		}
	}
	return l
}

// lines is the tree without what the level leaves out.
func (m *model) lines(s Style, at time.Time, level int) []line {
	var lines []line
	width := max(s.width()/2-8, 10) // of the addresses
	short := m.long+2 > width       // below a header that names the pool, they need not
	width = min(width, m.long+2)
	for _, g := range m.groups {
		header := g.header(level)
		indent := ""
		if header {
			lines = append(lines, append(line{{g.name + "  ", bold}}, g.count().line("")...))
			indent = "  "
		}
		for _, st := range g.steps {
			if !st.shown(level) && header {
				continue
			}
			label := clean(st.address)
			if short && header {
				label = strings.Replace(label, "."+g.name+"[", "[", 1)
			}
			lines = append(lines, append(line{{indent, none}}, st.line(s, at, label, width-len(indent))...))
		}
	}
	return lines
}

// shown says whether the level has room for the step.
func (st *step) shown(level int) bool {
	switch st.kind {
	case Done:
		return level < 1
	case Blocked:
		return level < 2
	case Started:
		return level < 3
	case Failed:
		return level < 4
	}
	return false
}

// line is one step: symbol, time, address, what it does.
func (st *step) line(s Style, at time.Time, label string, width int) line {
	sym := s.symbols()
	var sign piece
	took, text := st.took, piece{st.text, none}
	switch st.kind {
	case Started:
		took = at.Sub(st.since)
		sign = piece{sym.spinner[int(took.Milliseconds()/100)%len(sym.spinner)], cyan}
	case Done:
		sign = piece{sym.done, green}
	case Failed:
		sign, text.color = piece{sym.failed, red}, red
	case Blocked:
		sign, text = piece{sym.blocked, yellow}, piece{"blocked by " + st.cause, yellow}
	default:
		sign, text = piece{sym.waiting, dim}, piece{"waiting", dim}
	}
	time := strings.Repeat(" ", 7)
	if st.kind == Started || st.kind == Done || st.kind == Failed {
		time = padLeft(seconds(took), 7)
	}
	l := line{sign, {time + "  ", dim}, {pad(s.cut(label, width), width) + "  ", none}}
	if st.running() && st.total > 0 {
		l = append(l, bar(s, st.done, st.total)...)
		return append(l, text, piece{"  " + megabytes(st.done, st.total), dim})
	}
	return append(l, text)
}

// bar is how much of a transfer is done. The bar itself goes where there is room for it.
func bar(s Style, done, total int64) line {
	done = min(max(done, 0), total)
	sym := s.symbols()
	var l line
	if cells := min(20, s.width()/8); cells >= 8 {
		n := int(done * int64(cells) / total)
		l = line{{strings.Repeat(sym.full, n), cyan}, {strings.Repeat(sym.empty, cells-n) + " ", dim}}
	}
	return append(l, piece{fmt.Sprintf("%3d%%  ", done*100/total), none})
}
