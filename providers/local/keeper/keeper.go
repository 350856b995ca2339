// Package keeper removes what a test made of provider local when the test's program is killed: at once, by a process that
// outlives it, and if that was killed too, by the next test's program that has a keeper.
//
// What there is to be removed is written to a record, which is locked as long as the test or its keeper lives, so a
// record without a lock is that of a run that is no more. The host's next start removes records and machines alike.
package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// records is where records are; it is emptied with each start of the host. Another one is for tests of this package.
func records() string {
	if other := os.Getenv("PROVISION_TEST_RECORDS"); other != "" {
		return other
	}
	return "/run/provision-test"
}

// name is what a program calls itself when it is a keeper; its record is file 3.
const name = "provision-test-keeper"

// tokenEnv is set in the processes that a test starts with Environment.
const tokenEnv = "PROVISION_TEST_RUN"

// Kept is what a test may leave behind.
type Kept struct {
	Folder string          `json:"folder"`           // of provider local; empty means its default
	Owner  providers.Owner `json:"owner,omitempty"`  // whose objects, with all whose name begins with it and a dash; empty means everybody's
	Dir    string          `json:"dir,omitempty"`    // a TempDir of the test, removed if the test was killed
	Tables []string        `json:"tables,omitempty"` // names of nft tables of family inet
	Token  string          `json:"token"`            // in the environment of the test's processes; set by Keep
}

// Clear removes an owner's objects, as local.Clear does, which this package cannot import for its tests' sake.
type Clear func(ctx context.Context, folder string, mine func(providers.Owner) bool) (found int, err error)

// Part runs a keeper, if the arguments say that this process is one. TestMain calls it first.
func Part(args []string, clear Clear) (ran bool, code int) {
	if len(args) != 1 || args[0] != name {
		return false, 0
	}
	return true, keep(clear)
}

// sweepOnce: what earlier runs left is looked for once in a program.
var sweepOnce sync.Once

// Keep starts a keeper for what t makes, after it has removed what runs left that are no more. At the end of t, after clean-ups
// that are registered later, it fails t if there is still something, and removes that. The entry of an environment that it
// returns marks processes as the test's: if the test is killed they are ended.
func Keep(t testing.TB, k Kept, clear Clear) (environment string) {
	t.Helper()
	if err := os.MkdirAll(records(), 0o700); err != nil {
		t.Fatal(err)
	}
	sweepOnce.Do(func() {
		if err := Sweep(clear); err != nil {
			t.Errorf("what earlier runs of tests left could not be removed: %v", err)
		}
	})
	k.Token = fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano())
	record, err := write(k)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("/proc/self/exe")
	c.Args, c.Dir, c.ExtraFiles = []string{name}, "/", []*os.File{record}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var said strings.Builder
	c.Stderr = &said
	life, err := c.StdinPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = io.WriteString(life, ended)
		life.Close()
		if err := c.Wait(); err != nil {
			t.Errorf("the test left something behind: %v\n%s", err, said.String())
		}
		record.Close()
	})
	return tokenEnv + "=" + k.Token
}

// ended is what a test tells its keeper that was not killed.
const ended = "ended"

// write writes a record and locks it, both before it has its name.
func write(k Kept) (*os.File, error) {
	f, err := os.CreateTemp(records(), "new-*")
	if err != nil {
		return nil, err
	}
	err = errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_EX), json.NewEncoder(f).Encode(k))
	return f, errors.Join(err, os.Rename(f.Name(), path(k)))
}

func path(k Kept) string { return filepath.Join(records(), k.Token+".json") }

// keep is the keeper's process. It reads from its input until the test is no more.
func keep(clear Clear) int {
	record := os.NewFile(3, "record")
	words, _ := io.ReadAll(os.Stdin)
	var k Kept
	err := json.NewDecoder(io.NewSectionReader(record, 0, 1<<20)).Decode(&k)
	found := 0
	if err == nil {
		found, err = k.remove(clear, string(words) != ended)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if found > 0 {
		fmt.Fprintf(os.Stderr, "%d objects, which are removed now\n", found)
		return 1
	}
	return 0
}

// Sweep removes what runs left that are no more: all at once, as the machines of one may be below the TempDir of another.
func Sweep(clear Clear) error {
	all, _ := filepath.Glob(filepath.Join(records(), "*.json"))
	errs := make([]error, len(all))
	var work sync.WaitGroup
	for i, r := range all {
		work.Go(func() {
			if err := sweep(r, clear); err != nil {
				errs[i] = fmt.Errorf("%s: %w", r, err)
			}
		})
	}
	work.Wait()
	return errors.Join(errs...)
}

func sweep(record string, clear Clear) error {
	f, err := os.Open(record)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil // it lives
	}
	var k Kept
	if err := json.NewDecoder(f).Decode(&k); err != nil {
		return err
	}
	_, err = k.remove(clear, true)
	return err
}

// quiet is how long nothing may appear any more after a test was killed; within is how long all may take.
const (
	quiet  = 3 * time.Second
	within = 4 * time.Minute
)

// remove removes what is kept. After a test that was killed it goes on until processes that it had started make nothing more.
func (k Kept) remove(clear Clear, killed bool) (found int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for last := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		if killed {
			k.end()
		}
		n, err := clear(ctx, k.Folder, k.mine)
		if found += n; n > 0 {
			last = time.Now()
		}
		if err == nil && (!killed && n == 0 || killed && time.Since(last) > quiet) {
			if err = k.rest(killed); err == nil {
				return found, nil
			}
		}
		if err != nil && !killed || ctx.Err() != nil {
			return found, errors.Join(err, ctx.Err())
		}
	}
}

// mine says whether the test has made what an owner has.
func (k Kept) mine(o providers.Owner) bool {
	return k.Owner == "" || o == k.Owner || strings.HasPrefix(string(o), string(k.Owner)+"-")
}

// rest removes what is not the provider's, and at last the record.
func (k Kept) rest(killed bool) error {
	for _, t := range k.Tables {
		_ = exec.Command("nft", "delete", "table", "inet", t).Run() // there is none, as a rule
	}
	if k.Dir != "" && killed {
		if err := removeTemp(k.Dir); err != nil {
			return err
		}
	}
	return os.Remove(path(k))
}

// removeTemp removes the folder of all TempDirs of the test, unless something is mounted below it.
func removeTemp(dir string) error {
	all := filepath.Dir(dir)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if strings.Contains(string(mounts), " "+all+"/") {
		return fmt.Errorf("something is still mounted below %s", all)
	}
	return os.RemoveAll(all)
}

// end kills the processes that have the test's token.
func (k Kept) end() {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, e := range all {
		text, err := os.ReadFile(e)
		if err != nil || !strings.Contains("\x00"+string(text), "\x00"+tokenEnv+"="+k.Token+"\x00") {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(e, "/proc/%d/", &pid); err == nil && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}
