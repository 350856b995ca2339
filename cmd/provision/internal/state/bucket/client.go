package bucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A store is one vendor's interface. Each method is one try of one request (get may be two) and returns a *failure. Keys are
// whole: with the bucket's prefix.
type store interface {
	// get returns the object with its revision; its mark only where that costs no request more.
	get(ctx context.Context, key string) (object, error)
	// stat returns the object's revision and mark.
	stat(ctx context.Context, key string) (object, error)
	// put writes o's body and mark if the object is at the revision that the mark names, and returns the new one.
	put(ctx context.Context, key string, o object) (Revision, error)
	// remove removes the object if it is at the revision.
	remove(ctx context.Context, key string, was Revision) error
	// list returns one page of keys, and what to ask for the next one with; empty at the end.
	list(ctx context.Context, prefix, page string) (keys []string, next string, err error)
	// permission is what a caller of the method needs, in the vendor's words; of "" it is where credentials come from.
	permission(op string) string
	// close ends connections.
	close()
}

// client is a Bucket on a store: it tries again, and finds out what became of writes whose answers were lost.
type client struct {
	store    store
	url      string
	prefix   string // ends with '/' unless empty
	attempt  time.Duration
	patience time.Duration
	checks   chan bool // holds one value: whether the store's conditions need no check, or were checked
}

// A request is what the caller asked for.
type request struct{ op, key string }

// String is the request in words.
func (r request) String() string { return strings.TrimSpace(r.op + " " + r.key) }

// String implements Bucket.
func (c *client) String() string { return c.url }

// Close implements Bucket.
func (c *client) Close() error { c.store.close(); return nil }

// Get implements Bucket.
func (c *client) Get(ctx context.Context, key string) ([]byte, Revision, error) {
	if err := checkKey(key); err != nil {
		return nil, "", err
	}
	var o object
	r := request{"get", key}
	_, err := c.try(ctx, c.patience, func(ctx context.Context) (err error) {
		o, err = c.store.get(ctx, c.prefix+key)
		return err
	})
	if err != nil {
		return nil, "", c.public(ctx, r, err, true)
	}
	return o.body, o.revision, nil
}

// Put implements Bucket.
func (c *client) Put(ctx context.Context, key string, b []byte, was Revision) (Revision, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	if err := c.conditions(ctx); err != nil {
		return "", err
	}
	return c.put(ctx, key, b, was)
}

// put is Put on a store whose conditions are known to hold.
func (c *client) put(ctx context.Context, key string, b []byte, was Revision) (Revision, error) {
	o := object{body: b, mark: mark{write: rand.Text(), over: was}}
	unsure := false // an earlier try may have written
	sure, err := c.try(ctx, c.patience, func(ctx context.Context) (err error) {
		o.revision, err = c.store.put(ctx, c.prefix+key, o)
		switch kindOf(err) {
		case changed, noObject:
			o.revision, err = c.settle(ctx, key, o.mark, unsure)
		case busy:
			unsure = unsure || err != nil
		}
		return err
	})
	if err != nil {
		return "", c.public(ctx, request{"put", key}, err, sure)
	}
	return o.revision, nil
}

// errOvertaken says that a write may have been done and, if it was, was undone or written over since.
var errOvertaken = errors.New("the answer to a try was lost, and since then somebody else wrote")

// settle tells what became of a write that met a condition that does not hold: an earlier try of the same write, whose answer
// was lost to us or to something between, may be why. Each object bears the mark of the write that made it.
func (c *client) settle(ctx context.Context, key string, m mark, unsure bool) (Revision, error) {
	now, err := c.store.stat(ctx, c.prefix+key)
	gone := kindOf(err) == noObject && err != nil
	switch {
	case err != nil && !gone:
		return "", err
	case !gone && now.mark.write == m.write:
		return now.revision, nil
	case !unsure || !gone && now.mark.over == m.over && now.mark.write != "":
		// Only one write ever replaces a revision, and that one was not ours.
		return "", &failure{kind: changed, err: ErrChanged}
	}
	return "", &failure{kind: lost, err: errOvertaken}
}

// Delete implements Bucket.
func (c *client) Delete(ctx context.Context, key string, was Revision) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := c.conditions(ctx); err != nil {
		return err
	}
	return c.remove(ctx, key, was)
}

// remove is Delete on a store whose conditions are known to hold.
func (c *client) remove(ctx context.Context, key string, was Revision) error {
	if was == "" { // no object is at that revision
		_, _, err := c.Get(ctx, key)
		switch {
		case err == nil:
			return fmt.Errorf("delete %s in %s: %w", key, c.url, ErrChanged)
		case errors.Is(err, fs.ErrNotExist):
			return nil
		}
		return err
	}
	sure, err := c.try(ctx, c.patience, func(ctx context.Context) error {
		err := c.store.remove(ctx, c.prefix+key, was)
		if err != nil && kindOf(err) == changed {
			// Some stores say so of an object that is not there, too.
			if _, now := c.store.stat(ctx, c.prefix+key); now != nil {
				err = now
			}
		}
		if err != nil && kindOf(err) == noObject {
			return nil
		}
		return err
	})
	if err != nil {
		return c.public(ctx, request{"delete", key}, err, sure)
	}
	return nil
}

// List implements Bucket.
func (c *client) List(ctx context.Context, prefix string) ([]string, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	all, err := c.list(ctx, prefix)
	if err != nil {
		return nil, err
	}
	return c.own(all), nil
}

// list returns all keys that begin with the prefix, as the store has them.
func (c *client) list(ctx context.Context, prefix string) ([]string, error) {
	var all []string
	for page, seen := "", map[string]bool{}; ; {
		var keys []string
		var next string
		_, err := c.try(ctx, c.patience, func(ctx context.Context) (err error) {
			keys, next, err = c.store.list(ctx, c.prefix+prefix, page)
			return err
		})
		if err != nil {
			return nil, c.public(ctx, request{"list", prefix}, err, true)
		}
		all = append(all, keys...)
		if next == "" {
			break
		}
		if seen[next] {
			return nil, fmt.Errorf("list %s in %s: the store names the same page twice", prefix, c.url)
		}
		seen[next], page = true, next
	}
	return all, nil
}

// own makes keys relative to the prefix, sorted; those of our checks and those that no Put made are left out.
func (c *client) own(keys []string) []string {
	own := []string{}
	for _, key := range keys {
		key, ok := strings.CutPrefix(key, c.prefix)
		if ok && !strings.HasPrefix(key, checkFolder) && checkKey(key) == nil {
			own = append(own, key)
		}
	}
	slices.Sort(own)
	return slices.Compact(own)
}

// try calls f, each time with a deadline of its own, until it succeeds, fails for good or patience is at an end. When it returns
// an error, sure tells that nothing that f asked for can have been done.
func (c *client) try(ctx context.Context, patience time.Duration, f func(context.Context) error) (sure bool, err error) {
	sure = true
	end := time.Now().Add(patience)
	err = &failure{kind: unheard, err: ctx.Err()}
	for n := 0; ctx.Err() == nil; n++ {
		if err = c.once(ctx, f); err == nil {
			return true, nil
		}
		k := kindOf(err)
		sure = sure && k != busy && k != lost
		if k != busy && k != unheard {
			return sure, err
		}
		wait := backoff(n)
		if f, ok := errors.AsType[*failure](err); ok {
			wait = max(wait, f.after)
		}
		if time.Now().Add(wait).After(end) || pause(ctx, wait) != nil {
			return sure, err
		}
	}
	return sure, err
}

// once calls f with the deadline of one try. That it passed is not told as the end of the caller's own context.
func (c *client) once(ctx context.Context, f func(context.Context) error) error {
	attempt, cancel := context.WithTimeout(ctx, c.attempt)
	defer cancel()
	err := f(attempt)
	if k := kindOf(err); err != nil && (k == busy || k == unheard) && attempt.Err() != nil && ctx.Err() == nil {
		return &failure{kind: k, err: fmt.Errorf("no answer within %v", c.attempt)}
	}
	return err
}

// backoff is how long to wait after the n-th failed try: about 0.1 s, and twice as long each time, up to 5 s.
func backoff(n int) time.Duration {
	d := math.Min(float64(5*time.Second), float64(100*time.Millisecond)*math.Exp2(float64(n)))
	return time.Duration(d/2 + mathrand.Float64()*d/2)
}
