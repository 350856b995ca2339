// Package bucket keeps a few small objects where a team keeps them: in Amazon S3, Google Cloud Storage or Azure Blob
// Storage, with conditional writes, so that two writers never overwrite one another unseen.
package bucket

import (
	"context"
	"errors"
)

// ErrChanged says that an object is not at the revision that the writer knew: somebody else has written, made or removed it.
// Nothing was written.
var ErrChanged = errors.New("the object was changed by somebody else")

// A Revision names one content of one object, as the store does (an ETag, a generation). The empty Revision is that of an
// object that is not there.
type Revision string

// A Bucket holds objects by key, below the prefix it was opened with. Its methods are safe for concurrent use. A key is a path
// of letters, digits, '-', '.', '_' and '/'. Errors wrap fs.ErrNotExist for an object (or the whole bucket: see MissingError)
// that is not there, ErrChanged, or are one of the types of this package.
type Bucket interface {
	// Get returns the object and its revision; fs.ErrNotExist if it is not there.
	Get(ctx context.Context, key string) ([]byte, Revision, error)
	// Put writes the object if it is still at the revision, atomically, and returns its new one; ErrChanged if it is not.
	// With the empty revision it makes an object that must not be there. When it returns, the object is durable and every Get
	// that begins later sees it. After another error the outcome is unknown: Get tells.
	Put(ctx context.Context, key string, b []byte, was Revision) (Revision, error)
	// Delete removes the object if it is still at the revision; ErrChanged if it is not; nil if it is not there.
	Delete(ctx context.Context, key string, was Revision) error
	// List returns the keys that begin with the prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
	// String is the URL that the bucket was opened with, without what is secret in it.
	String() string
	// Close ends its connections.
	Close() error
}
