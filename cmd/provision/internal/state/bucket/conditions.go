package bucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// checkFolder is where objects of a check lie, for the moment that it takes. List leaves them out.
const checkFolder = ".check/"

// conditions makes sure, once and before the first write, that the store obeys conditions. A store that takes If-Match and
// writes all the same would let a writer that was stopped and continued overwrite its successor, and nobody would ever know.
// The vendors' own endpoints are trusted; whoever names another one may have any program behind it.
func (c *client) conditions(ctx context.Context) error {
	select {
	case checked := <-c.checks:
		var err error
		if !checked {
			err = c.check(ctx)
			if errors.As(err, new(*UnconditionalError)) || errors.Is(err, ErrChanged) {
				err = c.check(ctx) // somebody who removed the state may have swept the object away
			}
		}
		c.checks <- err == nil
		return err
	case <-ctx.Done():
		return fmt.Errorf("check the conditions of %s: %w", c.url, context.Cause(ctx))
	}
}

// check asks, on an object of its own, for what must be refused.
func (c *client) check(ctx context.Context) (err error) {
	key := checkFolder + rand.Text()
	body := []byte("provision checks that this store refuses a write whose condition does not hold.\n")
	first, err := c.put(ctx, key, body, "")
	if err != nil {
		return err
	}
	defer func() {
		if end := c.clear(ctx, key); err == nil {
			err = end
		}
	}()
	if err := c.mustRefuse(ctx, key, "If-None-Match when writing", func(ctx context.Context) error {
		_, err := c.store.put(ctx, c.prefix+key, object{body: body})
		return err
	}); err != nil {
		return err
	}
	second := append(body, "It has two contents.\n"...)
	if _, err := c.put(ctx, key, second, first); err != nil {
		return err
	}
	if err := c.mustRefuse(ctx, key, "If-Match when writing", func(ctx context.Context) error {
		_, err := c.store.put(ctx, c.prefix+key, object{body: body, mark: mark{over: first}})
		return err
	}); err != nil {
		return err
	}
	return c.mustRefuse(ctx, key, "If-Match when deleting", func(ctx context.Context) error {
		return c.store.remove(ctx, c.prefix+key, first)
	})
}

// SweepChecks removes what checks left that were killed: Open checks, where the endpoint is not the vendor's own, whether the
// store obeys conditions, on an object of its own. It is for who removes all that there is. A check that goes on meanwhile
// begins again.
func SweepChecks(ctx context.Context, b Bucket) error {
	c, ok := b.(*client)
	if !ok {
		return nil
	}
	keys, err := c.list(ctx, checkFolder)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key, ok := strings.CutPrefix(key, c.prefix); ok {
			err = errors.Join(err, c.clear(ctx, key))
		}
	}
	return err
}

// mustRefuse calls f, which asks for a write whose condition does not hold.
func (c *client) mustRefuse(ctx context.Context, key, what string, f func(context.Context) error) error {
	_, err := c.try(ctx, c.patience, f)
	switch {
	case err == nil:
		return &UnconditionalError{URL: c.url, What: what}
	case kindOf(err) == changed:
		return nil
	}
	return c.public(ctx, request{"put", key}, err, true)
}

// clear removes the object, whatever it holds.
func (c *client) clear(ctx context.Context, key string) error {
	var o object
	_, err := c.try(ctx, c.patience, func(ctx context.Context) (err error) {
		o, err = c.store.stat(ctx, c.prefix+key)
		return err
	})
	switch {
	case err == nil:
		return c.remove(ctx, key, o.revision)
	case kindOf(err) == noObject:
		return nil
	}
	return c.public(ctx, request{"get", key}, err, true)
}
