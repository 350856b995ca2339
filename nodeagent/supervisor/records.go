package supervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A record says that a process was started.
type record struct {
	PID      int       `json:"pid"`
	Start    uint64    `json:"start"` // clock ticks since boot
	Hash     string    `json:"hash"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
}

// records are kept in a file, so that the next supervisor finds the processes of this one.
type records struct {
	path string
	mu   sync.Mutex
	all  map[string]record
}

// openRecords reads the file. One that is damaged counts as empty: what it named is found by its mark.
func openRecords(path string) (*records, error) {
	r := &records{path: path, all: map[string]record{}}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && json.Unmarshal(b, &r.all) != nil {
		r.all = map[string]record{}
	}
	for pid, name := range marked(path) {
		if start, zombie, err := startTime(pid); err == nil && !zombie {
			name, hash, _ := strings.Cut(name, ":")
			if have, ok := r.all[name]; !ok || have.PID != pid || have.Start != start {
				r.adoptMarked(name, record{PID: pid, Start: start, Hash: hash, Since: time.Now()})
			}
		}
	}
	return r, nil
}

// adoptMarked notes a process that was started by a supervisor that died before it could say so.
func (r *records) adoptMarked(name string, rec record) {
	if have, ok := r.all[name]; ok {
		if start, zombie, err := startTime(have.PID); err == nil && !zombie && start == have.Start {
			return // the recorded one runs
		}
	}
	r.all[name] = rec
}

// marked returns the processes that bear the mark of the supervisor with these records, as name:hash by PID. What a
// process starts inherits its mark, so only those count that were called by the mark's name: a shim is not containerd. And
// anybody may write anything into an environment, so only our own user's programs count that are in no container.
func marked(path string) map[int]string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	here, _ := os.Readlink("/proc/self/ns/mnt")
	list := map[int]string{}
	for _, dir := range dirs {
		var owner syscall.Stat_t
		if syscall.Stat(dir, &owner) != nil || int(owner.Uid) != os.Geteuid() {
			continue
		}
		m, ok := variable(dir, mark+path+":")
		if !ok || !called(dir, m) {
			continue
		}
		if ns, _ := os.Readlink(dir + "/ns/mnt"); ns == here {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			list[pid] = m
		}
	}
	return list
}

// variable returns what follows the prefix in a process's environment.
func variable(dir, prefix string) (string, bool) {
	env, err := os.ReadFile(dir + "/environ")
	if err != nil {
		return "", false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if m, ok := strings.CutPrefix(string(v), prefix); ok {
			return m, true
		}
	}
	return "", false
}

// called reports whether the process was called by its mark's name.
func called(dir, m string) bool {
	name, _, _ := strings.Cut(m, ":")
	b, err := os.ReadFile(dir + "/cmdline")
	if err != nil {
		return false
	}
	argv0, _, _ := bytes.Cut(b, []byte{0})
	return filepath.Base(string(argv0)) == name
}

func (r *records) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.all))
}

func (r *records) get(name string) (record, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.all[name]
	return rec, ok
}

func (r *records) put(name string, rec record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[name] = rec
	r.save()
}

func (r *records) remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, name)
	r.save()
}

// save is called with mu held. If it fails the next supervisor finds the processes by their marks.
func (r *records) save() {
	b, err := json.Marshal(r.all)
	if err != nil {
		panic(err) // plain data always marshals
	}
	tmp := r.path + ".new"
	if os.WriteFile(tmp, b, 0o600) == nil {
		_ = os.Rename(tmp, r.path)
	}
}

// adopt finds a process that an earlier supervisor started and that still runs.
func (s *Supervisor) adopt(name string) (child, record, bool) {
	rec, ok := s.records.get(name)
	if !ok {
		return nil, record{}, false
	}
	c, ok := find(rec.PID, rec.Start)
	if !ok {
		s.records.remove(name)
		return nil, record{}, false
	}
	return c, rec, true
}
