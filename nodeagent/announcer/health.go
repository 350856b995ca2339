package announcer

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// watchHealth asks again and again whether this one may hold, and wakes the lease when that changes.
func (l *Lease) watchHealth(ctx context.Context, wake chan<- struct{}) {
	failed := 0
	for {
		question, cancel := context.WithTimeout(ctx, callLimit)
		err := l.o.Well(question)
		cancel()
		if ctx.Err() != nil {
			return
		}
		failed++
		if err == nil {
			failed = 0
		}
		if l.learn(err, failed) {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wellEvery):
		}
	}
}

// learn notes an answer, and reports whether it changes anything. Nobody who listens is final; any other failure may be bad
// luck once.
func (l *Lease) learn(err error, failed int) bool {
	l.mu.Lock()
	was := l.ill
	switch {
	case err == nil:
		l.ill = ""
	case failed > 1 || errors.Is(err, syscall.ECONNREFUSED) || was != "":
		l.ill = err.Error()
	}
	is := l.ill
	l.mu.Unlock()
	if was != is {
		l.o.Tell()
	}
	return (was == "") != (is == "")
}
