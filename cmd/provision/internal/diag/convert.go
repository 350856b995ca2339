package diag

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// A Coded is an error of a package that may not import this one and still knows which diagnostic it is. It may also
// have Output() []string, the host's own words, and Advice() (text string, commands []string), what to do.
type Coded interface {
	error
	DiagnosticID() string
}

// A kinded is providers.Kind, told by its shape: vendors' errors wrap one.
type kinded interface {
	error
	Retryable() bool
}

// AsDiagnostics turns any error into diagnostics: those that it wraps as they are, and one for each other error of a
// join. It returns none for nil.
func AsDiagnostics(err error) Diagnostics {
	if err == nil {
		return nil
	}
	if d, ok := err.(Diagnostic); ok {
		return Diagnostics{d}
	}
	if ds, ok := err.(Diagnostics); ok {
		return ds
	}
	if errs := joined(err); errs != nil {
		var ds Diagnostics
		for _, e := range errs {
			ds = append(ds, AsDiagnostics(e)...)
		}
		return ds
	}
	var ds Diagnostics
	if errors.As(err, &ds) {
		return ds
	}
	var d Diagnostic
	if errors.As(err, &d) {
		return Diagnostics{d}
	}
	return Diagnostics{fromError(err)}
}

// joined returns the parts of an error that says nothing but what its parts say.
func joined(err error) []error {
	j, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var texts []string
	var errs []error
	for _, e := range j.Unwrap() {
		if e != nil {
			texts, errs = append(texts, e.Error()), append(errs, e)
		}
	}
	if len(errs) == 0 || strings.Join(texts, "\n") != err.Error() {
		return nil
	}
	return errs
}

// fromError makes a diagnostic of an error that wraps none.
func fromError(err error) Diagnostic {
	var c Coded
	var k kinded
	switch {
	case errors.As(err, &c) && lookup(ID(c.DiagnosticID())).ID == ID(c.DiagnosticID()):
		return fromCoded(c, err)
	case errors.Is(err, context.Canceled):
		return Wrap(err, Interrupted, "The command was told to stop before this was done: %s", sentence(err)).Next("Run the same command again to go on.")
	case errors.Is(err, context.DeadlineExceeded):
		return Wrap(err, Deadline, "%s", sentence(err)).Next("Run the same command again to go on.")
	case errors.As(err, &k):
		d := FromKind(k.Error(), "%s", sentence(err))
		d.cause = err
		return d
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Wrap(err, DiskFull, "%s", sentence(err)).Next("Make room there and run the same command again.")
	case errors.Is(err, fs.ErrNotExist):
		return Wrap(err, FileNotFound, "%s", sentence(err))
	case errors.Is(err, fs.ErrPermission):
		return Wrap(err, FilePermission, "%s", sentence(err))
	}
	return Wrap(err, Internal, "%s", sentence(err)).
		Next("This is a mistake in provision itself: please report it with the text above. Nothing is lost: the same command can be run again.")
}

func fromCoded(c Coded, err error) Diagnostic {
	d := Wrap(err, ID(c.DiagnosticID()), "%s", sentence(err))
	var o interface{ Output() []string }
	if errors.As(err, &o) {
		d.Output = o.Output()
	}
	var a interface{ Advice() (string, []string) }
	if errors.As(err, &a) {
		d.Advice, d.Commands = a.Advice()
	}
	return d
}

// sentence is what an error says, with a capital letter and a full stop.
func sentence(err error) string {
	s := strings.TrimSpace(err.Error())
	if s == "" {
		return "The error says nothing."
	}
	if r, n := utf8.DecodeRuneInString(s); !strings.ContainsAny(strings.TrimSuffix(firstWord(s), ":"), "/.@") {
		s = string(unicode.ToUpper(r)) + s[n:]
	}
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

func firstWord(s string) string {
	w, _, _ := strings.Cut(s, " ")
	return w
}

// KindID returns the diagnostic for what a vendor's error is, by the text of its providers.Kind; Internal for a kind
// that is not known.
func KindID(kind string) ID {
	switch kind {
	case "not found":
		return NotThere
	case "exists":
		return NameTaken
	case "conflict":
		return InUse
	case "invalid":
		return NotAccepted
	case "denied":
		return PermissionMissing
	case "quota":
		return QuotaExceeded
	case "capacity":
		return OutOfCapacity
	case "throttled", "unavailable":
		return VendorNotAnswering
	case "unsupported":
		return Unsupported
	}
	return Internal
}

// FromKind returns a diagnostic for a vendor's error of that kind, which is the text of a providers.Kind.
func FromKind(kind, format string, args ...any) Diagnostic { return New(KindID(kind), format, args...) }
