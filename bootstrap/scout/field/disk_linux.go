package field

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	block    = 2300    // bytes that etcd writes at a time, as its own benchmark has it
	wrapFile = 8 << 20 // bytes after which writing starts again at the beginning
)

// disk measures how long it takes until a written block is safe: disk FOLDER DURATION. It answers the number of writes, then
// the median, the 99th percentile and the longest in microseconds. The file never has a name, so nothing can be left.
func disk(_ *request, args []string) (string, error) {
	length, err := time.ParseDuration(args[1])
	if err != nil {
		return "", err
	}
	fd, err := nameless(args[0])
	if err != nil {
		return "", errors.New(plain(err))
	}
	defer unix.Close(fd)
	var took []time.Duration
	b, at := make([]byte, block), int64(0)
	for start := time.Now(); time.Since(start) < length; at = (at + block) % wrapFile {
		began := time.Now()
		if _, err := unix.Pwrite(fd, b, at); err != nil {
			return "", errors.New(plain(err))
		}
		if err := unix.Fdatasync(fd); err != nil {
			return "", errors.New(plain(err))
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	us := func(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
	return strings.Join([]string{strconv.Itoa(len(took)), us(took[len(took)/2]), us(took[len(took)*99/100]), us(took[len(took)-1])}, " "), nil
}

// nameless opens a file without a name in the folder, or in the next above it that is there.
func nameless(dir string) (int, error) {
	for {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
			f, err := os.CreateTemp(dir, ".node-scout-")
			if err != nil {
				return 0, err
			}
			defer f.Close()
			os.Remove(f.Name())
			return unix.Dup(int(f.Fd()))
		}
		if !errors.Is(err, unix.ENOENT) || dir == "/" {
			return fd, err
		}
		dir = dir[:max(1, strings.LastIndexByte(dir, '/'))]
	}
}

// writable says whether folders can be written to: write FOLDER…. It says those that cannot, and why.
func writable(r *request, args []string) (string, error) {
	for _, dir := range args {
		fd, err := nameless(dir)
		if err != nil {
			r.say(dir, plain(err))
			continue
		}
		if _, err := unix.Pwrite(fd, make([]byte, 64<<10), 0); err != nil {
			r.say(dir, plain(err))
		}
		unix.Close(fd)
	}
	return "", nil
}

// clock answers the time in nanoseconds since 1970, and "kept" if the kernel knows that something keeps its clock right, else
// "free".
func clock(*request, []string) (string, error) {
	now := strconv.FormatInt(time.Now().UnixNano(), 10)
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return now + " unknown", nil // forbidden to this process
	}
	if state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0 {
		return now + " free", nil
	}
	return now + " kept", nil
}
