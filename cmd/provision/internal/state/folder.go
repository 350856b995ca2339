package state

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// A folder is a place on a disk. Its files bear the number of the term that wrote them:
//
//	lease.N          who has the term N, who had the last one
//	journal.N        the journal
//	secrets.N.S.age  the secrets as of write S
//
// The highest number counts. A lease is taken by making lease.N+1 with link(2), which only one process can; a writer looks
// behind each write, when it is on disk, whether there is a lease.N+1 yet. If there is none, whoever makes it reads what was
// written; if there is one, the write is said to have failed. So nothing has to be locked, and a writer that is stopped at
// any place stands in nobody's way.
//
// The first lease has the time for its number, so that numbers grow also when the folder is removed and made again. Two that
// are first at once see one another and try again. All paths are below root, which stays the folder that was opened when its path is another's.
type folder struct {
	path     string
	readOnly bool
	step     step
	root     *os.Root // nil: read-only, and there is none
}

// openFolder opens the folder, and makes it unless it is to be read only.
func openFolder(path string, readOnly bool, step step) (*folder, error) {
	f := &folder{path: path, readOnly: readOnly, step: step}
	err := f.open()
	for range 100 {
		if !errors.Is(err, fs.ErrNotExist) || readOnly {
			break
		}
		err = f.open() // another has removed it just now
	}
	return f, err
}

func (f *folder) open() error {
	if !f.readOnly {
		if err := os.MkdirAll(f.path, 0o700); err != nil {
			return pathError(f.path, err)
		}
	}
	err := checkFolder(f.path)
	if errors.Is(err, fs.ErrNotExist) && f.readOnly {
		return nil
	} else if err != nil {
		return err
	}
	f.root, err = os.OpenRoot(f.path)
	return pathError(f.path, err)
}

func (f *folder) String() string { return f.path }

func (f *folder) close() error {
	if f.root == nil {
		return nil
	}
	return f.root.Close()
}

// here says whether the folder at the path is still the one that was opened.
func (f *folder) here() bool {
	a, err := f.root.Stat(".")
	if err != nil {
		return false
	}
	b, err := os.Stat(f.path)
	return err == nil && os.SameFile(a, b)
}

// reopen opens what is at the path now, if that is another folder than before.
func (f *folder) reopen() error {
	if f.root != nil {
		if f.here() {
			return nil
		}
		f.root.Close()
		f.root = nil
	}
	return f.open()
}

// A listing is the names in a folder.
type listing struct {
	names          []string
	lease, journal uint64 // the highest numbers
	isJournal      bool   // there is one; an old one has no number
}

func (f *folder) list() (l listing, err error) {
	d, err := f.root.Open(".")
	if err != nil {
		return l, pathError(f.path, err)
	}
	defer d.Close()
	if l.names, err = d.Readdirnames(-1); err != nil {
		return l, pathError(f.path, err)
	}
	for _, name := range l.names {
		if n, ok := numbered(name, "lease"); ok {
			l.lease = max(l.lease, n)
		}
		if n, ok := numbered(name, "journal"); ok {
			l.journal, l.isJournal = max(l.journal, n), true
		}
	}
	return l, nil
}

// numbered returns the term of a file of that kind. The files of the first format, which had none, are of the term 0.
func numbered(name, kind string) (uint64, bool) {
	rest, ok := strings.CutPrefix(name, kind)
	if !ok || rest == "" && kind == "journal" || rest == ".age" && kind == "secrets" {
		return 0, ok
	}
	digits, tail, _ := strings.Cut(strings.TrimPrefix(rest, "."), ".")
	n, err := strconv.ParseUint(digits, 10, 64)
	ok = err == nil && rest[0] == '.' && n > 0 && n < 1<<62 && strconv.FormatUint(n, 10) == digits
	return n, ok && (tail == "") == (kind != "secrets")
}

func named(kind string, n uint64) string {
	if n == 0 {
		return kind
	}
	return fmt.Sprintf("%s.%d", kind, n)
}

// readFile reads a file of ours, after a look at who else can.
func (f *folder) readFile(name string) ([]byte, error) {
	path := filepath.Join(f.path, name)
	if err := checkFileIn(f.root, name, path); err != nil {
		return nil, err
	}
	b, err := f.root.ReadFile(name)
	return b, pathError(path, err)
}

// lease implements place.
func (f *folder) lease(ctx context.Context) (found, error) {
	for ; ; time.Sleep(time.Millisecond) {
		if err := ctx.Err(); err != nil {
			return found{}, err
		}
		if err := f.reopen(); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil || f.root == nil {
			return found{}, err
		}
		l, err := f.list()
		if isGone(err) {
			continue
		} else if err != nil {
			return found{}, err
		}
		if l.lease == 0 {
			return found{lease: lease{Fence: l.journal}}, nil
		}
		b, err := f.readFile(named("lease", l.lease))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the next one was taken
		} else if err != nil {
			return found{}, err
		}
		x := found{lease: parseLease(b), text: "?" + string(b)}
		x.lease.Fence = max(l.lease, l.journal)
		x.revision = bucket.Revision(named("lease", l.lease))
		return x, nil
	}
}

// take implements place.
func (f *folder) take(_ context.Context, was found, l *lease) (term, error) {
	l.Fence = was.lease.Fence + 1
	if was.text == "" {
		l.Fence = max(l.Fence, uint64(time.Now().UnixMilli())<<10)
	}
	name, draft := named("lease", l.Fence), ".lease-"+rand.Text()
	file, err := f.create(draft, l.text())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errTaken // the folder was removed just now
	} else if err != nil {
		return nil, pathError(f.path, err)
	}
	err = f.root.Link(draft, name)
	f.root.Remove(draft)
	if err == nil {
		err = f.taken(was, name, l.Fence)
	}
	if err != nil {
		file.Close()
		if errors.Is(err, fs.ErrExist) || isGone(err) {
			err = errTaken
		}
		return nil, pathError(f.path, err)
	}
	return &tenure{folder: f, number: l.Fence, lease: file}, nil
}

// taken looks whether a lease that was made is the one with the highest number and came after the one that was seen, or is
// the only one if none was seen. It removes older ones, which tells their holders.
func (f *folder) taken(was found, name string, number uint64) error {
	l, err := f.list()
	if err == nil && was.text != "" {
		_, err = f.root.Lstat(string(was.revision))
	}
	var old []string
	for _, other := range l.names {
		if n, ok := numbered(other, "lease"); ok && n < number {
			old = append(old, other)
		}
	}
	if err == nil && (l.lease != number || l.journal > number || was.text == "" && len(old) > 0 || !f.here()) {
		err = errTaken
	}
	for _, other := range old {
		if err == nil {
			if err = f.root.Remove(other); isGone(err) {
				err = nil
			}
		}
	}
	if err == nil {
		err = f.sync()
	}
	if err != nil {
		f.root.Remove(name)
	}
	return err
}

// create makes a file, 0600 and on disk.
func (f *folder) create(name string, b []byte) (*os.File, error) {
	file, err := f.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = file.Write(b); err == nil {
		err = file.Sync()
	}
	if err != nil {
		file.Close()
		f.root.Remove(name)
		return nil, err
	}
	return file, nil
}

// sync makes the names durable.
func (f *folder) sync() error {
	d, err := f.root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// read implements place.
func (f *folder) read(ctx context.Context) (image, error) {
	for {
		if err := ctx.Err(); err != nil {
			return image{}, err
		}
		if f.root == nil {
			return image{}, fs.ErrNotExist
		}
		l, err := f.list()
		if err != nil {
			return image{}, err
		}
		if !l.isJournal {
			return image{}, l.empty(f.path)
		}
		b, err := f.readFile(named("journal", l.journal))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the next writer has its own by now
		}
		return image{path: filepath.Join(f.path, named("journal", l.journal)), text: b}, err
	}
}

// empty says whether the folder can become a state's: whoever removes the state removes everything in it.
func (l listing) empty(path string) error {
	for _, name := range l.names {
		_, isLease := numbered(name, "lease")
		_, isSecret := numbered(name, "secrets")
		switch {
		case isLease, strings.HasPrefix(name, asidePrefix), strings.HasPrefix(name, draftPrefix), strings.HasPrefix(name, ".lease-"), name == "lock":
		case isSecret:
			return &CorruptError{Path: path, Err: fmt.Errorf("it holds %s and no journal", name)}
		default:
			return &ForeignError{Place: path, Found: name}
		}
	}
	return fs.ErrNotExist
}

// secrets implements place.
func (f *folder) secrets(_ context.Context, file string) ([]byte, error) {
	if file != filepath.Base(file) {
		return nil, fs.ErrNotExist
	}
	return f.readFile(file)
}

// isGone says that a file or its folder is not there.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
