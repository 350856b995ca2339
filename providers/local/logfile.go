//go:build linux

package local

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// maxLog is how large a service's log may grow before it becomes the old one, of which there is one.
const maxLog = 1 << 20

// A logFile takes what a service says, line by line. Who writes to in never waits for a full disk.
type logFile struct {
	in   *os.File // the service's standard output
	out  *os.File
	path string
	size int64
	done chan struct{}
}

func openLog(path string) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	l := &logFile{path: path, done: make(chan struct{})}
	if err := l.open(); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		l.out.Close()
		return nil, err
	}
	l.in = w
	go l.copy(r)
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	if s, err := f.Stat(); err == nil {
		l.size = s.Size()
	}
	l.out = f
	return nil
}

func (l *logFile) copy(r *os.File) {
	defer close(l.done)
	defer r.Close()
	b := bufio.NewReaderSize(r, 16<<10)
	for {
		line, err := b.ReadSlice('\n') // or as much as fits
		if len(line) > 0 {
			l.write(line)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (l *logFile) write(line []byte) {
	if l.size+int64(len(line)) > maxLog {
		l.out.Close()
		os.Rename(l.path, l.path+".1")
		l.size = 0
		if err := l.open(); err != nil {
			l.out = nil // writing to it fails, which is all that can be done
		}
	}
	n, _ := l.out.Write(line) // a full disk must not stop the service
	l.size += int64(n)
}

// say adds a line of process 1's own.
func (l *logFile) say(format string, args ...any) {
	fmt.Fprintf(l.in, "%s init: %s\n", time.Now().UTC().Format(time.RFC3339), fmt.Sprintf(format, args...))
}

// close ends the log. Programs that the service left behind may still hold its output: it is not waited for.
func (l *logFile) close() {
	l.in.Close()
}
