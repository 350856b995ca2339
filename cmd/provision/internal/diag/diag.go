// Package diag holds every error that a person sees: what each means, where in the file it came from, how it is shown as
// text and as JSON, and which exit code it leads to.
//
// Packages that know this one make a Diagnostic. Packages that may not import it (vendors, bootstrap, ssh, the bundle)
// return plain errors; AsDiagnostics turns any error into diagnostics, and an error type of theirs can choose its
// diagnostic by being a Coded.
package diag

import (
	"fmt"
	"strings"
)

// A Severity says whether a diagnostic stops the command. The zero value is Error.
type Severity int

// The severities.
const (
	Error Severity = iota
	Warning
)

// String is the word that a person reads: "Error" or "Warning".
func (s Severity) String() string {
	if s == Warning {
		return "Warning"
	}
	return "Error"
}

// MarshalText writes "error" or "warning".
func (s Severity) MarshalText() ([]byte, error) { return []byte(strings.ToLower(s.String())), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Severity) UnmarshalText(b []byte) error {
	switch string(b) {
	case "error":
		*s = Error
	case "warning":
		*s = Warning
	default:
		return fmt.Errorf("severity %q is neither error nor warning", b)
	}
	return nil
}

// A Pos is a place in a file. Lines and columns count from 1, bytes from 0; a column is one character as a reader sees it.
type Pos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

// A Range is a part of a file. It carries the line it starts on, so that it can be shown later, when the file has
// changed, and without reading anything.
type Range struct {
	File   string `json:"file"`
	Source string `json:"source,omitempty"` // the line that Start is on, without its end; of a very long one its beginning
	Start  Pos    `json:"start"`
	End    Pos    `json:"end"` // just behind the last byte
}

// String is the place as people and editors write it: cluster.hcl:31.
func (r Range) String() string { return fmt.Sprintf("%s:%d", r.File, r.Start.Line) }

// A Diagnostic is one thing that a person has to know: what happened, where, why, what is left behind, what to do.
// It is an error. The ID gives the summary and the exit code.
type Diagnostic struct {
	ID       ID       `json:"id"`
	Severity Severity `json:"severity"`
	Range    *Range   `json:"range,omitempty"`    // the place in the file that asked, if there is one
	In       string   `json:"in,omitempty"`       // the block around it: pool "workers"
	Address  string   `json:"address,omitempty"`  // of the step that failed: machine.workers[2]
	Detail   string   `json:"detail"`             // full sentences: what, why, what is left. Blank lines part paragraphs, lines from "- " are a list
	Output   []string `json:"output,omitempty"`   // the host's own words; only the last lines are shown
	Advice   string   `json:"advice,omitempty"`   // full sentences: what to do. Ends in a colon if Commands follow
	Commands []string `json:"commands,omitempty"` // each ready to paste

	cause error
}

// New returns an error whose detail is made as by fmt.Sprintf.
func New(id ID, format string, args ...any) Diagnostic {
	return Diagnostic{ID: id, Detail: fmt.Sprintf(format, args...)}
}

// Wrap is New, and the result unwraps to err. The detail has to tell what a person needs of err.
func Wrap(err error, id ID, format string, args ...any) Diagnostic {
	d := New(id, format, args...)
	d.cause = err
	return d
}

// At returns the diagnostic with its place in the file set, unless r is nil.
func (d Diagnostic) At(r *Range, in string) Diagnostic {
	if r != nil {
		d.Range, d.In = r, in
	}
	return d
}

// Next returns the diagnostic with what to do.
func (d Diagnostic) Next(advice string, commands ...string) Diagnostic {
	d.Advice, d.Commands = advice, commands
	return d
}

// Summary is what the diagnostic is, in fixed words without user data.
func (d Diagnostic) Summary() string { return lookup(d.ID).Summary }

// Error is the diagnostic in one line.
func (d Diagnostic) Error() string {
	var b strings.Builder
	if d.Range != nil {
		b.WriteString(d.Range.String() + ": ")
	}
	if d.Address != "" {
		b.WriteString(d.Address + ": ")
	}
	b.WriteString(d.Summary())
	if d.Detail != "" {
		b.WriteString(": " + strings.Join(strings.Fields(d.Detail), " "))
	}
	return b.String()
}

// Unwrap returns the error that Wrap was given.
func (d Diagnostic) Unwrap() error { return d.cause }

// Diagnostics are what a command found, in the order in which to show it. As an error it stands for all of them; use Err
// to get an error from it, since even an empty one is no nil error.
type Diagnostics []Diagnostic

// Error is every diagnostic on a line of its own.
func (ds Diagnostics) Error() string {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the diagnostics as errors.
func (ds Diagnostics) Unwrap() []error {
	errs := make([]error, len(ds))
	for i, d := range ds {
		errs[i] = d
	}
	return errs
}

// HasErrors says whether one of them is more than a warning.
func (ds Diagnostics) HasErrors() bool {
	for _, d := range ds {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// Err returns the diagnostics as an error, or nil if none is more than a warning.
func (ds Diagnostics) Err() error {
	if !ds.HasErrors() {
		return nil
	}
	return ds
}

// Exit codes of the command. The code of a plan that found changes is the command's own.
const (
	ExitDone        = 0
	ExitFailed      = 1 // a step failed
	ExitRefused     = 2 // the file or the flags are wrong; nothing was touched
	ExitInterrupted = 3
)

// ExitCode is what the command ends with: 0 without errors, else interrupted before failed before refused. What carries
// an Address is of a step, so it never counts as refused.
func (ds Diagnostics) ExitCode() int {
	code := ExitDone
	for _, d := range ds {
		if d.Severity != Error {
			continue
		}
		exit := lookup(d.ID).Exit
		if exit != ExitInterrupted && (d.Address != "" || exit == ExitDone) {
			exit = ExitFailed
		}
		if rank(exit) > rank(code) {
			code = exit
		}
	}
	return code
}

func rank(exit int) int {
	switch exit {
	case ExitInterrupted:
		return 3
	case ExitFailed:
		return 2
	case ExitRefused:
		return 1
	}
	return 0
}
