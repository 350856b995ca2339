package mount

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A disk is formatted if it is blank, and never otherwise. Blank means that no program knows what is on it (blkid), and that
// there is nothing: its first and last MiB, and a block in each of many places between, are zeros. A disk with data of no known form, as
// what a pod wrote to a raw block device, is not blank.
//
// Formatting that was cut off leaves a disk that is not blank. So that it can be done again, on whichever node, the disk's last
// block says "being formatted" from before the first write of mkfs until after its last, and nothing is mounted meanwhile.

// being is what the last block of a disk begins with while it is formatted.
var being = []byte("provision.sh: this disk is being formatted, what is on it is nobody's: 5c1f0a9e-7be4-4f0c-9d4f-0d6b3a1c8e21\n")

const (
	block  = 4096
	margin = 1 << 20 // looked at as a whole at both ends
	places = 1024    // looked at between them
)

// prepare sees to it that the disk has a file system of that type, and formats it if it is blank.
func (n *Node) prepare(disk, fs string, readOnly bool) error {
	f, size, err := open(disk, readOnly)
	if err != nil {
		return internal("open "+disk, err)
	}
	defer f.Close()
	unfinished, err := marked(f, size)
	if err != nil {
		return internal("read "+disk, err)
	}
	have, err := n.mounter.GetDiskFormat(disk)
	switch {
	case err != nil:
		return internal("see what is on "+disk, err)
	case have == fs && !unfinished:
		return nil
	case have != "" && !unfinished:
		return status.Errorf(codes.FailedPrecondition, "%s holds %s and not %s: it is left as it is", disk, have, fs)
	case readOnly:
		return status.Errorf(codes.FailedPrecondition, "%s holds no file system, and is to be read only", disk)
	}
	if !unfinished {
		if blank, err := blank(f, size); err != nil {
			return internal("read "+disk, err)
		} else if !blank {
			return status.Errorf(codes.FailedPrecondition, "%s is not blank, and nobody knows what is on it: it is left as it is", disk)
		}
	}
	n.o.Log.Info("formatting a blank disk", "disk", disk, "fs", fs, "again", unfinished)
	if err := n.format(f, size, disk, fs); err != nil {
		return internal("format "+disk, err)
	}
	return nil
}

// open opens a disk and returns its size. What was written elsewhere, as by mkfs, is seen.
func open(disk string, readOnly bool) (*os.File, int64, error) {
	flag := os.O_RDWR
	if readOnly {
		flag = os.O_RDONLY
	}
	f, err := os.OpenFile(disk, flag|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size < 2*margin {
		err = fmt.Errorf("it has %d bytes, which is too little for a file system", size)
	}
	if err != nil {
		f.Close()
	}
	return f, size, err
}

// last is where the last whole block begins.
func last(size int64) int64 { return size/block*block - block }

// marked says whether the disk's formatting began and did not end.
func marked(f *os.File, size int64) (bool, error) {
	b := make([]byte, len(being))
	_, err := f.ReadAt(b, last(size))
	return bytes.Equal(b, being), err
}

// blank says whether there is nothing on a disk.
func blank(f *os.File, size int64) (bool, error) {
	zero := func(at int64, n int) (bool, error) {
		b := make([]byte, n)
		if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		return len(bytes.Trim(b, "\x00")) == 0, nil
	}
	for _, at := range []int64{0, size - margin} {
		if ok, err := zero(at, margin); !ok || err != nil {
			return false, err
		}
	}
	for i := range int64(places) {
		if ok, err := zero(size/places*i/block*block, block); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// format makes the file system, between a mark and its removal.
func (n *Node) format(f *os.File, size int64, disk, fs string) error {
	mark := make([]byte, block)
	copy(mark, being)
	if err := write(f, mark, last(size)); err != nil {
		return err
	}
	args := map[string][]string{
		"ext4": {"-F", "-m0", disk}, // no blocks for root alone: pods are others
		"xfs":  {"-f", disk},
	}[fs]
	if out, err := n.mounter.Exec.Command("mkfs."+fs, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.%s: %w: %s", fs, err, strings.TrimSpace(string(out)))
	}
	// mkfs may have written there itself, and then the mark is gone already.
	if still, err := marked(f, size); err != nil || !still {
		return errors.Join(err, f.Sync())
	}
	return write(f, make([]byte, block), last(size))
}

func write(f *os.File, b []byte, at int64) error {
	_, err := f.WriteAt(b, at)
	return errors.Join(err, f.Sync())
}
