package ssh

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// A Source is the content of a file to put. It may be shared by any number of uploads: each opens the local file for
// itself, and checksum and compressed form are made once. The local file must not change meanwhile.
type Source struct {
	path    string // local; empty if content is in memory
	content []byte
	size    int64

	sum    func() (string, error)
	packed func() ([]byte, error)
}

// FromFile returns the content of a local file. Nothing but its size is read before it is needed.
func FromFile(path string) (*Source, error) {
	i, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !i.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return newSource(&Source{path: path, size: i.Size()}), nil
}

// FromBytes returns content that is in memory. It must not be changed afterwards.
func FromBytes(b []byte) *Source { return newSource(&Source{content: b, size: int64(len(b))}) }

func newSource(s *Source) *Source {
	s.sum = sync.OnceValues(s.hash)
	s.packed = sync.OnceValues(s.pack)
	return s
}

// Size returns the number of bytes.
func (s *Source) Size() int64 { return s.size }

// Sum returns the SHA-256 of the content in hex. The first call reads it.
func (s *Source) Sum() (string, error) { return s.sum() }

func (s *Source) hash() (string, error) {
	r, err := s.open(0)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(h, io.LimitReader(r, s.size), make([]byte, chunk)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// open returns the content from offset on.
func (s *Source) open(offset int64) (io.ReadCloser, error) {
	if s.path == "" {
		return io.NopCloser(bytes.NewReader(s.content[offset:])), nil
	}
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// hashTail returns the SHA-256 of the last n bytes before end.
func (s *Source) hashTail(end, n int64) (string, error) {
	r, err := s.open(end - n)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.CopyN(h, r, n); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// worthPacking says whether the content gets smaller by compression and small enough in memory.
func (s *Source) worthPacking() bool {
	return s.size >= 64<<10 && s.size <= 64<<20 && !strings.HasSuffix(s.path, ".zst") && !strings.HasSuffix(s.path, ".gz")
}

// pack returns the whole content in gzip's format.
func (s *Source) pack() ([]byte, error) {
	r, err := s.open(0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	err = packTo(&b, r)
	return b.Bytes(), err
}

func packTo(w io.Writer, r io.Reader) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, r); err != nil {
		return err
	}
	return z.Close()
}
