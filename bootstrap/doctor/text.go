package doctor

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// WriteText writes the report for people: each kind of finding once, with the hosts that have it, then what to do. On a sound
// fleet it is one line.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for rest := r.Findings; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(f Finding) bool {
			return f.ID != rest[0].ID || f.Severity != rest[0].Severity || f.Mend != rest[0].Mend
		})
		if n < 0 {
			n = len(rest)
		}
		writeGroup(&b, rest[:n])
		rest = rest[n:]
	}
	b.WriteString(r.summary())
	_, err := io.WriteString(w, b.String())
	return err
}

func writeGroup(b *strings.Builder, fs []Finding) {
	word := map[Severity]string{Error: "Error", Warning: "Warning", Note: "Note"}[fs[0].Severity]
	fmt.Fprintf(b, "%s: %s (%s)\n\n", word, fs[0].ID.Title(), fs[0].ID)
	for _, g := range alike(fs, func(f Finding) string { return f.What }) {
		fmt.Fprintf(b, "  %s: %s\n", hosts(g), g[0].What)
	}
	fmt.Fprintf(b, "\n  %s\n", fs[0].Mend)
	for _, g := range alike(fs, func(f Finding) string { return strings.Join(f.Run, "\n") }) {
		if len(g[0].Run) == 0 {
			continue
		}
		if g[0].Where != "" {
			fmt.Fprintf(b, "  On %s:\n", hosts(g))
		}
		for _, c := range g[0].Run {
			fmt.Fprintf(b, "      %s\n", c)
		}
	}
	b.WriteString("\n")
}

// alike puts findings together that have the same text, in the order of the first of each.
func alike(fs []Finding, text func(Finding) string) [][]Finding {
	at := map[string]int{}
	var gs [][]Finding
	for _, f := range fs {
		i, ok := at[text(f)]
		if !ok {
			i, at[text(f)] = len(gs), len(gs)
			gs = append(gs, nil)
		}
		gs[i] = append(gs[i], f)
	}
	return gs
}

func hosts(fs []Finding) string {
	var names []string
	for _, f := range fs {
		if !slices.Contains(names, f.Host) {
			names = append(names, f.Host)
		}
	}
	return some(names)
}

// summary is the last line.
func (r *Report) summary() string {
	sound := 0
	for _, h := range r.Hosts {
		if h.Sound {
			sound++
		}
	}
	took := fmt.Sprintf(" (%v)\n", r.Took.Round(100*time.Millisecond))
	if sound == len(r.Hosts) && r.count(Error)+r.count(Warning) == 0 {
		return plural(len(r.Hosts), "host") + ": sound" + took
	}
	return fmt.Sprintf("%s: %s, %s; %d sound%s", plural(len(r.Hosts), "host"), plural(r.count(Error), "error"), plural(r.count(Warning), "warning"), sound, took)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
