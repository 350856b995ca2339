// Package bucket keeps a few small objects where a team keeps them: in Amazon S3, Google Cloud Storage or Azure Blob
// Storage, with conditional writes, so that two writers never overwrite one another unseen.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrChanged says that an object is not at the revision that the writer knew: somebody else has written, made or removed it.
// Nothing was written.
var ErrChanged = errors.New("the object was changed by somebody else")

// A Revision names one content of one object, as the store does (an ETag, a generation). The empty Revision is that of an
// object that is not there. Where it is a hash of the content, as in S3, two equal contents of one object have the same
// revision: whoever must tell them apart, as a fence must, puts a number into the content that never comes again.
type Revision string

// A Bucket holds objects by key, below the prefix it was opened with. Its methods are safe for concurrent use. A key is a path
// of letters, digits, '-', '.', '_' and '/', with no part that is empty, "." or "..". Errors wrap fs.ErrNotExist for an object
// that is not there, ErrChanged, the context's error, or are one of the types of this package.
type Bucket interface {
	// Get returns the object and its revision; fs.ErrNotExist if it is not there.
	Get(ctx context.Context, key string) ([]byte, Revision, error)
	// Put writes the object if it is still at the revision, atomically, and returns its new one; ErrChanged if it is not.
	// With the empty revision it makes an object that must not be there. When it returns, the object is durable and every Get
	// that begins later sees it. After an UnknownError the outcome is not known: Get tells. After every other error nothing was
	// written.
	Put(ctx context.Context, key string, b []byte, was Revision) (Revision, error)
	// Delete removes the object if it is still at the revision; ErrChanged if it is not; nil if it is not there. After an
	// UnknownError the outcome is not known.
	Delete(ctx context.Context, key string, was Revision) error
	// List returns the keys that begin with the prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
	// String is the URL that the bucket was opened with. Open refuses URLs with anything secret in them.
	String() string
	// Close ends its connections.
	Close() error
}

// checkKey refuses a key that not every store would keep as it is.
func checkKey(key string) error {
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("key %q: a part of it is empty, \".\" or \"..\"", key)
		}
	}
	return checkPrefix(key)
}

// checkPrefix refuses the beginning of a key that no key has.
func checkPrefix(prefix string) error {
	for _, r := range prefix {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && !strings.ContainsRune("-._/", r) {
			return fmt.Errorf("key %q: %q is not a letter, digit, '-', '.', '_' or '/'", prefix, r)
		}
	}
	if len(prefix) > 512 {
		return fmt.Errorf("key %.32q…: longer than 512 bytes", prefix)
	}
	return nil
}
