package sshtest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"strconv"
)

// A file is a file in the memory of a machine. What is here answers as the scripts of package ssh do on a real one; the
// tests of that package run on both.
type file struct {
	content []byte
	mode    fs.FileMode
}

// File returns the content and mode of a file.
func (s *Server) File(path string) ([]byte, fs.FileMode, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[path]
	if !ok {
		return nil, 0, false
	}
	return f.content, f.mode, true
}

// SetFile makes a file be there.
func (s *Server) SetFile(path string, content []byte, mode fs.FileMode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = &file{content, mode}
}

// Remove removes a file.
func (s *Server) Remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, path)
}

func (s *Server) probe(e *Exec, args []string) int {
	for ; len(args) >= 4; args = args[4:] {
		path, want, mode := args[0], args[2], args[3]
		if b, _, ok := s.File(path); ok && sum(b) == want {
			s.SetFile(path, b, parseMode(mode))
			fmt.Fprintln(e.Stdout, "same")
			continue
		}
		part, _, _ := s.File(path + ".part")
		tail := "-"
		if len(part) > 0 {
			tail = sum(part[max(0, len(part)-1<<20):])
		}
		fmt.Fprintln(e.Stdout, "part", len(part), tail, -1, 1)
	}
	return 0
}

func (s *Server) receive(e *Exec, args []string) int {
	if len(args) != 6 {
		return 2
	}
	path, want, mode := args[0], args[2], args[3]
	size, _ := strconv.ParseInt(args[1], 10, 64)
	var part []byte
	if args[4] != "0" {
		part, _, _ = s.File(path + ".part")
	}
	got, full := s.read(e.Stdin, args[5] == "1")
	if full {
		s.Remove(path + ".part")
		fmt.Fprintln(e.Stdout, "full", 0)
		return 0
	}
	part = append(part[:len(part):len(part)], got...)
	s.SetFile(path+".part", part, 0o600)
	if int64(len(part)) < size {
		fmt.Fprintln(e.Stdout, "short", len(part))
		return 0
	}
	s.damage(part)
	s.Remove(path + ".part")
	if h := sum(part); h != want {
		fmt.Fprintln(e.Stdout, "bad", h)
		return 0
	}
	s.SetFile(path, part, parseMode(mode))
	fmt.Fprintln(e.Stdout, "ok")
	return 0
}

// read reads an upload to its end or until the disk is full.
func (s *Server) read(r io.Reader, packed bool) (got []byte, full bool) {
	if packed {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, false
		}
		r = z
	}
	var b bytes.Buffer
	limit := s.Faults().FullAfter
	if limit == 0 {
		b.ReadFrom(r)
		return b.Bytes(), false
	}
	n, _ := io.CopyN(&b, r, limit)
	return b.Bytes(), n == limit
}

// damage changes a byte of an upload if the faults say so.
func (s *Server) damage(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.Damage > 0 && len(b) > 0 {
		s.faults.Damage--
		b[len(b)/2] ^= 1
	}
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func parseMode(s string) fs.FileMode {
	m, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return 0
	}
	return fs.FileMode(m)
}
