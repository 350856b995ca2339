package ui

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/clipperhouse/displaywidth"
)

// columns returns how many columns of a terminal the text takes. It has no control characters in it.
func columns(text string) int { return displaywidth.String(text) }

// cut shortens the text to at most n columns.
func (s Style) cut(text string, n int) string {
	if columns(text) <= n {
		return text
	}
	if n <= 0 {
		return ""
	}
	return displaywidth.TruncateString(text, n, s.symbols().cut)
}

// pad makes the text n columns wide with spaces behind it.
func pad(text string, n int) string {
	return text + strings.Repeat(" ", max(0, n-columns(text)))
}

// padLeft makes the text n columns wide with spaces before it.
func padLeft(text string, n int) string {
	return strings.Repeat(" ", max(0, n-columns(text))) + text
}

// clean makes one line of text that comes from elsewhere, a host perhaps, and takes out all that could steer the terminal.
func clean(text string) string {
	text = stripEscapes(text, false)
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, text)
	return strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
}

// cleanLines takes out of many lines all that could steer the terminal, but colours.
func cleanLines(text string) string {
	text = stripEscapes(text, true)
	text = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && r != '\x1b' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, text)
	return strings.TrimRight(strings.ToValidUTF8(text, "\uFFFD"), "\n")
}

// stripEscapes removes ANSI sequences, or all but those that set colours.
func stripEscapes(text string, colors bool) string {
	if !strings.ContainsRune(text, '\x1b') {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		before, after, ok := strings.Cut(text, "\x1b")
		b.WriteString(before)
		if !ok {
			break
		}
		n, isColor := escapeLength(after)
		if isColor && colors {
			b.WriteString("\x1b" + after[:n])
		}
		text = after[n:]
	}
	return b.String()
}

// escapeLength returns how long the sequence is whose ESC stood before s, and whether it sets a colour.
func escapeLength(s string) (n int, isColor bool) {
	if s == "" {
		return 0, false
	}
	switch s[0] {
	case '[': // CSI: parameters, then one letter
		for i := 1; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1, s[i] == 'm' && strings.Trim(s[1:i], "0123456789;:") == ""
			}
		}
		return len(s), false
	case ']', 'P', '_', '^', 'X': // a string, up to BEL or ESC \
		for i := 1; i < len(s); i++ {
			if s[i] == '\a' {
				return i + 1, false
			}
			if s[i] == '\x1b' && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2, false
			}
		}
		return len(s), false
	}
	if s[0] < 0x80 {
		return 1, false
	}
	return 0, false
}

// wrap breaks text into lines of at most n columns between words; a word that is too long is broken itself.
func wrap(text string, n int) []string {
	n = max(n, 1)
	var lines []string
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && columns(line)+1+columns(w) <= n {
			line += " " + w
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for columns(w) > n {
			head := displaywidth.TruncateString(w, n, "")
			if head == "" { // a character wider than the line
				break
			}
			lines, w = append(lines, head), w[len(head):]
		}
		line = w
	}
	return append(lines, line)
}

// seconds writes a duration in at most seven characters: 0.3s, 59.9s, 2m05s, 1h02m.
func seconds(d time.Duration) string {
	switch {
	case d < 0:
		return "0.0s"
	case d < 99950*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// megabytes writes how much of a transfer is done: 34/75 MB.
func megabytes(done, total int64) string {
	const mb = 1e6
	if total < 10*mb {
		return fmt.Sprintf("%.1f/%.1f MB", float64(done)/mb, float64(total)/mb)
	}
	return fmt.Sprintf("%.0f/%.0f MB", float64(done)/mb, float64(total)/mb)
}

// A piece is text of one colour; a line is made of pieces.
type piece struct {
	text  string
	color color
}

type line []piece

func (l line) columns() int {
	n := 0
	for _, p := range l {
		n += columns(p.text)
	}
	return n
}

// in lays the line out in at most n columns.
func (l line) in(s Style, n int) string {
	var b strings.Builder
	over := l.columns() > n
	if over {
		n -= columns(s.symbols().cut)
	}
	for _, p := range l {
		text := p.text
		if over {
			text = displaywidth.TruncateString(text, max(n, 0), "")
			n -= columns(text)
		}
		b.WriteString(s.paint(p.color, text))
		if text != p.text {
			break
		}
	}
	if over {
		b.WriteString(s.symbols().cut)
	}
	return b.String()
}
