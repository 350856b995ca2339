package crashtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Site is a folder in which the program works: a cluster's file, and below "w" all that a run may change: the program's
// state, the user's age identity, and the file that is the vendor. It is used by one goroutine at a time.
type Site struct {
	Dir     string
	Program string   // the program's path
	Env     []string // added to HOME, XDG_* and PATH
}

// NewSite makes a site with the cluster's file.
func NewSite(dir, program, cluster string) (*Site, error) {
	s := &Site{Dir: dir, Program: program}
	for _, d := range []string{s.Root(), s.Home(), s.temp(), s.Elsewhere()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	return s, os.WriteFile(filepath.Join(dir, "cluster.hcl"), []byte(cluster), 0o600)
}

// Copy makes a site that is like this one.
func (s *Site) Copy(dir string) (*Site, error) {
	if err := copyTree(s.Dir, dir); err != nil {
		return nil, err
	}
	return &Site{Dir: dir, Program: s.Program, Env: s.Env}, nil
}

// Root is the folder of what a run may change.
func (s *Site) Root() string { return filepath.Join(s.Dir, "w") }

// Home is the user's home folder.
func (s *Site) Home() string { return filepath.Join(s.Root(), "home") }

// temp is the folder of temporary files.
func (s *Site) temp() string { return filepath.Join(s.Root(), "tmp") }

// State is the folder that has the cluster's state folder in it.
func (s *Site) State() string { return filepath.Join(s.Home(), "state") }

// Elsewhere is a folder for a copy of the state if it is in a bucket; who uses the site copies it there.
func (s *Site) Elsewhere() string { return filepath.Join(s.Dir, "elsewhere") }

// Identity is the path of the user's age identity.
func (s *Site) Identity() string { return filepath.Join(s.Home(), "config/provision/identity.age") }

// Vendor is the path of the file that is the vendor. The cluster's file names it as "w/vendor.db".
func (s *Site) Vendor() string { return filepath.Join(s.Root(), "vendor.db") }

// An Outcome is what became of one run.
type Outcome struct {
	Args   []string
	Exit   Exit
	Output string // both streams
}

// OK says whether the program ended well.
func (o Outcome) OK() bool { return o.Exit.Code == 0 }

// question is what the program says where it wants an answer, or has nobody to ask.
var question = regexp.MustCompile(`Do this\?|no terminal to ask|nobody to ask|answer was not yes|\[y/N\]|\(yes/no\)`)

// Asked says whether the program asked something, or wanted to.
func (o Outcome) Asked() bool { return question.MatchString(o.Output) }

// String is the command line, how it ended, and what it said.
func (o Outcome) String() string {
	end := fmt.Sprintf("exit %d", o.Exit.Code)
	if o.Exit.Signal != 0 {
		end = o.Exit.Signal.String()
	}
	return fmt.Sprintf("provision %q: %s\n%s", o.Args, end, o.Output)
}

// command is the program in the site, with both streams in one file.
func (s *Site) command(args []string) (*exec.Cmd, *os.File, error) {
	out, err := os.CreateTemp(s.Dir, "output-")
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(s.Program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, out, out
	cmd.Env = append([]string{
		"HOME=" + s.Home(), "XDG_STATE_HOME=" + s.State(), "XDG_CONFIG_HOME=" + filepath.Join(s.Home(), "config"),
		"TMPDIR=" + s.temp(), "XDG_CACHE_HOME=" + filepath.Join(s.Home(), "cache"), "PATH=/usr/bin:/bin", "NO_COLOR=1",
	}, s.Env...)
	return cmd, out, nil
}

// Run runs the program to its end, for at most five minutes.
func (s *Site) Run(args ...string) (Outcome, error) {
	return s.run(args, func(*os.Process) {})
}

// Interrupted runs the program; signals is called meanwhile and may send it some. It must not wait for the program's end.
func (s *Site) Interrupted(signals func(send func(syscall.Signal)), args ...string) (Outcome, error) {
	return s.run(args, func(p *os.Process) { signals(func(sig syscall.Signal) { p.Signal(sig) }) })
}

// Measured runs the program and returns how much memory it had at most, in bytes, as seen every two milliseconds.
func (s *Site) Measured(args ...string) (o Outcome, peak int64, err error) {
	var watch sync.WaitGroup
	o, err = s.run(args, func(p *os.Process) {
		watch.Go(func() {
			for kb := peakOf(p.Pid); kb >= 0; kb = peakOf(p.Pid) {
				peak = max(peak, kb<<10)
				time.Sleep(2 * time.Millisecond)
			}
		})
	})
	watch.Wait()
	return o, peak, err
}

// peakOf returns the peak of a process's resident memory in KiB; -1 if it has none, as one that has ended.
func peakOf(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kb int64
			fmt.Sscan(rest, &kb)
			return kb
		}
	}
	return -1
}

// run runs the program to its end and calls during as soon as it has begun.
func (s *Site) run(args []string, during func(*os.Process)) (Outcome, error) {
	cmd, out, err := s.command(args)
	if err != nil {
		return Outcome{}, err
	}
	defer drop(out)
	// A Watch waits for all children of its thread. So the thread that starts this one does nothing else until it is gone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return Outcome{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	during(cmd.Process)
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Outcome{}, err
	}
	e := Exit{Code: cmd.ProcessState.ExitCode(), Late: ctx.Err() != nil, Took: time.Since(start)}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		e.Signal = ws.Signal()
	}
	return Outcome{Args: args, Exit: e, Output: read(out)}, nil
}

// Watch runs the program under ptrace; see Watch.
func (s *Site) Watch(w Watch, args ...string) (Outcome, error) {
	cmd, out, err := s.command(args)
	if err != nil {
		return Outcome{}, err
	}
	defer drop(out)
	w.Root = s.Root()
	e, err := w.Run(cmd)
	return Outcome{Args: args, Exit: e, Output: read(out)}, err
}

func drop(f *os.File) {
	f.Close()
	os.Remove(f.Name())
}

func read(f *os.File) string {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err.Error()
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil {
		return err.Error()
	}
	return b.String()
}

// copyTree copies a folder with its files, and their modes.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, info.Mode().Perm())
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, info.Mode().Perm())
	})
}

// Files names the files of the user's home, state and all, that there are, without what is random in a name.
func (s *Site) Files() []string {
	var files []string
	filepath.WalkDir(s.Home(), func(path string, d fs.DirEntry, err error) error {
		if rel, rerr := filepath.Rel(s.Home(), path); err == nil && rerr == nil && !d.IsDir() {
			files = append(files, random.ReplaceAllString(rel, "*"))
		}
		return nil
	})
	slices.Sort(files)
	return slices.Compact(files)
}

// Age makes all files of the user's home older.
func (s *Site) Age(by time.Duration) error {
	return filepath.WalkDir(s.Home(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		then := info.ModTime().Add(-by)
		return os.Chtimes(path, then, then)
	})
}

// Left names the clusters that have a state.
func (s *Site) Left() []string {
	var left []string
	in, _ := os.ReadDir(filepath.Join(s.State(), "provision"))
	for _, e := range in {
		if !strings.HasPrefix(e.Name(), ".") { // what is known of all clusters, gone ones too
			left = append(left, e.Name())
		}
	}
	slices.Sort(left)
	return left
}

// Killed runs the program and kills it after so long, if it still runs then.
func (s *Site) Killed(after time.Duration, args ...string) (Outcome, error) {
	return s.Interrupted(func(send func(syscall.Signal)) {
		time.Sleep(after)
		send(syscall.SIGKILL)
	}, args...)
}
