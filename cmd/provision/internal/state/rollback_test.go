package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
)

// copyFolder copies a folder with its files.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	must(t, os.RemoveAll(to))
	must(t, os.CopyFS(to, os.DirFS(from)))
	must(t, os.Chmod(to, 0o700))
	in, err := os.ReadDir(to)
	must(t, err)
	for _, e := range in {
		must(t, os.Chmod(filepath.Join(to, e.Name()), 0o600))
	}
}

// TestRolledBack: an old copy that was put back is refused, with both ages, until it is accepted on purpose; so is the state of
// a cluster that was destroyed.
func TestRolledBack(t *testing.T) {
	o := options(t)
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("old")}))
	must(t, s.Close())
	old := o.Folder + ".old"
	copyFolder(t, o.Folder, old)
	s = mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("new")}))
	for _, r := range records(5) {
		must(t, s.Append(r))
	}
	must(t, s.Close())
	copyFolder(t, old, o.Folder)
	for _, readOnly := range []bool{true, false} {
		p := o
		p.ReadOnly = readOnly
		e := openError[*RolledBackError](t, p)
		if e.Have != 1 || e.Seen != 7 || e.Removed || !e.HaveTime.Equal(noon) || !e.SeenTime.Equal(noon) {
			t.Errorf("got %+v", e)
		}
	}
	accept := o
	accept.Accept = true
	s = mustOpen(t, accept)
	must(t, s.Close())
	s = mustOpen(t, o)
	if b, _ := s.Secret("a"); string(b) != "old" {
		t.Errorf("after it was accepted: %q", b)
	}
	must(t, s.Append(records(1)[0]))
	must(t, s.Close())
	must(t, mustOpen(t, o).Close())
	copyFolder(t, o.Folder, old)
	must(t, mustOpen(t, o).Remove())
	copyFolder(t, old, o.Folder)
	if e := openError[*RolledBackError](t, o); !e.Removed || !strings.Contains(e.Error(), "destroyed") {
		t.Errorf("a destroyed cluster's: %+v", e)
	}
	s = mustOpen(t, accept)
	must(t, s.Close())
	must(t, mustOpen(t, o).Close())
}

// TestObjectsRolledBack: the same in a bucket, one object at a time or all at once.
func TestObjectsRolledBack(t *testing.T) {
	o, m := inBucket(t)
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("old")}))
	must(t, s.Close())
	journal, _, err := m.Get(t.Context(), "journal")
	must(t, err)
	s = mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("new")}))
	must(t, s.Close())
	_, revision, err := m.Get(t.Context(), "journal")
	must(t, err)
	_, err = m.Put(t.Context(), "journal", journal, revision)
	must(t, err)
	openError[*RolledBackError](t, o)
}

// TestAdoptAfterLoss: a state that is made again with the UID of a lost one is not taken for an old copy of it, but a copy of the
// lost one is.
func TestAdoptAfterLoss(t *testing.T) {
	o := filled(t, 50)
	s := mustOpen(t, o)
	uid := s.UID()
	must(t, s.Close())
	lost := o.Folder + ".lost"
	must(t, os.Rename(o.Folder, lost))
	s = mustOpen(t, o)
	must(t, s.Adopt(uid))
	must(t, s.Append(records(1)[0]))
	must(t, s.Close())
	s = mustOpen(t, o)
	if s.UID() != uid || len(s.Records()) != 1 {
		t.Errorf("UID %s, %d records", s.UID(), len(s.Records()))
	}
	must(t, s.Close())
	must(t, os.RemoveAll(o.Folder))
	must(t, os.Rename(lost, o.Folder))
	openError[*RolledBackError](t, o)
}

// TestMove: a state is the same in its new place, and nowhere else; what fails half way is done by the next try.
func TestMove(t *testing.T) {
	for n := range 26 {
		o := options(t)
		s := mustOpen(t, o)
		for _, r := range records(3) {
			must(t, s.Append(r))
		}
		must(t, s.SetSecrets(map[string][]byte{"a": []byte("b")}))
		uid := s.UID()
		must(t, s.Close())
		m := bucket.NewMemory()
		to := o
		to.Bucket = m
		calls := 0
		m.Inject = func(op, key string) (f bucket.Fault) {
			if calls++; calls == n && n%2 == 0 {
				f.Before = &bucket.UnreachableError{Err: errors.New("cut")}
			} else if calls == n {
				f.After = errors.New("the answer is lost")
			}
			return f
		}
		_, moved, err := Move(t.Context(), o, to)
		if n == 0 && (err != nil || !moved) {
			t.Fatal(moved, err)
		}
		m.Inject = nil
		if err != nil {
			if _, _, err = Move(t.Context(), o, to); err != nil {
				t.Errorf("call %d: moved again: %v", n, err)
				continue
			}
		}
		e := openError[*MovedError](t, o)
		if in, _ := os.ReadDir(o.Folder); len(in) != 2 || e.Cluster != "demo" || e.Moved.To != "mem://" || !e.Moved.Time.Equal(noon) || e.Moved.By == "" {
			t.Errorf("call %d: the old place holds %v, and says %+v", n, in, e.Moved)
		}
		s = mustOpen(t, to)
		if b, _ := s.Secret("a"); s.UID() != uid || string(b) != "b" || !reflect.DeepEqual(s.Records(), records(3)) {
			t.Errorf("call %d: UID %s, secret %q, %d records", n, s.UID(), b, len(s.Records()))
		}
		must(t, s.Close())
		if _, moved, err := Move(context.Background(), to, o); err != nil || !moved {
			t.Errorf("call %d: back: %v", n, err)
		}
		openError[*MovedError](t, to)
		if keys, _ := m.List(t.Context(), ""); len(keys) != 2 {
			t.Errorf("call %d: moved away, the bucket holds %v", n, keys)
		}
		must(t, mustOpen(t, o).Close())
	}
	a, b := filled(t, 1), filled(t, 1)
	b.Seen = a.Seen
	if _, _, err := Move(t.Context(), a, b); !errors.As(err, new(*OccupiedError)) {
		t.Errorf("to where another state is: %v", err)
	}
	if _, _, err := Move(t.Context(), options(t), options(t)); !errors.As(err, new(*NothingError)) {
		t.Errorf("of nothing: %v", err)
	}
}

// TestMoveToTheSamePlace: whatever it is called, the state stays, and its own lease does not stand in the way.
func TestMoveToTheSamePlace(t *testing.T) {
	o := filled(t, 1)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(filepath.Dir(o.Folder), link))
	inBucket, m := inBucket(t)
	s := mustOpen(t, inBucket)
	must(t, s.Append(records(1)[0]))
	must(t, s.Close())
	for name, c := range map[string]struct{ from, to Options }{
		"folder": {o, o}, "URL": {o, with(o, func(p *Options) { p.URL = "file://" + filepath.Dir(o.Folder) })},
		"link":   {o, with(o, func(p *Options) { p.Folder = filepath.Join(link, "demo") })},
		"bucket": {inBucket, with(inBucket, func(p *Options) { p.Bucket = m })},
	} {
		place, moved, err := Move(t.Context(), c.from, c.to)
		if err != nil || moved || place == "" {
			t.Errorf("%s: %q, %v, %v", name, place, moved, err)
		}
		if s := mustOpen(t, c.from); len(s.Records()) != 1 {
			t.Errorf("%s: %d records", name, len(s.Records()))
		} else {
			must(t, s.Close())
		}
	}
	if _, _, err := Move(t.Context(), with(o, func(p *Options) { p.Folder += "2" }), with(o, func(p *Options) { p.Folder += "2" })); !errors.As(err, new(*NothingError)) {
		t.Errorf("of nothing: %v", err)
	}
}

func with(o Options, change func(*Options)) Options {
	change(&o)
	return o
}

// TestMovedAway: the old place is refused until it is freed on purpose, or the cluster was destroyed; whoever asks for the state
// from there again is told where it is.
func TestMovedAway(t *testing.T) {
	for _, freed := range []string{"accepted", "destroyed"} {
		o := filled(t, 2)
		to := with(o, func(p *Options) { p.Folder += "2" })
		_, _, err := Move(t.Context(), o, to)
		must(t, err)
		for _, o.ReadOnly = range []bool{true, false} {
			openError[*MovedError](t, o)
			if e := openError[*MovedError](t, with(o, func(p *Options) { p.Destroy = true })); e.Moved.To != to.Folder {
				t.Errorf("got %+v", e)
			}
		}
		if _, moved, err := Move(t.Context(), o, to); err != nil || moved {
			t.Errorf("moved again: %v, %v", moved, err)
		}
		if _, _, err := Move(t.Context(), o, with(o, func(p *Options) { p.Folder += "3" })); !errors.As(err, new(*MovedError)) {
			t.Errorf("moved from there to another place: %v", err)
		}
		if freed == "accepted" {
			s := mustOpen(t, with(o, func(p *Options) { p.Accept = true }))
			if s.Exists() || s.Moved() == nil {
				t.Errorf("exists %v, moved %v", s.Exists(), s.Moved())
			}
			must(t, s.Forget())
		} else {
			must(t, mustOpen(t, to).Remove())
		}
		s := mustOpen(t, o)
		must(t, s.Append(records(1)[0]))
		must(t, s.Close())
		must(t, mustOpen(t, o).Close())
	}
}

// TestInfo: what is told of a state without its key.
func TestInfo(t *testing.T) {
	o := options(t)
	s := mustOpen(t, o)
	must(t, s.SetSecrets(map[string][]byte{"a": []byte("b")}))
	must(t, s.Append(records(1)[0]))
	must(t, os.Rename(o.Identity, o.Identity+".away"))
	p := o
	p.ReadOnly, p.Sealed = true, true
	r := mustOpen(t, p)
	i, err := r.Info(t.Context())
	must(t, err)
	if !i.Exists || i.UID != s.UID() || i.Write != 2 || i.Records != 1 || len(i.Secrets) != 0 || len(i.Recipients) != 1 || i.Holder == nil || i.Holder.PID != os.Getpid() || i.Place != o.Folder {
		t.Errorf("got %+v", i)
	}
	if i, _ := s.Info(t.Context()); i.Holder != nil || fmt.Sprint(i.Secrets) != "[a]" {
		t.Errorf("the holder's own: %+v", i)
	}
	must(t, s.Close())
	if i, _ := r.Info(t.Context()); i.Holder != nil {
		t.Errorf("after Close: %+v", i.Holder)
	}
	p.Folder += "2"
	if i, err := mustOpen(t, p).Info(t.Context()); err != nil || i.Exists {
		t.Errorf("of nothing: %+v, %v", i, err)
	}
}
