package bucket

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a Bucket in memory, for tests. Make it with NewMemory.
type Memory struct {
	// Hashed makes revisions hashes of the content, as S3's are: equal contents have equal revisions. Set it before use.
	Hashed bool
	// Inject, if set before use, is asked at every call; op is "get", "put", "delete" or "list", key its key or prefix. It is
	// called by many goroutines at once.
	Inject func(op, key string) Fault

	mu      sync.Mutex
	writes  int
	objects map[string]object
}

// A Fault is what goes wrong with one call. The zero Fault is none.
type Fault struct {
	Delay  time.Duration // before all; a context that ends cuts it short, and then nothing was done
	Before error         // returned instead of doing anything
	After  error         // returned after it was done: the lost reply. Put and Delete wrap it in an UnknownError
}

// object is what a store keeps below a key.
type object struct {
	body     []byte
	revision Revision
	mark     mark
}

// NewMemory returns an empty Memory with no faults. Every call returns one of its own; so does Open with mem://.
func NewMemory() *Memory { return &Memory{objects: map[string]object{}} }

// Get implements Bucket.
func (m *Memory) Get(ctx context.Context, key string) ([]byte, Revision, error) {
	var o object
	err := m.do(ctx, "get", key, func() error {
		var ok bool
		if o, ok = m.objects[key]; !ok {
			return fmt.Errorf("get %s: %w", key, fs.ErrNotExist)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return slices.Clone(o.body), o.revision, nil
}

// Put implements Bucket.
func (m *Memory) Put(ctx context.Context, key string, b []byte, was Revision) (Revision, error) {
	var revision Revision
	err := m.do(ctx, "put", key, func() error {
		if m.objects[key].revision != was {
			return fmt.Errorf("put %s: %w", key, ErrChanged)
		}
		m.writes++
		revision = Revision(fmt.Sprint(m.writes))
		if m.Hashed {
			revision = Revision(fmt.Sprintf("%x", sha256.Sum256(b)))
		}
		m.objects[key] = object{body: slices.Clone(b), revision: revision}
		return nil
	})
	if err != nil {
		return "", err
	}
	return revision, nil
}

// Delete implements Bucket.
func (m *Memory) Delete(ctx context.Context, key string, was Revision) error {
	return m.do(ctx, "delete", key, func() error {
		o, ok := m.objects[key]
		if ok && o.revision != was {
			return fmt.Errorf("delete %s: %w", key, ErrChanged)
		}
		delete(m.objects, key)
		return nil
	})
}

// List implements Bucket.
func (m *Memory) List(ctx context.Context, prefix string) ([]string, error) {
	var keys []string
	err := m.do(ctx, "list", prefix, func() error {
		for key := range m.objects {
			if strings.HasPrefix(key, prefix) {
				keys = append(keys, key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(keys)
	return keys, nil
}

// String implements Bucket.
func (m *Memory) String() string { return "mem://" }

// Close implements Bucket; the objects stay.
func (m *Memory) Close() error { return nil }

// do calls f with the lock held, and what Inject says before and after it.
func (m *Memory) do(ctx context.Context, op, key string, f func() error) error {
	check := checkKey
	if op == "list" {
		check = checkPrefix
	}
	if err := check(key); err != nil {
		return err
	}
	var fault Fault
	if m.Inject != nil {
		fault = m.Inject(op, key)
	}
	if err := pause(ctx, fault.Delay); err != nil {
		return fmt.Errorf("%s %s: %w", op, key, err)
	}
	if fault.Before != nil {
		return fmt.Errorf("%s %s: %w", op, key, fault.Before)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := f(); err != nil {
		return err
	}
	if fault.After != nil && (op == "put" || op == "delete") {
		return &UnknownError{URL: m.String(), Op: op, Key: key, Err: fault.After}
	}
	return fault.After
}

// pause waits, or until the context ends, and returns its error.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
