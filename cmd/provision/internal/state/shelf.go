package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// A shelf is a place in a bucket. Its objects:
//
//	lease              who has the current term, who had the last one
//	journal            header and latest entries, below 256 KiB
//	base.N.S.R         earlier entries, as of write S of term N; never changed
//	secrets.N.S.R.age  the secrets as of write S of term N; never changed
//
// Every write of the state is a write of the journal from the revision that the writer knows: it names all the other objects.
// Whoever takes the lease writes the journal, with a higher number and nothing else new, before anything else. So the writes
// of a former writer do not find the revision that they know.
type shelf struct {
	bucket bucket.Bucket
	step   step
}

// journalLimit is how large a journal becomes in a bucket before its entries are moved to a base, since every append writes
// all of it.
const journalLimit = 256 << 10

func (b *shelf) String() string { return b.bucket.String() }

func (b *shelf) close() error { return b.bucket.Close() }

// get reads an object.
func (b *shelf) get(ctx context.Context, key string) ([]byte, bucket.Revision, error) {
	text, revision, err := b.bucket.Get(ctx, key)
	return text, revision, bucketError(b.String(), err)
}

// lease implements place.
func (b *shelf) lease(ctx context.Context) (found, error) {
	text, revision, err := b.get(ctx, "lease")
	if errors.Is(err, fs.ErrNotExist) {
		return found{}, nil
	} else if err != nil {
		return found{}, err
	}
	l := parseLease(text)
	if l.Nonce == "" {
		return found{}, &CorruptError{Path: b.String() + " (lease)", Err: errors.New("it is no lease")}
	}
	return found{lease: l, text: string(text), revision: revision}, nil
}

// take implements place. Without a lease, its number follows the journal's.
func (b *shelf) take(ctx context.Context, was found, l *lease) (term, error) {
	l.Fence = was.lease.Fence + 1
	if was.text == "" {
		text, _, err := b.get(ctx, "journal")
		if err == nil {
			if p, err := parseHeader(text); err == nil {
				l.Fence = p.header.Fence + 1
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	text := l.text()
	revision, err := b.put(ctx, "lease", text, was.revision)
	if errors.Is(err, bucket.ErrChanged) {
		return nil, errTaken
	} else if err != nil {
		return nil, err
	}
	return &loan{shelf: b, number: l.Fence, nonce: l.Nonce, leased: revision}, nil
}

// put writes an object. What became of a write whose outcome is not known it finds out by looking, and it writes again what
// was not written: an earlier try that comes late does not find the revision any more, or has written the same.
func (b *shelf) put(ctx context.Context, key string, text []byte, was bucket.Revision) (bucket.Revision, error) {
	for {
		b.step.done()
		revision, err := b.bucket.Put(ctx, key, text, was)
		b.step.done()
		var unknown *bucket.UnknownError
		if errors.Is(err, bucket.ErrChanged) || errors.As(err, &unknown) {
			now, at, other := b.bucket.Get(ctx, key)
			switch {
			case other == nil && bytes.Equal(now, text):
				return at, nil
			case other == nil && at != was, errors.Is(other, fs.ErrNotExist) && was != "":
				return "", bucket.ErrChanged
			case unknown != nil && (other == nil || errors.Is(other, fs.ErrNotExist)) && ctx.Err() == nil:
				continue
			}
		}
		return revision, bucketError(b.String(), err)
	}
}

// read implements place. Bases go when a writer puts new ones in their place: then the journal is read again.
func (b *shelf) read(ctx context.Context) (image, error) {
	for try := 0; ; try++ {
		i, err := b.readOnce(ctx)
		if err == nil || !errors.Is(err, errChanged) || try > 10 {
			return i, err
		}
	}
}

func (b *shelf) readOnce(ctx context.Context) (image, error) {
	text, revision, err := b.get(ctx, "journal")
	if errors.Is(err, fs.ErrNotExist) {
		return image{path: b.String() + "/journal"}, b.empty(ctx)
	} else if err != nil {
		return image{}, err
	}
	i := image{path: b.String() + "/journal", text: text, revision: revision}
	p, err := parseHeader(text)
	if err != nil || len(p.header.Bases) == 0 {
		return i, nil // the caller parses it, too
	}
	parts := make([][]byte, len(p.header.Bases))
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for n, base := range p.header.Bases {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			parts[n], _, errs[n] = b.get(ctx, base.Key)
			if errs[n] == nil && digest(parts[n]) != base.SHA256 {
				errs[n] = &CorruptError{Path: b.String() + " (" + base.Key + ")", Err: errors.New("it is not what was written")}
			}
		})
	}
	wg.Wait()
	for n, err := range errs {
		if errors.Is(err, fs.ErrNotExist) {
			if _, now, err := b.get(ctx, "journal"); err == nil && now == revision {
				return image{}, &CorruptError{Path: b.String(), Err: fmt.Errorf("the object %s is missing", p.header.Bases[n].Key)}
			}
			return image{}, errChanged
		} else if err != nil {
			return image{}, err
		}
		i.bases += len(parts[n])
	}
	i.text = slices.Concat(append(append([][]byte{text[:p.first]}, parts...), text[p.first:])...)
	return i, nil
}

// empty says whether the bucket can become a state's.
func (b *shelf) empty(ctx context.Context) error {
	for _, prefix := range []string{"secrets.", "base."} {
		keys, err := b.bucket.List(ctx, prefix)
		if err != nil {
			return bucketError(b.String(), err)
		}
		if len(keys) > 0 {
			return &CorruptError{Path: b.String(), Err: fmt.Errorf("it holds %s and no journal", keys[0])}
		}
	}
	return fs.ErrNotExist
}

// secrets implements place.
func (b *shelf) secrets(ctx context.Context, file string) ([]byte, error) {
	text, _, err := b.get(ctx, file)
	return text, err
}

func digest(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
