package providers

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Wait is a pause that a wrapper makes in the middle of a call: for its turn, or before it makes the call again.
type Wait struct {
	Call    Call
	Attempt int           // how many calls were made so far; 0: it waits for its turn
	Err     error         // what the last of them returned; nil if there was none
	For     time.Duration // how long the pause is
}

// Kind says what the vendor answered; "" if it was not asked yet.
func (w Wait) Kind() Kind { return KindOf(w.Err) }

// String says in few words what is waited for, and what the vendor answered: "create network: throttled (RequestLimitExceeded: Request limit
// exceeded.), next try in 3s".
func (w Wait) String() string {
	d := w.For.Round(time.Second)
	if w.For < 10*time.Second {
		d = w.For.Round(100 * time.Millisecond)
	}
	if w.Attempt == 0 {
		return fmt.Sprintf("its turn at the vendor comes in %s", d)
	}
	said := string(w.Kind())
	if w.Call.Verb != "" {
		said = fmt.Sprintf("%s %s: %s", w.Call.Verb, w.Call.Noun, said)
	}
	if words := w.words(); words != "" {
		said += " (" + words + ")"
	}
	return fmt.Sprintf("%s, next try in %s", said, d)
}

// mostWords is how long the vendor's words may be, in letters: they stand in a line with other things.
const mostWords = 100

// words are what the vendor said, behind what every error of a vendor begins with: what was done, and its Kind.
func (w Wait) words() string {
	if w.Err == nil {
		return ""
	}
	_, said, _ := strings.Cut(strings.Join(strings.Fields(w.Err.Error()), " "), string(w.Kind())+": ")
	if r := []rune(said); len(r) > mostWords {
		said = strings.TrimSpace(string(r[:mostWords-1])) + "…"
	}
	return said
}

type observerKey struct{}

// WithObserver returns a context that lets observe know of each Wait, before it begins, in the calls that are made with
// the context, so that whoever makes a call can say why it takes long. Observers of contexts that ctx was made from are
// told too. observe is called by the goroutine that waits, so it must be quick, and from several at a time if the context
// is used by several. It does not reach through a plug-in's pipe: wrappers that wait stand on this side of it.
func WithObserver(ctx context.Context, observe func(Wait)) context.Context {
	outer, _ := ctx.Value(observerKey{}).(func(Wait))
	return context.WithValue(ctx, observerKey{}, func(w Wait) {
		if outer != nil {
			outer(w)
		}
		observe(w)
	})
}

// Observe tells the context's observers, if there are any, of a Wait that is about to begin. Wrappers call it.
func Observe(ctx context.Context, w Wait) {
	if observe, ok := ctx.Value(observerKey{}).(func(Wait)); ok {
		observe(w)
	}
}

// choosingKey is where a context says that its caller has a choice.
type choosingKey struct{}

// WithChoice returns a context for a caller that would take another type or zone of machine: a vendor that is out of the one that is asked for
// is not asked again. Else what passes slowly is waited for.
func WithChoice(ctx context.Context) context.Context {
	return context.WithValue(ctx, choosingKey{}, true)
}

// Choosing says whether the context is one of WithChoice.
func Choosing(ctx context.Context) bool { return ctx.Value(choosingKey{}) != nil }
