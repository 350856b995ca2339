package ssh

import (
	"bytes"
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// The scripts that run on the machine. Their arguments and answers are described in them.
var (
	//go:embed probe.sh
	probeScript string
	//go:embed receive.sh
	receiveScript string
)

const (
	tailSize = 1 << 20              // bytes at the end of a partial upload that are compared
	maxTries = 5                    // of an upload of which nothing new arrives
	farAway  = 5 * time.Millisecond // round trip above which compressing takes less time than it saves
)

// Put makes files be there.
func (h *host) Put(ctx context.Context, files ...File) error {
	there, err := h.probe(ctx, files)
	if err != nil {
		return err
	}
	for i, f := range files {
		if err := h.put(ctx, f, there[i]); err != nil {
			return err
		}
	}
	return nil
}

// put sends one file, and the rest of it after each break of the connection.
func (h *host) put(ctx context.Context, f File, at remains) error {
	damaged := false
	for try := 1; !at.same; try++ {
		err := h.send(ctx, f, at)
		if err == nil {
			return nil
		}
		var lost *LostError
		var bad *MismatchError
		switch {
		case ctx.Err() != nil:
			return err
		case errors.As(err, &bad) && !damaged:
			damaged = true
		case !errors.As(err, &lost) || try >= maxTries:
			return err
		}
		there, perr := h.probe(ctx, []File{f})
		if perr != nil {
			return perr
		}
		if there[0].size > at.size {
			try = 0
		}
		at = there[0]
	}
	if f.Progress != nil {
		f.Progress(f.Source.size, f.Source.size)
	}
	return nil
}

// remains are what a machine has of a file.
type remains struct {
	same bool   // all of it
	size int64  // bytes that arrived earlier
	tail string // SHA-256 of the last of them
	free int64  // KiB on the disk, -1 if not known
	gzip int    // 1 if the machine can unpack
}

// probe asks for the remains of files.
func (h *host) probe(ctx context.Context, files []File) ([]remains, error) {
	args := []string{"sh", "-c", probeScript, "provision-probe"}
	for _, f := range files {
		sum, err := f.Source.Sum()
		if err != nil {
			return nil, err
		}
		args = append(args, f.Path, fmt.Sprint(f.Source.size), sum, fmt.Sprintf("%04o", f.Mode.Perm()))
	}
	c := Command{Line: Quote(args...)}
	res, err := h.Run(ctx, c)
	if lost := new(LostError); errors.As(err, &lost) {
		res, err = h.Run(ctx, c)
	}
	if err != nil {
		return nil, rename(err, "look for "+files[0].Path)
	}
	return parseRemains(res.Stdout, len(files))
}

func parseRemains(answer []byte, n int) ([]remains, error) {
	var rs []remains
	for line := range bytes.Lines(answer) {
		line, r := string(bytes.TrimSpace(line)), remains{}
		if line == "same" {
			r.same = true
		} else if _, err := fmt.Sscanf(line, "part %d %s %d %d", &r.size, &r.tail, &r.free, &r.gzip); err != nil {
			return nil, fmt.Errorf("put: unexpected answer %q", line)
		}
		rs = append(rs, r)
	}
	if len(rs) != n {
		return nil, fmt.Errorf("put: %d answers for %d files: %q", len(rs), n, answer)
	}
	return rs, nil
}

// send sends what is missing of one file.
func (h *host) send(ctx context.Context, f File, at remains) error {
	offset, err := resumeAt(f.Source, at)
	if err != nil {
		return err
	}
	if need := f.Source.size - offset; at.free >= 0 && need > at.free<<10 {
		return &SpaceError{Host: h.o.Name, Path: f.Path, Need: need, Free: at.free << 10}
	}
	conn, err := h.connection(ctx)
	if err != nil {
		return err
	}
	packed := at.gzip == 1 && f.Source.worthPacking() && conn.distance() >= farAway
	body, err := newBody(f, offset, packed)
	if err != nil {
		return err
	}
	defer body.Close()
	sum, err := f.Source.Sum()
	if err != nil {
		return err
	}
	res, err := h.Run(ctx, Command{Stdin: body, Line: Quote("sh", "-c", receiveScript, "provision-receive", f.Path,
		fmt.Sprint(f.Source.size), sum, fmt.Sprintf("%04o", f.Mode.Perm()), fmt.Sprint(offset), fmt.Sprint(toInt(packed)))})
	if err != nil {
		return rename(err, "put "+f.Path)
	}
	return h.received(f, string(bytes.TrimSpace(res.Stdout)), body)
}

// received reads the machine's answer to an upload.
func (h *host) received(f File, answer string, body *body) error {
	var sum string
	var n int64
	if answer == "ok" {
		return nil
	}
	if _, err := fmt.Sscanf(answer, "bad %s", &sum); err == nil {
		want, _ := f.Source.Sum()
		return &MismatchError{Host: h.o.Name, Path: f.Path, Got: sum, Want: want}
	}
	if _, err := fmt.Sscanf(answer, "full %d", &n); err == nil {
		return &SpaceError{Host: h.o.Name, Path: f.Path, Need: f.Source.size, Free: max(n<<10, n)}
	}
	if err := body.failed(); err != nil {
		return fmt.Errorf("put %s: %w", f.Path, err)
	}
	return fmt.Errorf("%s: put %s: unexpected answer %q", h.o.Name, f.Path, answer)
}

// resumeAt returns how much of the source is there already and right.
func resumeAt(s *Source, at remains) (int64, error) {
	if at.size == 0 || at.size > s.size {
		return 0, nil
	}
	want, err := s.hashTail(at.size, min(at.size, tailSize))
	if err != nil || want != at.tail {
		return 0, err
	}
	return at.size, nil
}

// rename gives an ExitError of one of our scripts a name that a person understands.
func rename(err error, name string) error {
	var exit *ExitError
	if errors.As(err, &exit) {
		exit.Command = name
	}
	return err
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A body is what is sent of a source. It reports progress, and never after Close.
type body struct {
	mu     sync.Mutex
	closed bool
	err    error
	src    io.ReadCloser
	read   atomic.Int64 // bytes of src, or of the source if that is packed on the way
	length int64        // of src; -1 if not known
	offset int64
	f      File
}

// newBody opens the source at offset. The packed form of a whole source is shared; that of a rest is made on the way.
func newBody(f File, offset int64, packed bool) (*body, error) {
	b := &body{f: f, offset: offset, length: f.Source.size - offset}
	if packed && offset == 0 {
		z, err := f.Source.packed()
		b.src, b.length = io.NopCloser(bytes.NewReader(z)), int64(len(z))
		return b, err
	}
	src, err := f.Source.open(offset)
	if err != nil {
		return nil, err
	}
	b.src = src
	if packed {
		r, w := io.Pipe()
		go func() { w.CloseWithError(packTo(w, b.count(src))) }()
		b.src, b.length = closers{r, r, src}, -1
	}
	return b, nil
}

type closers struct {
	io.Reader
	a, b io.Closer
}

func (c closers) Close() error { return errors.Join(c.a.Close(), c.b.Close()) }

// count returns a reader that reports each read of the plain source.
func (b *body) count(r io.Reader) io.Reader {
	return readFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		b.read.Add(int64(n))
		return n, err
	})
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, io.EOF
	}
	n, err := b.src.Read(p)
	done := b.offset + b.read.Load()
	if b.length >= 0 {
		done = b.offset + int64(float64(b.f.Source.size-b.offset)*float64(b.read.Add(int64(n)))/float64(max(b.length, 1)))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	if b.f.Progress != nil {
		b.f.Progress(done, b.f.Source.size)
	}
	return n, err
}

// failed is why reading the source ended early.
func (b *body) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil && b.length >= 0 && b.read.Load() < b.length {
		return errors.New("the local file has become shorter")
	}
	return b.err
}

// Close waits for a Read that runs and closes the source.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.src.Close()
}
