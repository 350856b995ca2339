//go:build linux

package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// A phase is how far a supervisor is.
type phase string

const (
	booting phase = "booting"
	running phase = "running"
	stopped phase = "stopped"
	dying   phase = "dying" // the supervisor is dead, process 1 not yet
)

// A state is a supervisor's word on its machine, in state.json. It counts only while the supervisor holds its lock.
type state struct {
	Supervisor process        `json:"supervisor"`
	Init       process        `json:"init,omitzero"` // the machine's process 1
	Phase      phase          `json:"phase"`
	Boots      int            `json:"boots"`
	Error      string         `json:"error,omitempty"` // why it stopped, if it should not have
	Kind       providers.Kind `json:"kind,omitempty"`
}

// errHeld says that somebody else has the lock of the machine's life.
var errHeld = errors.New("the machine has a supervisor already")

// holdAlive takes the lock that says that the machine has a supervisor; who lays a machine out or removes it takes it, too,
// so that no supervisor begins meanwhile. The kernel releases it when the holder dies. The lock's file is there from before
// the first boot until the machine is removed: it is not made here.
func holdAlive(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "alive"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	l := unix.Flock_t{Type: unix.F_WRLCK}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		err = errHeld
	case err == nil && !named(f, f.Name()):
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// observe returns what is true of the machine in the folder now. Without a live supervisor it is stopped; the rest of the
// state is then the supervisor's last word.
func observe(dir string) (state, error) {
	var s state
	b, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	held, aliveErr := aliveHeld(dir)
	if aliveErr != nil {
		return s, aliveErr
	}
	if os.IsNotExist(err) && held {
		s.Phase, err = booting, nil // it is just writing it
	}
	if err != nil && held { // else it may be missing, or damaged by the end of the host
		return s, fmt.Errorf("read %s/state.json: %w", dir, err)
	}
	switch {
	case !held && s.Init.alive():
		s.Phase = dying
	case !held:
		s.Phase = stopped
	case s.Phase == running && !s.Init.alive():
		s.Phase = booting // or about to stop: the supervisor is just finding out
	}
	return s, nil
}

func aliveHeld(dir string) (bool, error) {
	f, err := os.Open(filepath.Join(dir, "alive"))
	if os.IsNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return false, err
	}
	return l.Type != unix.F_UNLCK, nil
}
