package keeper

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/provisionhq/provision/providers"
)

// clearFiles takes files for objects and the first part of their names for their owners.
func clearFiles(_ context.Context, folder string, mine func(providers.Owner) bool) (found int, err error) {
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	for _, f := range files {
		if mine(providers.Owner(filepath.Base(f))) {
			found++
			err = os.Remove(f)
		}
	}
	return found, err
}

// childEnv says that this program is to be a test that is about to be killed, and where it makes things.
const childEnv = "KEEPER_TEST_FOLDER"

func TestMain(m *testing.M) {
	if ran, code := Part(os.Args, clearFiles); ran {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// TestChild is not a test of its own: TestKilled and others run it.
func TestChild(t *testing.T) {
	folder := os.Getenv(childEnv)
	if folder == "" {
		return
	}
	token := Keep(t, Kept{Folder: folder, Owner: "mine"}, clearFiles)
	for _, name := range []string{"mine", "mine-2", "mineral", "other"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("sleep", "60")
	c.Env = []string{token}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("begun " + strconv.Itoa(c.Process.Pid) + "\n")
	if os.Getenv("KEEPER_TEST_WAIT") != "" {
		time.Sleep(time.Minute)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
}

// begin runs TestChild until it has made its things.
func begin(t *testing.T, folder string, wait bool) (c *exec.Cmd, sleeper int) {
	t.Helper()
	c = exec.Command("/proc/self/exe", "-test.run=^TestChild$")
	c.Env = append(os.Environ(), childEnv+"="+folder)
	if wait {
		c.Env = append(c.Env, "KEEPER_TEST_WAIT=yes")
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if sleeper, _ = strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), "begun ")); sleeper == 0 {
		t.Fatalf("%q, %v", line, err)
	}
	return c, sleeper
}

func world(t *testing.T) (folder string) {
	t.Setenv("PROVISION_TEST_RECORDS", t.TempDir())
	return t.TempDir()
}

// until waits for what is so in the end.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func names(folder string) string {
	files, _ := filepath.Glob(filepath.Join(folder, "*"))
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	return strings.Join(files, " ")
}

// gone says that a process is no more, or is only waited for.
func gone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// TestKilled: what a killed test made is removed, with its processes, and nothing of others.
func TestKilled(t *testing.T) {
	folder := world(t)
	c, sleeper := begin(t, folder, true)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	until(t, "the record stays", func() bool { return names(records()) == "" })
	if left := names(folder); left != "mineral other" {
		t.Errorf("there is %q, want what others made", left)
	}
	until(t, "a process of the test is left", func() bool { return gone(sleeper) })
}

// TestAllKilled: if the keeper is killed too, the next program removes it, but nothing of a test that lives.
func TestAllKilled(t *testing.T) {
	folder, living := world(t), t.TempDir()
	c, _ := begin(t, folder, true)
	other, _ := begin(t, living, true)
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	keeper := keeperOf(t, c.Process.Pid)
	_ = unix.Kill(keeper, unix.SIGKILL)
	_ = c.Process.Kill()
	_ = c.Wait()
	until(t, "the keeper lives", func() bool { return gone(keeper) })
	if left := names(folder); left != "mine mine-2 mineral other" {
		t.Fatalf("there is %q", left)
	}
	until(t, "what others made is not all that is left", func() bool { // threads of a killed process may hold its lock a moment longer
		if err := Sweep(clearFiles); err != nil {
			t.Fatal(err)
		}
		return names(folder) == "mineral other"
	})
	if left := names(living); left != "mine mine-2 mineral other" {
		t.Errorf("of a test that lives there is %q", left)
	}
}

// keeperOf finds the keeper that a process has started.
func keeperOf(t *testing.T, parent int) int {
	t.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, p := range all {
		stat, _ := os.ReadFile(p)
		_, rest, _ := strings.Cut(string(stat), ") ")
		args, _ := os.ReadFile(filepath.Dir(p) + "/cmdline")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) && strings.HasPrefix(string(args), name) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			return pid
		}
	}
	t.Fatalf("process %d has no keeper", parent)
	return 0
}

// TestLeft: a test that ends and has left something fails, and it is removed.
func TestLeft(t *testing.T) {
	folder := world(t)
	c, _ := begin(t, folder, false)
	if err := c.Wait(); err == nil {
		t.Error("a test that leaves things passes")
	}
	if left := names(folder) + names(records()); left != "mineral other" {
		t.Errorf("there is %q, want what others made", left)
	}
}
