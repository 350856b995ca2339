package bundle

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	maxManifest = 4 << 20   // a manifest of today has 6 kB
	maxWindow   = 128 << 20 // what a decoder may be asked to keep in memory
	readBuffer  = 1 << 20
)

// A reader reads a bundle from its start to its end, once.
type reader struct {
	in    *counter // the bundle as it is stored
	zstd  *zstd.Decoder
	plain *counter // the bundle decompressed
	tar   *tar.Reader
	entry string // being read
}

// newReader starts to decompress in with so many goroutines; 0 means one per processor.
func newReader(in io.Reader, goroutines int) (*reader, error) {
	r := &reader{in: &counter{r: in}}
	z, err := zstd.NewReader(bufio.NewReaderSize(r.in, readBuffer),
		zstd.WithDecoderConcurrency(goroutines), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow*2))
	if err != nil {
		return nil, r.damage(err)
	}
	r.zstd = z
	r.plain = &counter{r: z}
	r.tar = tar.NewReader(r.plain)
	return r, nil
}

// Close ends the decoder's goroutines. It does not close what is read from.
func (r *reader) Close() { r.zstd.Close() }

// manifest reads the first entry.
func (r *reader) manifest() (*Manifest, error) {
	h, err := r.tar.Next()
	if err != nil {
		return nil, r.damage(err)
	}
	if h.Name != ManifestName || h.Size > maxManifest {
		return nil, r.damage(fmt.Errorf("first entry is %q with %d bytes, not a manifest", h.Name, h.Size))
	}
	r.entry = ManifestName
	data, err := io.ReadAll(r.tar)
	if err != nil {
		return nil, r.damage(err)
	}
	m, err := Parse(data)
	if err != nil {
		return nil, r.damage(err)
	}
	return m, nil
}

// files calls visit for every file after the manifest. What visit reads is checked as it is read: it must read to the
// end, and gets a DamageError instead of io.EOF if size or checksum differ.
func (r *reader) files(ctx context.Context, m *Manifest, visit func(File, io.Reader) error) error {
	for _, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := r.tar.Next()
		r.entry = f.Path
		switch {
		case err != nil:
			return r.damage(err)
		case h.Name != f.Path || h.Size != f.Size || h.Typeflag != tar.TypeReg:
			return r.damage(fmt.Errorf("found %q with %d bytes, manifest says %q with %d", h.Name, h.Size, f.Path, f.Size))
		}
		body := &checked{r: r, f: f, sum: sha256.New(), ctx: ctx}
		if err := visit(f, body); err != nil {
			return err
		}
	}
	return r.end()
}

// end checks that the archive has its trailer and nothing after it. Package tar takes a missing trailer for an end.
func (r *reader) end() error {
	before := r.plain.count()
	_, err := r.tar.Next()
	switch {
	case err == nil:
		return r.damage(errors.New("more entries than the manifest names"))
	case err != io.EOF:
		return r.damage(err)
	case r.plain.count()-before < 1024:
		return r.damage(io.ErrUnexpectedEOF)
	}
	n, err := io.Copy(io.Discard, r.plain)
	if err == nil && n > 0 {
		err = errors.New("data after the end of the archive")
	}
	if err != nil {
		return r.damage(err)
	}
	return nil
}

// damage wraps an error of reading with the place. Errors of the underlying reader itself, such as a connection that
// broke, stay what they are.
func (r *reader) damage(err error) error {
	if failed := r.in.failure(); failed != nil && errors.Is(err, failed) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("read bundle: %w", err)
	}
	kind := ErrCorrupt
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		if r.in.ended() {
			kind = ErrTruncated
		}
		err = nil // the decoder says this also of a block in whose middle its data ends
	}
	return &DamageError{Kind: kind, Entry: r.entry, Offset: r.in.count(), Err: err}
}

// checked reads one file and compares its checksum at the end.
type checked struct {
	r   *reader
	f   File
	sum hash.Hash
	ctx context.Context
}

// Read implements io.Reader.
func (c *checked) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.tar.Read(p)
	c.sum.Write(p[:n])
	switch {
	case err == io.EOF:
		if got := hex.EncodeToString(c.sum.Sum(nil)); got != c.f.SHA256 {
			return n, c.r.damage(fmt.Errorf("checksum is %s, manifest says %s", got, c.f.SHA256))
		}
	case err != nil:
		return n, c.r.damage(err)
	}
	return n, err
}

// counter counts what is read through it and keeps the first error that is not an end. The decoder reads in a goroutine
// of its own.
type counter struct {
	r io.Reader

	mu  sync.Mutex
	n   int64
	err error
	end bool
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += int64(n)
	c.end = c.end || err == io.EOF
	if err != nil && err != io.EOF && c.err == nil {
		c.err = err
	}
	return n, err
}

func (c *counter) count() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// ended says that the end was reached.
func (c *counter) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

func (c *counter) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
