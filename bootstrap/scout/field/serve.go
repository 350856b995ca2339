//go:build linux

package field

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The ports that a scout serves files on, and checks as a sample: node ports, which have to be open between nodes, and of
// which Kubernetes uses none before it runs.
const (
	lowPort  = 30000
	highPort = 32767
)

const (
	greet = 5 * time.Second       // that a peer gets for its request, and for taking a piece
	look  = 10 * time.Millisecond // between two looks at a file that grows
	piece = 1 << 20               // bytes that are sent at a time
	idle  = 2 * time.Minute       // that a file may stay as it is before a stream of it ends
	most  = 16                    // streams at once
)

// An offer is a file that this machine gives to others, also while it still grows.
type offer struct {
	sum  string
	size int64
	path string

	mu    sync.Mutex
	whole bool // it has got its name
	file  *os.File
	other os.FileInfo // what had the name and was another file
}

// serve gives offered files to whoever has the token: serve ADDRESS TOKEN. It answers the port.
func (s *scout) serve(r *request, args []string) (string, error) {
	ip, token := net.ParseIP(args[0]), args[1]
	var l *net.TCPListener
	err := errors.New("no address")
	for try := 0; ip != nil && l == nil && try < 50; try++ {
		var b [8]byte
		rand.Read(b[:])
		port := lowPort + int(binary.BigEndian.Uint64(b[:])%(highPort-lowPort+1))
		l, err = net.ListenTCP("tcp", &net.TCPAddr{IP: ip, Port: port})
	}
	if err != nil {
		return "", err
	}
	s.keep(l)
	slots := make(chan struct{}, most)
	go func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				slots <- struct{}{}
				defer func() { <-slots }()
				s.give(c, token)
			}()
		}
	}()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

// offer announces a file that is there or will be: offer SHA256 SIZE PATH. While it comes it is at PATH.part.
func (s *scout) offer(_ *request, args []string) (string, error) {
	size, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offers[args[0]] == nil {
		o := &offer{sum: args[0], size: size, path: args[2]}
		s.offers[args[0]] = o
		s.opened = append(s.opened, o)
	}
	return "", nil
}

// have says that an offered file has come: have SHA256. It stays on offer when its name is removed.
func (s *scout) have(_ *request, args []string) (string, error) {
	o := s.offered(args[0])
	if o == nil {
		return "", errors.New("not offered")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.whole = true
	o.open()
	return "", nil
}

func (s *scout) offered(sum string) *offer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offers[sum]
}

// Close lets go of the file.
func (o *offer) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		return nil
	}
	return o.file.Close()
}

// open opens the file as it is called now, if that is another one. The caller holds the lock.
func (o *offer) open() {
	path := o.path + ".part"
	if o.whole {
		path = o.path
	}
	f, err := os.Open(path)
	if err != nil && !o.whole {
		f, err = o.finished()
	}
	if err != nil {
		return
	}
	if same(o.file, f) {
		f.Close()
		return
	}
	if o.file != nil {
		o.file.Close()
	}
	o.file = f
}

// finished opens the file under its name, if it has come meanwhile and is not an older one.
func (o *offer) finished() (*os.File, error) {
	f, err := os.Open(o.path)
	if err != nil {
		return nil, err
	}
	i, err := f.Stat()
	known := o.other != nil && err == nil && os.SameFile(i, o.other) && i.ModTime().Equal(o.other.ModTime())
	if err == nil && !known && i.Size() == o.size {
		h := sha256.New()
		if _, err := io.Copy(h, f); err == nil && hex.EncodeToString(h.Sum(nil)) == o.sum {
			o.whole = true
			return f, nil
		}
	}
	o.other = i
	f.Close()
	return nil, os.ErrNotExist
}

func same(a, b *os.File) bool {
	if a == nil {
		return false
	}
	i, err := a.Stat()
	j, err2 := b.Stat()
	return err == nil && err2 == nil && os.SameFile(i, j)
}

// reader returns the file for reading on its own, with its size now; nil while no more than offset is there. Through
// /proc a file can be opened whose name is gone.
func (o *offer) reader(offset int64) (*os.File, int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := length(o.file)
	if n <= offset {
		o.open()
		n = length(o.file)
	}
	if n <= offset {
		return nil, n
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(o.file.Fd())))
	if err != nil {
		return nil, n
	}
	return f, min(n, o.size)
}

func length(f *os.File) int64 {
	if f == nil {
		return 0
	}
	i, err := f.Stat()
	if err != nil {
		return 0
	}
	return i.Size()
}

// give answers one peer: TOKEN SHA256 OFFSET.
func (s *scout) give(c *net.TCPConn, token string) {
	c.SetDeadline(time.Now().Add(greet))
	words := strings.Fields(readLine(c))
	if len(words) != 3 || subtle.ConstantTimeCompare([]byte(words[0]), []byte(token)) != 1 {
		return
	}
	o := s.offered(words[1])
	offset, err := strconv.ParseInt(words[2], 10, 64)
	if o == nil || err != nil || offset < 0 {
		io.WriteString(c, "not offered\n")
		return
	}
	if _, err := io.WriteString(c, "ok\n"); err == nil {
		o.stream(c, offset)
	}
}

// readLine reads byte by byte, so that nothing behind the line is taken.
func readLine(r io.Reader) string {
	var line []byte
	for b := make([]byte, 1); len(line) < 300; {
		if _, err := r.Read(b); err != nil || b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	return string(line)
}

// stream sends the file from offset on, as it grows.
func (o *offer) stream(c *net.TCPConn, offset int64) {
	grown := time.Now()
	for offset < o.size && time.Since(grown) < idle {
		f, n := o.reader(offset)
		if f == nil {
			time.Sleep(look)
			continue
		}
		grown = time.Now()
		sent, err := sendFrom(c, f, offset, n)
		f.Close()
		if offset += sent; err != nil {
			return
		}
	}
}

// sendFrom sends the bytes from one offset to another.
func sendFrom(c *net.TCPConn, f *os.File, from, to int64) (sent int64, err error) {
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return 0, err
	}
	for from+sent < to && err == nil {
		c.SetWriteDeadline(time.Now().Add(6 * greet))
		var n int64
		n, err = io.CopyN(c, f, min(piece, to-from-sent))
		sent += n
	}
	return sent, err
}
