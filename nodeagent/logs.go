package nodeagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/provisionhq/provision/nodeagent/supervisor"
)

// tail returns the last n lines of a process's log.
func tail(dir, name string, n int) ([]byte, error) {
	if name != filepath.Base(name) {
		return nil, fmt.Errorf("%q is no process's name", name)
	}
	f, err := os.Open(supervisor.LogFile(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no log of %s; there are logs of: %s", name, strings.Join(known(dir), " "))
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	const block = 64 << 10
	var got []byte
	for at := size; at > 0 && bytes.Count(got, []byte{'\n'}) <= n; {
		step := min(at, block)
		at -= step
		b := make([]byte, step)
		if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		got = append(b, got...)
	}
	return lastLines(got, n), nil
}

// lastLines cuts off all but the last n lines.
func lastLines(b []byte, n int) []byte {
	end := len(b)
	if end > 0 && b[end-1] == '\n' {
		end--
	}
	for range n {
		i := bytes.LastIndexByte(b[:end], '\n')
		if i < 0 {
			return b
		}
		end = i
	}
	return b[min(end+1, len(b)):]
}

func known(dir string) []string {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for i, p := range paths {
		paths[i] = strings.TrimSuffix(filepath.Base(p), ".log")
	}
	slices.Sort(paths)
	return paths
}

// printLogs writes the last n lines of a log, and goes on with what is added until ctx ends, if follow is set.
func printLogs(ctx context.Context, dir, name string, n int, follow bool, out io.Writer) error {
	last, err := tail(dir, name, n)
	if err != nil {
		return err
	}
	path := supervisor.LogFile(dir, name)
	at := int64(0)
	if info, err := os.Stat(path); err == nil {
		at = info.Size()
	}
	if _, err := out.Write(last); err != nil || !follow {
		return err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if at, err = added(path, at, out); err != nil {
			return err
		}
	}
}

// added writes what a log has after a place, and returns the next place. A log that has become shorter was put away.
func added(path string, at int64, out io.Writer) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() < at {
		at = 0
	}
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.Copy(out, f)
	return at + n, err
}
