package ui

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/clipperhouse/displaywidth"
)

// screen is a terminal as far as live needs one: it knows text, CR, LF, cursor up, erase, and breaks lines anew when its
// width changes, as most terminals do. It keeps what scrolls off.
type screen struct {
	t             *testing.T
	mu            sync.Mutex
	width, height int
	lines         [][]string // hard lines, of cells; the second cell of a wide character is empty
	line          int        // where the cursor is: the hard line,
	row           int        // the row of it at this width,
	col           int        // and the column
	writes        int
	gate          chan struct{} // if not nil, each write waits for it
}

func newScreen(t *testing.T, width, height int) *screen {
	return &screen{t: t, width: width, height: height, lines: make([][]string, 1)}
}

func (s *screen) size() (int, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.width, s.height
}

func (s *screen) resize(width, height int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.col != 0 || s.row != 0 {
		s.t.Errorf("the cursor rests at row %d, column %d of its line; want the beginning", s.row, s.col)
	}
	s.width, s.height = width, height
}

func (s *screen) Write(b []byte) (int, error) {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	text := string(b)
	for text != "" {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			n := strings.IndexFunc(rest, func(r rune) bool { return r >= 0x40 && r <= 0x7e })
			s.control(rest[:n], rest[n])
			text = rest[n+1:]
			continue
		}
		r, n := utf8.DecodeRuneInString(text)
		s.print(r, text[:n])
		text = text[n:]
	}
	return len(b), nil
}

func (s *screen) print(r rune, text string) {
	switch r {
	case '\r':
		s.col = 0
	case '\n':
		s.down()
	default:
		if r < ' ' {
			s.t.Errorf("control character %q on the screen", r)
		}
		w := displaywidth.String(text)
		if s.col+w > s.width {
			s.row, s.col = s.row+1, 0
		}
		at := s.row*s.width + s.col
		l := s.lines[s.line]
		for len(l) < at+w {
			l = append(l, " ")
		}
		l[at] = text
		if w == 2 {
			l[at+1] = ""
		}
		s.lines[s.line] = l
		s.col += w
	}
}

func (s *screen) down() {
	if s.row++; s.row < s.rows(s.line) {
		return
	}
	s.line, s.row = s.line+1, 0
	if s.line == len(s.lines) {
		s.lines = append(s.lines, nil)
	}
}

// rows is how many rows a hard line takes.
func (s *screen) rows(i int) int { return max(1, (len(s.lines[i])+s.width-1)/s.width) }

func (s *screen) control(arg string, what byte) {
	switch what {
	case 'A':
		n := 0
		fmt.Sscan(arg, &n)
		top := s.top()
		for ; n > 0 && (s.line > top || s.row > 0); n-- {
			if s.row--; s.row < 0 {
				s.line--
				s.row = s.rows(s.line) - 1
			}
		}
	case 'K':
		at := s.row*s.width + s.col
		if s.col >= s.width {
			s.t.Error("a line is erased to its end behind its last column, which takes that away")
		}
		if len(s.lines[s.line]) > at {
			s.lines[s.line] = s.lines[s.line][:at]
		}
	case 'J':
		s.control("", 'K')
		s.lines = s.lines[:s.line+1]
	case 'm', 'h', 'l':
	default:
		s.t.Errorf("control sequence %q%c is not one that live should use", arg, what)
	}
}

// top is the first hard line that has not scrolled off.
func (s *screen) top() int {
	rows := 0
	for i := len(s.lines) - 1; i >= 0; i-- {
		if rows += s.rows(i); rows > s.height {
			return i + 1
		}
	}
	return 0
}

// text is all that was ever on the screen and not erased.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(strings.TrimRight(strings.Join(l, ""), " ") + "\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
