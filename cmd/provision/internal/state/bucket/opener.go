package bucket

import (
	"cmp"
	"context"
	"time"
)

// Open returns the bucket that a URL names:
//
//	s3://BUCKET/PREFIX?region=R&profile=P&endpoint=URL&path_style=true
//	gs://BUCKET/PREFIX?endpoint=URL
//	azblob://CONTAINER/PREFIX?account=A&endpoint=URL
//	mem://
//
// The prefix may be empty; what a URL gives a meaning, such as a space or '+', is written %20, %2B. Credentials come from the
// vendor's own chain (environment, its files, the machine's identity) and never from the URL: one that holds any is refused
// with a URLError. The store is asked for one page of keys, so that what is wrong is said now, within a sixth of the patience:
// a MissingError, DeniedError, RegionError, CredentialsError or UnreachableError.
func Open(ctx context.Context, url string) (Bucket, error) { return Opener{}.Open(ctx, url) }

// An Opener opens buckets with a patience of its own. The zero Opener is the one that Open uses.
type Opener struct {
	Attempt  time.Duration // how long one try of a request may take; 15 s if zero
	Patience time.Duration // how long a failed request is tried again; 1 minute if zero
}

// mark is what is written with an object, so that a writer finds out later whether a write was its own.
type mark struct {
	write string   // unique to one call of Put
	over  Revision // the revision that it was to replace
}

// Open is as the function Open.
func (o Opener) Open(ctx context.Context, url string) (Bucket, error) {
	l, err := parse(url)
	if err != nil {
		return nil, err
	}
	if l.scheme == "mem" {
		return NewMemory(), ctx.Err()
	}
	c := &client{
		url: url, prefix: l.prefix, checks: make(chan bool, 1),
		attempt: cmp.Or(o.Attempt, 15*time.Second), patience: cmp.Or(o.Patience, time.Minute),
	}
	ask, cancel := context.WithTimeout(ctx, c.attempt)
	defer cancel()
	var vendors bool // the endpoint is the vendor's own
	switch l.scheme {
	case "s3":
		c.store, vendors, err = openS3(ask, l)
	case "gs":
		c.store, vendors, err = openGCS(ask, l)
	case "azblob":
		c.store, vendors, err = openAzure(l)
	}
	if err != nil {
		return nil, err
	}
	c.checks <- vendors
	if err := c.greet(ctx); err != nil {
		c.store.close()
		return nil, err
	}
	return c, nil
}

// greet asks for one page of keys. Somebody waits for the answer, so it has less patience.
func (c *client) greet(ctx context.Context) error {
	_, err := c.try(ctx, c.patience/6, func(ctx context.Context) error {
		_, _, err := c.store.list(ctx, c.prefix, "")
		return err
	})
	if err != nil {
		return c.public(ctx, request{"list", ""}, err, true)
	}
	return nil
}
