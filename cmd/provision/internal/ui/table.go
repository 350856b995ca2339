package ui

import "strings"

// gap is the space between two columns of a table.
const gap = "  "

// leastColumn is how narrow a column of a table may become.
const leastColumn = 8

// Table lays rows out in columns below their headers, within the style's width: the widest columns are cut first. Where not
// even that is enough room, each row becomes a block of its own, with a line for each column.
func Table(header []string, rows [][]string, s Style) string {
	widths := make([]int, len(header))
	all := append([][]string{header}, rows...)
	for _, r := range all {
		for i := range header {
			widths[i] = max(widths[i], columns(cell(r, i)))
		}
	}
	if !fit(widths, s.width()) {
		return blocks(header, rows, s)
	}
	var b strings.Builder
	for k, r := range all {
		var cells []string
		for i, w := range widths {
			cells = append(cells, pad(s.cut(cell(r, i), w), w))
		}
		text := strings.TrimRight(strings.Join(cells, gap), " ")
		if k == 0 {
			text = s.paint(bold, text)
		}
		b.WriteString(text + "\n")
	}
	return b.String()
}

// cell is the text of a row's i-th column.
func cell(row []string, i int) string {
	if i >= len(row) {
		return ""
	}
	return clean(row[i])
}

// fit takes from the widest columns until all of them fit, and says whether that was possible.
func fit(widths []int, width int) bool {
	over := len(gap)*(len(widths)-1) - width
	for _, w := range widths {
		over += w
	}
	for ; over > 0; over-- {
		widest := 0
		for i, w := range widths {
			if w >= widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= leastColumn {
			return false
		}
		widths[widest]--
	}
	return true
}

// blocks lays each row out below one another.
func blocks(header []string, rows [][]string, s Style) string {
	name := 0
	for _, h := range header {
		name = max(name, columns(h))
	}
	var b strings.Builder
	for k, r := range rows {
		if k > 0 {
			b.WriteString("\n")
		}
		for i, h := range header {
			l := line{{pad(clean(h), name) + gap, bold}, {cell(r, i), none}}
			b.WriteString(strings.TrimRight(l.in(s, s.width()), " ") + "\n")
		}
	}
	return b.String()
}
