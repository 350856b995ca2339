package state

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// A place is where a state lies: a folder, or a bucket. It gives leases out and can be read by everybody who may.
//
// One rule makes both safe: a writer changes and removes only what bears the number of its own term, or what can be changed
// only from the revision that it wrote itself. Whoever takes the lease gets a higher number, then reads, then writes all that
// it read under its own number. So what a former writer does later is seen by nobody, and it finds out before it says that
// anything is written.
type place interface {
	// String is the folder's path or the bucket's URL.
	String() string
	// lease returns the lease with the highest number, which may have ended; zero if there is none.
	lease(ctx context.Context) (found, error)
	// take makes l the lease if was is still the one with the highest number. It sets l's Fence, a higher number. The error is
	// errTaken if somebody else was quicker.
	take(ctx context.Context, was found, l *lease) (term, error)
	// read returns what is there; fs.ErrNotExist if there is nothing.
	read(ctx context.Context) (image, error)
	// secrets returns the file of that name; fs.ErrNotExist if there is none.
	secrets(ctx context.Context, file string) ([]byte, error)
	// close ends the use of the place, after that of the term.
	close() error
}

// A term is the time in which one writer has the lease. Its methods return a *FencedError when another has taken it. All but
// renew and release are called one at a time.
type term interface {
	// renew writes the lease anew.
	renew(ctx context.Context, l lease) error
	// release writes that the lease is given back.
	release(ctx context.Context, l lease) error
	// begin puts a journal of these entries in place of what was read, or of what this term wrote before, and sets h's Fence and
	// Bases. The error is errChanged if what is there is not what was read.
	begin(ctx context.Context, h *header, was image, entries []byte) error
	// append adds a line to the journal that begin has put in place.
	append(ctx context.Context, line []byte) error
	// put writes a new file of secrets and returns its name, which begins with the stem.
	put(ctx context.Context, stem string, b []byte) (file string, err error)
	// sweep removes what is of this term or an older one and which nobody reads any more, now that what begin or append wrote
	// is in place: all secrets but the named file, journals, bases. It need not succeed.
	sweep(ctx context.Context, keep string)
	// remove removes everything, the lease last. An unused journal has been put in place before.
	remove(ctx context.Context, l lease) error
	// aside puts all that is there but the lease into a folder of that name, or behind that prefix.
	aside(ctx context.Context, name string) error
	// leave is release, and removes the lease if it is all there is.
	leave(ctx context.Context, l lease) error
}

// An image is a journal as it was read.
type image struct {
	path     string // for people; empty: nothing was read
	text     []byte // header and entries, those of bases included
	revision bucket.Revision
	bases    int // how many bytes of the entries come from bases
}

// Errors that have the caller try again.
var (
	errTaken   = errors.New("the lease was taken by somebody else")
	errChanged = errors.New("the journal was changed by somebody else")
)

// at finds the place that the options name.
func (o *Options) at(ctx context.Context) (place, error) {
	switch {
	case o.Bucket != nil:
		return &shelf{o.Bucket, o.step}, nil
	case o.URL == "":
		return openFolder(o.Folder, o.ReadOnly, o.step)
	}
	u, err := o.location()
	if err != nil {
		return nil, err
	}
	if u.Scheme == "file" {
		o.Folder = filepath.FromSlash(u.Path)
		return openFolder(o.Folder, o.ReadOnly, o.step)
	}
	b, err := bucket.Open(ctx, u.String())
	if err != nil {
		return nil, bucketError(u.Redacted(), err)
	}
	return &shelf{b, o.step}, nil
}

// location is the URL with the cluster's name at the end of its path.
func (o *Options) location() (*url.URL, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme == "" {
		return nil, &URLError{Why: "it is no URL: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, azblob://CONTAINER/PREFIX or file:///FOLDER"}
	}
	if u.Scheme == "file" && (u.Host != "" || !filepath.IsAbs(u.Path) || u.RawQuery != "") {
		return nil, &URLError{Why: "a folder's URL has three slashes and a whole path: file:///srv/states"}
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/" + o.Cluster
	return u, nil
}
