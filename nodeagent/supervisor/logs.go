package supervisor

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	logLimit  = 10 << 20 // bytes after which a log is put away
	logKeep   = 3        // that many old ones are kept
	logPeriod = 5 * time.Second
)

// LogFile returns where the output of a process is.
func LogFile(dir, process string) string { return filepath.Join(dir, process+".log") }

// RotateLogs puts logs away that have become long, until ctx ends. A log is copied and then emptied, because the process
// has it open; it appends, so it goes on at the new end.
func (s *Supervisor) RotateLogs(ctx context.Context) {
	tick := time.NewTicker(logPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := rotateAll(s.o.Logs, logLimit); err != nil {
				s.o.Log.Error("cannot rotate logs", "err", err)
			}
		}
	}
}

// rotateAll looks at every log in dir but the audit log, which the API server rotates itself.
func rotateAll(dir string, limit int64) error {
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range logs {
		info, err := os.Stat(path)
		if err != nil || info.Size() < limit || strings.HasPrefix(filepath.Base(path), "audit") {
			continue
		}
		errs = append(errs, rotate(path))
	}
	return errors.Join(errs...)
}

func rotate(path string) error {
	for i := logKeep - 1; i >= 1; i-- {
		err := os.Rename(path+"."+strconv.Itoa(i), path+"."+strconv.Itoa(i+1))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	in, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	// What is written while this runs is copied too; what comes between the last read and Truncate is lost.
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	return in.Truncate(0)
}
