package remote

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// A tail passes on what a plug-in writes to stderr, line by line and without secrets, and keeps the last lines.
type tail struct {
	mu      sync.Mutex
	to      io.Writer
	secrets []string
	part    []byte
	last    []string
}

// Lines are kept up to a length and a number.
const (
	longestLine = 4 << 10
	keptLines   = 20
)

func newTail(to io.Writer, secrets []string) *tail {
	secrets = slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return len(s) < 4 })
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	return &tail{to: to, secrets: secrets}
}

// Write never fails: a plug-in must not stop because its log cannot be written.
func (t *tail) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.part = append(t.part, data...)
	for {
		i := bytes.IndexByte(t.part, '\n')
		if i < 0 && len(t.part) < longestLine {
			return len(data), nil
		}
		if i < 0 {
			i = len(t.part)
		}
		line := t.clean(string(t.part[:i]))
		t.part = slices.Clone(t.part[min(i+1, len(t.part)):])
		if strings.TrimSpace(line) == "" {
			continue
		}
		if t.last = append(t.last, line); len(t.last) > keptLines {
			t.last = t.last[1:]
		}
		if t.to != nil {
			_, _ = io.WriteString(t.to, line+"\n")
		}
	}
}

// lines returns the last lines, and what was begun of another.
func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := slices.Clone(t.last)
	if part := t.clean(string(t.part)); strings.TrimSpace(part) != "" {
		last = append(last, part)
	}
	return last
}

// clean returns the text without secrets and without what moves a terminal's cursor.
func (t *tail) clean(s string) string {
	for _, secret := range t.secrets {
		s = strings.ReplaceAll(s, secret, "(secret)")
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
}
