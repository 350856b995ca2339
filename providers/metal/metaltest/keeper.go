package metaltest

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/provisionhq/provision/providers/local"
)

// keeperName is what a test's program is called when it waits for the end of a test that makes a fleet.
const keeperName = "provision-fleet-keeper"

// Part runs what fleets and their hosts are made of, if the arguments say that this process is a part of one. The TestMain of
// a test program that makes fleets calls it first.
func Part(args []string) (ran bool, code int) {
	if len(args) == 3 && filepath.Base(args[0]) == keeperName {
		return true, keep(args[1], args[2])
	}
	return local.Machine(args)
}

// keeper is a process that outlives the test's, to remove the fleet if that is killed.
type keeper struct {
	c    *exec.Cmd
	life io.Closer // its end is the end of the test
}

// newKeeper starts a keeper of the machines below folder; dir, a TempDir of the test, is removed with all others of that test.
func newKeeper(folder, dir string) (*keeper, error) {
	c := exec.Command("/proc/self/exe")
	c.Args = []string{keeperName, folder, dir}
	c.Dir, c.SysProcAttr = "/", &syscall.SysProcAttr{Setsid: true}
	life, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &keeper{c, life}, c.Start()
}

// end lets the keeper go, after the fleet was removed.
func (k *keeper) end() error { return errors.Join(k.life.Close(), k.c.Wait()) }

// keep is the keeper's process. It reads from its input until the test is no more.
func keep(folder, dir string) int {
	_, _ = io.Copy(io.Discard, os.Stdin)
	if _, err := os.Stat(folder); err != nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := removeAll(ctx, local.New(local.Options{Folder: folder})); err != nil {
		return 1
	}
	if left, _ := filepath.Glob(filepath.Join(folder, owner, "*", "*")); len(left) == 0 {
		_ = os.RemoveAll(filepath.Dir(dir))
	}
	return 0
}
