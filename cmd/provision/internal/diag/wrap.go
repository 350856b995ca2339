package diag

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/apparentlymart/go-textseg/v15/textseg"
	"golang.org/x/text/width"
)

// wrap breaks text between words into lines of at most so many columns, the first beginning with one prefix and the
// others with another. A word that is too long stays whole, so that paths and addresses can be copied.
func wrap(text string, limit int, first, rest string) []string {
	var lines []string
	line, empty := first, true
	for _, word := range strings.Fields(text) {
		if !empty && columns(line)+1+columns(word) > limit {
			lines = append(lines, line)
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	return append(lines, line)
}

// columns is how many columns of a terminal the text takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) || r == '\u200d' {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut returns the start of the text that fits into so many columns, tail the end.
func cut(s string, limit int) string {
	for i, r := range s {
		if limit -= runeColumns(r); limit < 0 {
			return s[:i]
		}
	}
	return s
}

func tail(s string, limit int) string {
	for over := columns(s) - limit; over > 0; {
		r, n := utf8.DecodeRuneInString(s)
		over -= runeColumns(r)
		s = s[n:]
	}
	return s
}

// prefixBytes is how many bytes the first n characters take, as hcl counts characters for its columns.
func prefixBytes(s string, n int) int {
	rest := []byte(s)
	for ; n > 0 && len(rest) > 0; n-- {
		advance, _, err := textseg.ScanGraphemeClusters(rest, true)
		if err != nil || advance == 0 {
			return len(s)
		}
		rest = rest[advance:]
	}
	return len(s) - len(rest)
}

// visible makes control characters, broken UTF-8 and marks that turn the direction of writing visible, so that foreign
// text can neither steer a terminal nor look like something else. A tab becomes two spaces.
func visible(s string) string {
	if !strings.ContainsFunc(s, hidden) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "�") {
		switch {
		case r == '\t':
			b.WriteString("  ")
		case hidden(r):
			b.WriteRune('�')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control) || r == '\u2028' || r == '\u2029'
}
