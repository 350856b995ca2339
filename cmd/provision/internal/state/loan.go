package state

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// A loan is the term of a bucket's writer.
type loan struct {
	shelf  *shelf
	number uint64
	nonce  string

	mu     sync.Mutex
	leased bucket.Revision // of the lease

	header   header
	revision bucket.Revision // of the journal
	begun    bool
	entries  []byte // of the journal alone
	broken   error
}

// fenced tells who has the lease now.
func (t *loan) fenced(ctx context.Context) error {
	f, err := t.shelf.lease(ctx)
	switch {
	case err != nil:
		return &FencedError{Place: t.shelf.String()}
	case f.text == "", f.lease.Nonce == t.nonce:
		return fmt.Errorf("the objects in %s were removed while they were in use: %w", t.shelf, fs.ErrNotExist)
	}
	return &FencedError{Place: t.shelf.String(), Holder: f.lease.Holder}
}

// renew implements term.
func (t *loan) renew(ctx context.Context, l lease) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.Fence = t.number
	revision, err := t.shelf.put(ctx, "lease", l.text(), t.leased)
	if errors.Is(err, bucket.ErrChanged) {
		return t.fenced(ctx)
	} else if err == nil {
		t.leased = revision
	}
	return err
}

// release implements term.
func (t *loan) release(ctx context.Context, l lease) error {
	l.Released = true
	return t.renew(ctx, l)
}

// begin implements term. A journal that was made, not changed, has fenced nobody off: so it is looked whether the lease is
// still ours.
func (t *loan) begin(ctx context.Context, h *header, was image, entries []byte) error {
	if !t.begun {
		t.revision = was.revision
	}
	if was.bases == 0 {
		h.Bases = nil
	}
	h.Fence = t.number
	made := t.revision == ""
	if err := t.write(ctx, *h, entries[was.bases:]); err != nil {
		if errors.Is(err, errChanged) && was.path == "" { // it was not read just now: there is no reading it again
			err = t.fenced(ctx)
			t.broken = err
		}
		return err
	}
	*h = t.header
	if made {
		f, err := t.shelf.lease(ctx)
		if err == nil && f.lease.Nonce != t.nonce {
			err = errors.Join(t.fenced(ctx), t.shelf.bucket.Delete(ctx, "journal", t.revision))
		}
		if err != nil {
			t.broken = err
			return err
		}
	}
	return nil
}

// append implements term.
func (t *loan) append(ctx context.Context, line []byte) error {
	return t.write(ctx, t.header, slices.Concat(t.entries, line))
}

// write writes the journal anew, and moves entries to a base if they are too many.
func (t *loan) write(ctx context.Context, h header, entries []byte) error {
	if t.broken != nil {
		return t.broken
	}
	if len(entries) > journalLimit {
		base := base{Key: fmt.Sprintf("base.%d.%s", t.number, rand.Text()), SHA256: digest(entries)}
		if _, err := t.shelf.put(ctx, base.Key, entries, ""); err != nil {
			return err
		}
		h.Bases, entries = append(slices.Clip(h.Bases), base), nil
	}
	text, err := encodeHeader(h)
	if err != nil {
		return err
	}
	revision, err := t.shelf.put(ctx, "journal", append(text, entries...), t.revision)
	var unknown *bucket.UnknownError
	switch {
	case errors.Is(err, bucket.ErrChanged) && !t.begun:
		return errChanged
	case errors.Is(err, bucket.ErrChanged):
		t.broken = t.fenced(ctx)
		return t.broken
	case errors.As(err, &unknown), errors.Is(err, context.DeadlineExceeded):
		t.broken = err // nobody knows what is there now
		return err
	case err != nil:
		return err
	}
	t.header, t.entries, t.revision, t.begun = h, entries, revision, true
	return nil
}

// put implements term.
func (t *loan) put(ctx context.Context, stem string, b []byte) (string, error) {
	if t.broken != nil {
		return "", t.broken
	}
	key := fmt.Sprintf("secrets.%d.%s.%s.age", t.number, stem, rand.Text())
	_, err := t.shelf.put(ctx, key, b, "")
	return key, err
}

// sweep implements term.
func (t *loan) sweep(ctx context.Context, keep string) {
	for _, prefix := range []string{"secrets.", "base."} {
		keys, err := t.shelf.bucket.List(ctx, prefix)
		if err != nil {
			return
		}
		for _, key := range keys {
			digits, _, _ := strings.Cut(strings.TrimPrefix(key, prefix), ".")
			n, err := strconv.ParseUint(digits, 10, 64)
			named := key == keep || slices.ContainsFunc(t.header.Bases, func(b base) bool { return b.Key == key })
			if err != nil || n > t.number || named {
				continue
			}
			if _, revision, err := t.shelf.bucket.Get(ctx, key); err == nil {
				t.shelf.step.done()
				t.shelf.bucket.Delete(ctx, key, revision)
			}
		}
	}
}

// remove implements term.
func (t *loan) remove(ctx context.Context, l lease) error {
	t.shelf.step.done()
	err := t.shelf.bucket.Delete(ctx, "journal", t.revision)
	if errors.Is(err, bucket.ErrChanged) {
		return t.fenced(ctx)
	} else if err != nil {
		return bucketError(t.shelf.String(), err)
	}
	return t.leave(ctx, l)
}

// aside implements term. All is there twice before it is gone where it was, the journal first: that fences a former writer.
func (t *loan) aside(ctx context.Context, name string) error {
	b := t.shelf.bucket
	keys, err := b.List(ctx, "")
	if err != nil {
		return bucketError(t.shelf.String(), err)
	}
	at := map[string]bucket.Revision{}
	for _, key := range keys {
		if key == "lease" || strings.HasPrefix(key, asidePrefix) {
			continue
		}
		text, revision, err := t.shelf.get(ctx, key)
		if err == nil {
			_, err = t.shelf.put(ctx, name+"/"+key, text, "")
		}
		if err != nil {
			return err
		}
		at[key] = revision
	}
	first := func(key string) bool { return key == "journal" }
	for _, key := range append(slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return !first(key) }), slices.DeleteFunc(keys, first)...) {
		revision, ok := at[key]
		if !ok {
			continue
		}
		if err := b.Delete(ctx, key, revision); errors.Is(err, bucket.ErrChanged) {
			return t.fenced(ctx)
		} else if err != nil {
			return bucketError(t.shelf.String(), err)
		}
	}
	return nil
}

// leave implements term.
func (t *loan) leave(ctx context.Context, l lease) error {
	if _, _, err := t.shelf.get(ctx, "journal"); !errors.Is(err, fs.ErrNotExist) {
		return t.release(ctx, l)
	}
	if err := bucket.SweepChecks(ctx, t.shelf.bucket); err != nil {
		return bucketError(t.shelf.String(), err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.shelf.bucket.Delete(ctx, "lease", t.leased)
	if errors.Is(err, bucket.ErrChanged) {
		return nil // the next one is at work
	}
	return bucketError(t.shelf.String(), err)
}
