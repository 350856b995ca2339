package bucket

import (
	"context"
	"time"
)

// An Opener opens buckets with patience of its own. The zero Opener is the one that Open uses.
type Opener struct {
	Attempt  time.Duration // how long one request may take; 15 s if zero
	Patience time.Duration // how long a failed request is tried again; 1 minute if zero
}

// mark is what is written with an object, so that a writer finds out later whether a write was its own.
type mark struct {
	write string   // unique to one call of Put
	over  Revision // the revision it was written over
}

// Open is the function Open.
func (o Opener) Open(ctx context.Context, url string) (Bucket, error) {
	if url == "mem://" {
		return NewMemory(), ctx.Err()
	}
	return nil, &URLError{URL: url, Why: "no such kind of store"}
}
