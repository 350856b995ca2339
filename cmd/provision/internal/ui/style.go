package ui

import (
	"io"
	"strings"

	"golang.org/x/term"
)

// A Style is how text is laid out for one place of output. The zero Style is plain ASCII in 80 columns.
type Style struct {
	Width   int  // columns; 0 means 80
	Color   bool // use the terminal's own sixteen colours
	Unicode bool // use symbols and bars beyond ASCII
}

// StyleOf returns the style that fits a writer: that of its terminal if it is one, or 80 columns without colour. environ is
// as from os.Environ: NO_COLOR, if not empty, and TERM=dumb take the colours away; LC_ALL, LC_CTYPE and LANG tell whether
// the terminal knows Unicode.
func StyleOf(w io.Writer, environ []string) Style {
	width, _, ok := terminalSize(w)
	s := Style{Width: width, Unicode: hasUnicode(environ)}
	s.Color = ok && getenv(environ, "NO_COLOR") == "" && getenv(environ, "TERM") != "dumb"
	return s
}

func hasUnicode(environ []string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToUpper(getenv(environ, name)); v != "" {
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return false
}

// getenv returns the last value of a name, which is the one that counts.
func getenv(environ []string, name string) (value string) {
	for _, e := range environ {
		if n, v, ok := strings.Cut(e, "="); ok && n == name {
			value = v
		}
	}
	return value
}

// terminalSize returns the size of the terminal that w writes to, and whether it does. A terminal that does not know its
// size has 80 columns and 24 rows.
func terminalSize(w io.Writer) (width, height int, ok bool) {
	f, isFile := w.(interface{ Fd() uintptr })
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 80, 24, false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24, true
	}
	return width, height, true
}

func (s Style) width() int {
	if s.Width <= 0 {
		return 80
	}
	return s.Width
}

// A color is one or more SGR codes; none means the terminal's own.
type color string

const (
	none   color = ""
	bold   color = "1"
	dim    color = "2"
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	cyan   color = "36"
)

func (s Style) paint(c color, text string) string {
	if !s.Color || c == none || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// symbols are the signs of a step's states.
type symbols struct {
	done, failed, blocked, waiting string
	spinner                        []string
	full, empty                    string // of a bar
	cut                            string // stands for what has no room
}

func (s Style) symbols() symbols {
	if s.Unicode {
		return symbols{"✓", "✗", "⊘", "·", []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}, "█", "░", "…"}
	}
	return symbols{"=", "x", "-", ".", []string{"|", "/", "-", "\\"}, "#", ".", "~"}
}
