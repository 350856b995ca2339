package remote

import (
	"fmt"
	"slices"
	"strings"

	"github.com/provisionhq/provision/providers"
)

// A Reason is what is wrong with a plug-in.
type Reason string

// The reasons.
const (
	Died  Reason = "died"  // its process ended while a call was in progress, or before it could answer any
	Hung  Reason = "hung"  // it did not say a word for too long, or did not end a call in time
	Unfit Reason = "unfit" // it is no plug-in, of another version, or of another name
	Bug   Reason = "bug"   // it answered what the contract does not allow
)

// A Fault is what a plug-in, and not the vendor behind it, did wrong. A Fault of a plug-in that Died or Hung wraps
// providers.Unavailable: the same call may be made again. Others wrap no Kind, as nothing but another plug-in helps.
type Fault struct {
	Reason Reason
	Name   string // the provider's
	Path   string // the program's; empty if it was not started here
	Socket string // where it serves then
	Call   string // that was in progress: "create machine demo/a"; empty: none
	What   string // it did
	Lines  []string
	final  bool // it died too often
}

// Error says who did what when.
func (f *Fault) Error() string {
	s := fmt.Sprintf("plug-in %s (%s)", f.Name, f.Path)
	if f.Path == "" {
		s = fmt.Sprintf("provider %s behind %s", f.Name, f.Socket)
	}
	if f.Call != "" {
		s = f.Call + ": " + s
	}
	return s + " " + f.What
}

// Unwrap returns providers.Unavailable if the plug-in may do better next time.
func (f *Fault) Unwrap() error {
	if (f.Reason == Died || f.Reason == Hung) && !f.final {
		return providers.Unavailable
	}
	return nil
}

// DiagnosticID returns which paragraph of docs/errors.md tells about it.
func (f *Fault) DiagnosticID() string { return "plugin-" + string(f.Reason) }

// Output returns the last lines that the plug-in wrote to stderr.
func (f *Fault) Output() []string { return f.Lines }

// Advice says what to do.
func (f *Fault) Advice() (text string, commands []string) {
	switch f.Reason {
	case Died, Hung:
		return "What is done is kept, and nothing is done twice: the same command can be run again, and goes on. If it happens again, " +
			"report it to the plug-in's author with the lines above.", nil
	case Unfit:
		return "Put a program there that was built for this version of provision. See what is found and trusted:", []string{"provision providers"}
	}
	return "This is a mistake in the plug-in: report it to its author with the text above. The conformance suite, providers/providertest, finds such mistakes.", nil
}

// givenUp returns the fault of a plug-in that died so often that it is left alone for a while.
func (f *Fault) givenUp(deaths int) *Fault {
	g := *f
	g.What, g.final = fmt.Sprintf("%s; it died %d times in a row, so it is left alone for now", f.What, deaths), true
	return &g
}

// fault returns a Fault of this plug-in, with the last lines of its log.
func (p *Provider) fault(r Reason, call, what string) *Fault {
	return &Fault{Reason: r, Name: p.o.Name, Path: p.o.Path, Socket: p.o.Socket, Call: call, What: p.tail.clean(what), Lines: p.tail.lines()}
}

// bug returns the fault of an answer that the contract does not allow.
func (p *Provider) bug(q question, format string, args ...any) error {
	return p.fault(Bug, q.call(), fmt.Sprintf(format, args...))
}

// theirs returns the error that the plug-in sent, as the vendor's own, or the fault of one that says no Kind.
func (p *Provider) theirs(q question, f *failure) error {
	text := p.tail.clean(f.Text)
	if strings.TrimSpace(text) == "" {
		return p.bug(q, "returned an error without words")
	}
	f.Text = text
	err := f.err(p.o.Name)
	switch k := providers.KindOf(err); {
	case k == "":
		return p.bug(q, "returned an error that wraps no kind of error: %s", text)
	case !slices.Contains(providers.Kinds(), k):
		return p.bug(q, "returned an error of kind %q, which there is not: %s", k, text)
	}
	return err
}
