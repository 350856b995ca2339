// Package state keeps what the CLI must remember of one cluster between two commands: its secrets, which exist nowhere
// else, and a journal of what was begun and done. What exists is the vendor's to say; the journal is only a help.
//
// All of it lies in one folder, readable by its owner alone:
//
//	journal      what was begun and done; see Record
//	secrets.age  all secrets, encrypted to the user's age identity
//	recipients   whom secrets.age is encrypted to
//	lock         who works on the cluster now
package state

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options says which state to open, and how.
type Options struct {
	Cluster    string           // the cluster's name
	Command    string           // what opens it, for the person who finds it locked: "provision apply cluster.hcl"
	Folder     string           // empty: $XDG_STATE_HOME/provision/<Cluster>, by default below ~/.local/state
	Identity   string           // path of the age identity; empty: $XDG_CONFIG_HOME/provision/identity.age, by default below ~/.config
	ReadOnly   bool             // take no lock and write nothing
	AnyMachine bool             // accept a state that was made on another machine
	Now        func() time.Time // nil: time.Now
}

// A State is the open state of one cluster. Its methods are safe for concurrent use. Close it at the end.
type State struct {
	o    Options
	lock *lock // nil if read-only
	lost chan struct{}

	mu      sync.Mutex // guards what follows, and the files but the journal's end
	header  header
	journal *journal // nil until the first write
	records []Record // of a read-only state; else the journal has them
	offset  int64    // where the journal was cut at load, if dropped is not 0
	dropped int64
	secrets map[string][]byte
	closed  bool
}

// Open opens the state of a cluster, and makes it at the first write if there is none. Unless it is ReadOnly, it holds the
// lock until Close; the lock also ends with the process.
//
// Errors, beside those of files, are *LockedError, *ForeignError, *MachineError, *IdentityError, *CorruptError,
// *VersionError, *ExposedError, *AccessError and *SpaceError. Each names its diagnostic and the way out.
func Open(ctx context.Context, o Options) (*State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := o.defaults(); err != nil {
		return nil, err
	}
	s := &State{o: o, lost: make(chan struct{}), secrets: map[string][]byte{}}
	if !o.ReadOnly {
		l, err := takeLock(ctx, o)
		if err != nil {
			return nil, err
		}
		s.lock = l
	}
	if err := s.load(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (o *Options) defaults() (err error) {
	if o.Cluster == "" || o.Cluster != filepath.Base(o.Cluster) || strings.HasPrefix(o.Cluster, ".") {
		return fmt.Errorf("the name %q cannot be the name of a state folder", o.Cluster)
	}
	if o.Folder == "" {
		if o.Folder, err = userFolder("XDG_STATE_HOME", ".local/state"); err != nil {
			return err
		}
		o.Folder = filepath.Join(o.Folder, "provision", o.Cluster)
	}
	if o.Identity == "" {
		if o.Identity, err = userFolder("XDG_CONFIG_HOME", ".config"); err != nil {
			return err
		}
		o.Identity = filepath.Join(o.Identity, "provision", "identity.age")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Folder, err = filepath.Abs(o.Folder)
	return err
}

// userFolder is a folder of the XDG base directory specification, which says to ignore relative ones.
func userFolder(env, below string) (string, error) {
	if d := os.Getenv(env); filepath.IsAbs(d) {
		return d, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for the state: neither %s nor HOME is set", env)
	}
	return filepath.Join(home, below), nil
}

// load reads what is on disk.
func (s *State) load() error {
	if err := checkFolder(s.o.Folder); errors.Is(err, fs.ErrNotExist) && s.o.ReadOnly {
		return nil
	} else if err != nil {
		return err
	}
	b, err := readFile(s.path("journal"))
	if errors.Is(err, fs.ErrNotExist) {
		return s.loadNew()
	} else if err != nil {
		return err
	}
	p, err := parse(b)
	if err != nil {
		return at(err, s.path("journal"))
	}
	if err := s.mine(p.header); err != nil {
		return err
	}
	s.header, s.records = p.header, p.records
	if s.offset, s.dropped = p.good, int64(len(b))-p.good; s.dropped == 0 {
		s.offset = 0
	}
	if err := s.loadSecrets(); err != nil {
		return err
	}
	if s.o.ReadOnly {
		return nil
	}
	removeTemporary(s.o.Folder)
	if s.journal, err = openJournal(s.path("journal"), p.good, p.records); err != nil {
		return err
	}
	if n := len(p.records); n > compactAbove && len(Latest(p.records)) < n/2 {
		return s.journal.compact(s.header, Latest)
	}
	return nil
}

// compactAbove is how many records a journal has to have before Open looks whether fewer would do.
const compactAbove = 1000

// loadNew begins a state that is not on disk yet. A folder with other things in it is not made one: Remove takes all.
func (s *State) loadNew() error {
	if s.o.ReadOnly {
		return nil
	}
	removeTemporary(s.o.Folder)
	in, err := os.ReadDir(s.o.Folder)
	if err != nil {
		return pathError(s.o.Folder, err)
	}
	for _, e := range in {
		if e.Name() != "lock" {
			os.Remove(s.lock.path)
			return &ForeignError{Folder: s.o.Folder, Found: e.Name()}
		}
	}
	s.header = header{Cluster: s.o.Cluster, UID: strings.ToLower(rand.Text()), Machine: machineID(), Host: hostname()}
	return nil
}

// mine says whether the state is this cluster's and this machine's.
func (s *State) mine(h header) error {
	if h.Cluster != s.o.Cluster {
		return &ForeignError{Folder: s.o.Folder, Want: s.o.Cluster, Have: h.Cluster}
	}
	if m := machineID(); !s.o.AnyMachine && h.Machine != "" && m != "" && h.Machine != m {
		return &MachineError{Folder: s.o.Folder, Host: h.Host}
	}
	return nil
}

func (s *State) path(name string) string { return filepath.Join(s.o.Folder, name) }

// Folder returns the path of the state's folder.
func (s *State) Folder() string { return s.o.Folder }

// UID returns the cluster's own ID, made with its state: 26 lower-case letters and digits. It tells apart two clusters of
// one name. It is empty if the state is read-only and not there.
func (s *State) UID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.header.UID
}

// Adopt gives a state that was never written the UID that the cluster's objects bear at their vendor, so that a state that
// was lost can be made again. It is an error if the state exists.
func (s *State) Adopt(uid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || s.o.ReadOnly:
		return &AccessError{Path: s.o.Folder, Err: errors.New("it is not open for writing")}
	case uid == s.header.UID:
		return nil
	case s.journal != nil:
		return &ForeignError{Folder: s.o.Folder, Want: uid, Have: s.header.UID, UID: true}
	case len(uid) != 26 || strings.Trim(uid, "abcdefghijklmnopqrstuvwxyz234567") != "":
		return fmt.Errorf("%q is not the UID of a cluster", uid)
	}
	s.header.UID = uid
	return nil
}

// Lost is closed when the state's lease is lost: every write fails from then on, and another may have begun. So no step
// should be started after it. It stays open for a state that is read-only.
func (s *State) Lost() <-chan struct{} { return s.lost }

// Exists says whether the cluster has a state on disk.
func (s *State) Exists() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal != nil || (s.o.ReadOnly && s.header.UID != "")
}

// CheckUID compares the UID that an object of this cluster's name bears at its vendor with the state's. The error is a
// *ForeignError. An empty UID, on either side, is no other cluster's.
func (s *State) CheckUID(uid string) error {
	have := s.UID()
	if uid == "" || have == "" || uid == have {
		return nil
	}
	return &ForeignError{Folder: s.o.Folder, Want: uid, Have: have, UID: true}
}

// Dropped returns where the journal was cut when it was opened, and how many bytes came behind: the rest of a record that
// was being written when a process or the machine died. It returns zeros if nothing was.
func (s *State) Dropped() (offset, bytes int64) { return s.offset, s.dropped }

// Records returns all records, the oldest first.
func (s *State) Records() []Record {
	s.mu.Lock()
	j, rs := s.journal, s.records
	s.mu.Unlock()
	if j != nil {
		return j.all()
	}
	return slices.Clone(rs)
}

// Append writes a record. When it returns, the record is on disk and survives a loss of power. A zero Time becomes now.
// Records that many goroutines append at once share one write.
func (s *State) Append(r Record) error {
	if r.Time.IsZero() {
		r.Time = s.o.Now()
	}
	r.Time = r.Time.UTC().Truncate(time.Millisecond)
	r.Data = slices.Clone(r.Data)
	j, err := s.writable()
	if err != nil {
		return err
	}
	return j.append(r)
}

// writable returns the journal, and makes it if it is not there.
func (s *State) writable() (*journal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.o.ReadOnly {
		return nil, &AccessError{Path: s.o.Folder, Err: errors.New("it is not open for writing")}
	}
	if s.journal != nil {
		return s.journal, nil
	}
	path := s.path("journal")
	b, err := encode(s.header, nil)
	if err != nil {
		return nil, err
	}
	if err := writeFile(path, b); err != nil {
		return nil, err
	}
	s.journal, err = openJournal(path, int64(len(b)), nil)
	return s.journal, err
}

// Compact rewrites the journal with the records that keep returns of all records, beside the old one and then in its
// place. Latest is what keep usually is, and what Open does by itself to a long journal. Appends meanwhile wait.
func (s *State) Compact(keep func([]Record) []Record) error {
	j, err := s.writable()
	if err != nil {
		return err
	}
	return j.compact(s.header, keep)
}

// Secret returns a copy of the named secret.
func (s *State) Secret(name string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.secrets[name]
	return slices.Clone(b), ok
}

// SetSecrets adds the secrets, or replaces those of the same names; nil removes one. When it returns, all are on disk,
// encrypted; after an error, or a loss of power, all are as they were.
func (s *State) SetSecrets(set map[string][]byte) error {
	if _, err := s.writable(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := maps.Clone(s.secrets)
	for name, b := range set {
		if b == nil {
			delete(all, name)
		} else {
			all[name] = slices.Clone(b)
		}
	}
	if err := s.saveSecrets(all); err != nil {
		return err
	}
	s.secrets = all
	return nil
}

// Close releases the lock. A state that was never written leaves nothing behind. A second Close does nothing.
func (s *State) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if s.journal != nil {
		err = s.journal.close()
	}
	if s.lock == nil {
		return err
	}
	if s.journal == nil && s.header.UID != "" { // new, and never written
		os.Remove(s.lock.path)
		os.Remove(s.o.Folder) // only if it is empty
	}
	return errors.Join(err, s.lock.release())
}

// Remove removes the folder with all that is in it, and closes the state. It is for after the cluster is gone: nothing
// brings its secrets back.
func (s *State) Remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.o.ReadOnly {
		return &AccessError{Path: s.o.Folder, Err: errors.New("it is not open for writing")}
	}
	s.closed = true
	if s.journal != nil {
		s.journal.close()
	}
	in, err := os.ReadDir(s.o.Folder)
	for _, e := range in {
		if e.Name() != "lock" { // goes last, so that nobody begins while this is half done
			err = errors.Join(err, os.RemoveAll(s.path(e.Name())))
		}
	}
	if err == nil {
		err = errors.Join(os.Remove(s.lock.path), os.Remove(s.o.Folder))
		if errors.Is(err, syscall.ENOTEMPTY) { // with its lock gone, the folder is free: another process has begun in it
			err = nil
		}
	}
	if err == nil {
		err = syncFolder(filepath.Dir(s.o.Folder))
	}
	s.lock.release()
	return pathError(s.o.Folder, err)
}
