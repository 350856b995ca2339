package buckettest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// Run is the suite that every bucket passes. open returns an empty one; each case opens its own.
func Run(t *testing.T, open func(t *testing.T) bucket.Bucket) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, bucket.Bucket)
	}{
		{"Missing", missing},
		{"Create", create},
		{"Replace", replace},
		{"Delete", remove},
		{"Sizes", sizes},
		{"Keys", keys},
		{"BadKeys", badKeys},
		{"List", list},
		{"ListPages", listPages},
		{"Context", ended},
		{"Copies", copies},
		{"OneCreates", oneCreates},
		{"PutOrDelete", putOrDelete},
		{"Counter", counter},
		{"ReadAfterWrite", readAfterWrite},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// put writes, or ends the test.
func put(t *testing.T, b bucket.Bucket, key, body string, was bucket.Revision) bucket.Revision {
	t.Helper()
	now, err := b.Put(t.Context(), key, []byte(body), was)
	if err != nil {
		t.Fatalf("Put(%s, %.20q, %q): %v", key, body, was, err)
	}
	if now == "" {
		t.Fatalf("Put(%s, %.20q, %q): the new revision is empty", key, body, was)
	}
	return now
}

// holds checks an object's content and revision.
func holds(t *testing.T, b bucket.Bucket, key, body string, at bucket.Revision) {
	t.Helper()
	got, now, err := b.Get(t.Context(), key)
	if err != nil || string(got) != body || now != at {
		t.Fatalf("Get(%s) = %.40q (%d bytes), %q, %v; want %.40q (%d bytes), %q", key, got, len(got), now, err, body, len(body), at)
	}
}

// is checks that an error is another.
func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

func missing(t *testing.T, b bucket.Bucket) {
	_, _, err := b.Get(t.Context(), "none.json")
	is(t, "Get of an object that is not there", err, fs.ErrNotExist)
	if err := b.Delete(t.Context(), "none.json", ""); err != nil {
		t.Fatalf("Delete of an object that is not there: %v", err)
	}
	at := put(t, b, "gone.json", "one", "")
	if err := b.Delete(t.Context(), "gone.json", at); err != nil {
		t.Fatal(err)
	}
	_, err = b.Put(t.Context(), "gone.json", []byte("two"), at)
	is(t, "Put over a revision of an object that is gone", err, bucket.ErrChanged)
	_, _, err = b.Get(t.Context(), "gone.json")
	is(t, "Get after that", err, fs.ErrNotExist)
	if keys, err := b.List(t.Context(), ""); err != nil || len(keys) != 0 {
		t.Fatalf("List of an empty bucket = %q, %v", keys, err)
	}
	if b.String() == "" {
		t.Error("String is empty")
	}
}

func create(t *testing.T, b bucket.Bucket) {
	at := put(t, b, "lock.json", "one", "")
	holds(t, b, "lock.json", "one", at)
	_, err := b.Put(t.Context(), "lock.json", []byte("two"), "")
	is(t, "Put of an object that is there already", err, bucket.ErrChanged)
	holds(t, b, "lock.json", "one", at)
}

func replace(t *testing.T, b bucket.Bucket) {
	one := put(t, b, "lock.json", "one", "")
	two := put(t, b, "lock.json", "two", one)
	if one == two {
		t.Fatalf("two contents have one revision, %q", one)
	}
	holds(t, b, "lock.json", "two", two)
	_, err := b.Put(t.Context(), "lock.json", []byte("three"), one)
	is(t, "Put over a revision that is no more", err, bucket.ErrChanged)
	holds(t, b, "lock.json", "two", two)
	other := put(t, b, "other.json", "other", "")
	_, err = b.Put(t.Context(), "lock.json", []byte("three"), other)
	is(t, "Put over a revision of another object", err, bucket.ErrChanged)
	holds(t, b, "lock.json", "two", two)
}

func remove(t *testing.T, b bucket.Bucket) {
	one := put(t, b, "lock.json", "one", "")
	is(t, "Delete at no revision", b.Delete(t.Context(), "lock.json", ""), bucket.ErrChanged)
	holds(t, b, "lock.json", "one", one)
	two := put(t, b, "lock.json", "two", one)
	is(t, "Delete at a revision that is no more", b.Delete(t.Context(), "lock.json", one), bucket.ErrChanged)
	holds(t, b, "lock.json", "two", two)
	for range 2 {
		if err := b.Delete(t.Context(), "lock.json", two); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	_, _, err := b.Get(t.Context(), "lock.json")
	is(t, "Get of a deleted object", err, fs.ErrNotExist)
	three := put(t, b, "lock.json", "three", "")
	is(t, "Delete at a revision of the object before", b.Delete(t.Context(), "lock.json", two), bucket.ErrChanged)
	holds(t, b, "lock.json", "three", three)
}

func sizes(t *testing.T, b bucket.Bucket) {
	for _, size := range []int{0, 1, 4095, 2 << 20} {
		body := make([]byte, size)
		if _, err := rand.Read(body); err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("size-%d", size)
		at := put(t, b, key, string(body), "")
		holds(t, b, key, string(body), at)
		holds(t, b, key, "again", put(t, b, key, "again", at))
	}
}

func keys(t *testing.T, b bucket.Bucket) {
	all := []string{
		"0", "A", "a", "a.", "a..b", ".a", "...", "-", "--", "_", "a-b_c.d", "a/b", "a/b/c", "a/B", "a.b/c", "journal/0000000001.rec",
		strings.Repeat("k", 200), strings.Repeat("d/", 40) + "end", "con", "nul.txt", "index.html", "x.json.gz",
	}
	slices.Sort(all)
	at := map[string]bucket.Revision{}
	for _, key := range all {
		at[key] = put(t, b, key, "content of "+key, "")
	}
	for _, key := range all {
		holds(t, b, key, "content of "+key, at[key])
	}
	if got, err := b.List(t.Context(), ""); err != nil || !slices.Equal(got, all) {
		t.Fatalf("List = %q, %v; want %q", got, err, all)
	}
	for _, key := range all {
		if err := b.Delete(t.Context(), key, at[key]); err != nil {
			t.Fatalf("Delete(%s): %v", key, err)
		}
	}
	if got, err := b.List(t.Context(), ""); err != nil || len(got) != 0 {
		t.Fatalf("List after all was deleted = %q, %v", got, err)
	}
}

func badKeys(t *testing.T, b bucket.Bucket) {
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a b", "a\x00", "a%2Fb", "ä", "a+b", "a?b", "a#b", "a\\b", strings.Repeat("k", 513)} {
		if _, _, err := b.Get(t.Context(), key); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get(%.20q): %v, want a refusal", key, err)
		}
		if _, err := b.Put(t.Context(), key, nil, ""); err == nil || errors.Is(err, bucket.ErrChanged) {
			t.Errorf("Put(%.20q): %v, want a refusal", key, err)
		}
		if err := b.Delete(t.Context(), key, ""); err == nil {
			t.Errorf("Delete(%.20q): want a refusal", key)
		}
	}
	if _, err := b.List(t.Context(), "a b"); err == nil {
		t.Error(`List("a b"): want a refusal`)
	}
}

func list(t *testing.T, b bucket.Bucket) {
	for _, key := range []string{"b", "a/2", "ab", "a/10", "a", "a/1/x"} {
		put(t, b, key, key, "")
	}
	for prefix, want := range map[string][]string{
		"":    {"a", "a/1/x", "a/10", "a/2", "ab", "b"},
		"a":   {"a", "a/1/x", "a/10", "a/2", "ab"},
		"a/":  {"a/1/x", "a/10", "a/2"},
		"a/1": {"a/1/x", "a/10"},
		"c":   nil,
		"A":   nil,
	} {
		if got, err := b.List(t.Context(), prefix); err != nil || !slices.Equal(got, want) {
			t.Errorf("List(%q) = %q, %v; want %q", prefix, got, err, want)
		}
	}
}

// pageBorder is one more than any of the stores gives on one page.
const pageBorder = 1001

func listPages(t *testing.T, b bucket.Bucket) {
	want := make([]string, pageBorder)
	errs := make([]error, pageBorder)
	each(16, pageBorder, func(i int) {
		want[i] = fmt.Sprintf("journal/%06d", i)
		_, errs[i] = b.Put(t.Context(), want[i], nil, "")
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	got, err := b.List(t.Context(), "journal/")
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("List = %d keys, %v; want %d", len(got), err, len(want))
	}
}

// each calls f for 0…n-1, width at once.
func each(width, n int, f func(int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range width {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
}

func ended(t *testing.T, b bucket.Bucket) {
	at := put(t, b, "lock.json", "one", "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := b.Get(ctx, "lock.json")
	is(t, "Get", err, context.Canceled)
	_, err = b.Put(ctx, "lock.json", []byte("two"), at)
	is(t, "Put", err, context.Canceled)
	is(t, "Delete", b.Delete(ctx, "lock.json", at), context.Canceled)
	_, err = b.List(ctx, "")
	is(t, "List", err, context.Canceled)
	holds(t, b, "lock.json", "one", at)
}

func copies(t *testing.T, b bucket.Bucket) {
	body := []byte("one")
	at, err := b.Put(t.Context(), "lock.json", body, "")
	if err != nil {
		t.Fatal(err)
	}
	body[0] = 'X'
	got, _, err := b.Get(t.Context(), "lock.json")
	if err != nil || string(got) != "one" {
		t.Fatalf("Get = %q, %v after the writer's slice was changed", got, err)
	}
	got[0] = 'Y'
	holds(t, b, "lock.json", "one", at)
}

func oneCreates(t *testing.T, b bucket.Bucket) {
	for round := range 5 {
		key := fmt.Sprintf("lock-%d", round)
		var won atomic.Int64
		var winner atomic.Value
		each(64, 64, func(i int) {
			_, err := b.Put(t.Context(), key, []byte(strconv.Itoa(i)), "")
			switch {
			case err == nil:
				won.Add(1)
				winner.Store(strconv.Itoa(i))
			case !errors.Is(err, bucket.ErrChanged):
				t.Errorf("Put: %v", err)
			}
		})
		got, _, err := b.Get(t.Context(), key)
		if err != nil || won.Load() != 1 || string(got) != winner.Load() {
			t.Fatalf("round %d: %d of 64 made the object, the last of them %v; it holds %q, %v", round, won.Load(), winner.Load(), got, err)
		}
	}
}

func putOrDelete(t *testing.T, b bucket.Bucket) {
	for round := range 30 {
		key := fmt.Sprintf("lock-%d", round)
		at := put(t, b, key, "one", "")
		var wrote, removed error
		var both sync.WaitGroup
		both.Go(func() { _, wrote = b.Put(t.Context(), key, []byte("two"), at) })
		both.Go(func() { removed = b.Delete(t.Context(), key, at) })
		both.Wait()
		if (wrote == nil) == (removed == nil) {
			t.Fatalf("round %d: of a Put and a Delete at one revision just one must be done: Put: %v, Delete: %v", round, wrote, removed)
		}
		for _, err := range []error{wrote, removed} {
			if err != nil {
				is(t, "the one that came too late", err, bucket.ErrChanged)
			}
		}
	}
}

// counter has 64 writers compare and swap a number 1,000 times: it must end as high as many of them were told that theirs was
// done, and each number must have been written by just one.
func counter(t *testing.T, b bucket.Bucket) {
	const writers, tries = 64, 1000
	put(t, b, "counter", "0", "")
	var left atomic.Int64
	left.Store(tries)
	var mu sync.Mutex
	wrote := map[int]int{}
	each(writers, writers, func(int) {
		round := 10 * time.Millisecond
		for left.Add(-1) >= 0 {
			// With all at once nearly every try comes too late: two at a time, however fast the store is today.
			time.Sleep(mathrand.N(round * writers))
			began := time.Now()
			got, at, err := b.Get(t.Context(), "counter")
			n, bad := strconv.Atoi(string(got))
			if err != nil || bad != nil {
				t.Errorf("Get = %q, %v", got, err)
				return
			}
			switch _, err = b.Put(t.Context(), "counter", []byte(strconv.Itoa(n+1)), at); {
			case err == nil:
				mu.Lock()
				wrote[n+1]++
				mu.Unlock()
			case !errors.Is(err, bucket.ErrChanged):
				t.Errorf("Put: %v", err)
				return
			}
			round = time.Since(began) + 1
		}
	})
	got, _, err := b.Get(t.Context(), "counter")
	if err != nil || string(got) != strconv.Itoa(len(wrote)) || len(wrote) == 0 {
		t.Fatalf("the counter is %q, %v, after %d numbers were written", got, err, len(wrote))
	}
	for n, times := range wrote {
		if times != 1 {
			t.Fatalf("%d writers were told that they wrote %d: updates are lost", times, n)
		}
	}
	t.Logf("%d of %d were done, the others were told that they came too late", len(wrote), tries)
}

// readAfterWrite has each of many readers see a write that returned before they began.
func readAfterWrite(t *testing.T, b bucket.Bucket) {
	at := put(t, b, "log", "", "")
	for i := range 20 {
		body := bytes.Repeat([]byte{byte(i)}, 1000)
		at = put(t, b, "log", string(body), at)
		var stale atomic.Int64
		each(8, 8, func(int) {
			got, now, err := b.Get(t.Context(), "log")
			if err != nil || now != at || !bytes.Equal(got, body) {
				stale.Add(1)
			}
		})
		if stale.Load() > 0 {
			t.Fatalf("write %d: %d of 8 readers did not see it", i, stale.Load())
		}
		key := fmt.Sprintf("entry-%02d", i)
		put(t, b, key, "", "")
		if keys, err := b.List(t.Context(), "entry-"); err != nil || len(keys) != i+1 || !slices.Contains(keys, key) {
			t.Fatalf("List after %s was written = %q, %v", key, keys, err)
		}
	}
}
