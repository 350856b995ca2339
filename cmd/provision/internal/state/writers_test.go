package state

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket/buckettest"
)

var writers = flag.Int("writers", 0, "how many stopped writers TestTwoWriters wants to see refused, on each kind of place; 0: a few")

// TestTwoWriters: a writer in a process of its own is stopped at any moment, another takes over, the first goes on. What
// either said is written is there in the end, and nothing of the first that came after the second had read.
func TestTwoWriters(t *testing.T) {
	n := *writers
	if n == 0 {
		n = 10
	}
	r := &writersRig{t: t, ttl: 200 * time.Millisecond}
	for i := 0; r.refused < n && !t.Failed(); i++ {
		dir := t.TempDir()
		r.env = []string{"STATE_TEST_FOLDER=" + filepath.Join(dir, "state"), "STATE_TEST_SEEN=" + filepath.Join(dir, "seen")}
		r.options = Options{Cluster: "demo", Folder: filepath.Join(dir, "state"), Seen: filepath.Join(dir, "seen"), Identity: r.identity()}
		r.round(i)
	}
	r.report()
}

// TestTwoWritersInBuckets is the same on the servers of package buckettest.
func TestTwoWritersInBuckets(t *testing.T) {
	n := *writers
	if n == 0 {
		n = 3
	}
	for _, server := range buckettest.Servers(t) {
		t.Run(server.Name, func(t *testing.T) {
			t.Parallel()
			r := &writersRig{t: t, ttl: 500 * time.Millisecond}
			for i := 0; r.refused < n && !t.Failed(); i++ {
				url, seen := server.URL(fmt.Sprintf("w%d", i)), t.TempDir()
				r.env = []string{"STATE_TEST_URL=" + url, "STATE_TEST_SEEN=" + seen}
				r.options = Options{Cluster: "demo", URL: url, Seen: seen, Identity: r.identity()}
				r.round(i)
			}
			r.report()
		})
	}
}

// A writersRig runs rounds and counts.
type writersRig struct {
	t       *testing.T
	ttl     time.Duration
	env     []string
	options Options // to read what there is in the end
	dir     string

	acknowledged, refused, survived, unreached, unsaid, late int
}

// identity is one for all rounds.
func (r *writersRig) identity() string {
	if r.dir == "" {
		r.dir = r.t.TempDir()
	}
	return filepath.Join(r.dir, "identity.age")
}

// report tells what the rounds have shown.
func (r *writersRig) report() {
	r.t.Logf("writes said to be done: %d, all there; writers refused: %d; that went on in time: %d; that had no answer: %d; refused writes that the next writer had read: %d; stale writes accepted: %d",
		r.acknowledged, r.refused, r.survived, r.unreached, r.unsaid, r.late)
}

// A writer is a process that writes.
type writer struct {
	name  string
	cmd   *exec.Cmd
	in    io.Closer // closed: finish
	lines chan string
	read  []string // what it found when it opened the state
	acks  []string
	open  bool
	end   string // "closed" or "fenced"
}

// stopped waits until the process has stopped itself.
func stopped(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		must(t, err)
		if f := strings.Fields(string(b[strings.LastIndex(string(b), ")")+1:])); f[0] == "T" {
			return
		}
	}
	t.Fatal("the first writer does not stop")
}

func (r *writersRig) start(name string, strange bool, steps int) *writer {
	r.t.Helper()
	c := command(r.t, Options{Identity: r.identity()}, "write")
	c.Env = append(c.Env, r.env...)
	c.Env = append(c.Env, "STATE_TEST_NAME="+name, "STATE_TEST_TTL="+r.ttl.String(), fmt.Sprintf("STATE_TEST_STRANGE=%v", strange), fmt.Sprintf("STATE_TEST_STEPS=%d", steps))
	in, err := c.StdinPipe()
	must(r.t, err)
	out, err := c.StdoutPipe()
	must(r.t, err)
	must(r.t, c.Start())
	w := &writer{name: name, cmd: c, in: in, lines: make(chan string, 100_000)}
	go func() {
		defer close(w.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			w.lines <- s.Text()
		}
	}()
	r.t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return w
}

// hear takes the writer's next line; false at its end.
func (w *writer) hear() bool {
	line, ok := <-w.lines
	if !ok {
		return false
	}
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "read":
		w.read = append(w.read, rest)
	case "ok":
		w.acks = append(w.acks, rest)
	case "opened":
		w.open = true
	default:
		w.end = line
	}
	return true
}

// until hears the writer until what it said is enough.
func (w *writer) until(enough func() bool) bool {
	for !enough() {
		if !w.hear() {
			return false
		}
	}
	return true
}

// round stops the first writer: at a random moment, or between two random parts of a write, where it stops itself. In most
// rounds it goes on when the second writes; in some at about the time when its lease ends, so that the two race.
func (r *writersRig) round(i int) {
	r.t.Helper()
	strange, race, within := i%2 == 1, i%8 >= 6, i%8 < 4
	steps := 0
	if within {
		steps = 8 + rand.IntN(100)
	}
	a := r.start("a", strange, steps)
	if within {
		stopped(r.t, a.cmd.Process.Pid)
	} else {
		many := rand.IntN(20)
		if !a.until(func() bool { return a.end != "" || len(a.acks) > many }) || a.end != "" {
			r.t.Fatalf("round %d: the first writer ends with %q", i, a.end)
		}
		time.Sleep(rand.N(5 * time.Millisecond))
		must(r.t, a.cmd.Process.Signal(syscall.SIGSTOP))
	}
	b := r.start("b", strange, 0)
	if race {
		time.Sleep(r.ttl + rand.N(r.ttl/2) - r.ttl/4)
	} else {
		b.until(func() bool { return b.open })
		more := rand.IntN(10)
		b.until(func() bool { return len(b.acks) > more })
	}
	must(r.t, a.cmd.Process.Signal(syscall.SIGCONT))
	if race { // if it went on in time, the second waits for it
		time.Sleep(rand.N(r.ttl))
	}
	a.in.Close()
	a.until(func() bool { return false })
	more := len(b.acks) + 3
	b.until(func() bool { return len(b.acks) > more })
	b.in.Close()
	b.until(func() bool { return false })
	r.check(i, a, b)
}

// check compares what was said with what there is.
func (r *writersRig) check(i int, a, b *writer) {
	r.t.Helper()
	switch {
	case a.end == "unreachable" || b.end == "unreachable": // a server that is too busy; what was said counts nonetheless
		r.unreached++
	case b.end != "closed" || a.end != "closed" && a.end != "fenced":
		r.t.Fatalf("round %d: the writers end with %q and %q", i, a.end, b.end)
	case a.end == "fenced":
		r.refused++
	default:
		r.survived++
	}
	o := r.options
	o.ReadOnly = true
	s, err := Open(r.t.Context(), o)
	for try := 0; unreachable(err) && try < 5; try++ {
		s, err = Open(r.t.Context(), o)
	}
	must(r.t, err)
	defer s.Close()
	have := map[string]bool{}
	for _, rec := range s.Records() {
		have[rec.Address] = true
		if b.open && strings.HasPrefix(rec.Address, "a") && !slices.Contains(b.read, rec.Address) {
			r.late++
			r.t.Errorf("round %d: %s is there, which the second writer did not find when it took over", i, rec.Address)
		}
	}
	for _, w := range []*writer{a, b} {
		for _, ack := range w.acks {
			kind, what, _ := strings.Cut(ack, " ")
			r.acknowledged++
			if kind == "record" && !have[what] {
				r.t.Errorf("round %d: %s was said to be written (%s), and is not there", i, what, w.end)
			}
		}
	}
	for _, address := range b.read {
		if !slices.Contains(a.acks, "record "+address) {
			r.unsaid++
		}
	}
	if last := lastSecret(b.acks); last != "" {
		if got, _ := s.Secret("canary"); string(got) != last {
			r.t.Errorf("round %d: the secret is %q; want %q", i, got, last)
		}
	}
}

func lastSecret(acks []string) (last string) {
	for _, a := range acks {
		if s, ok := strings.CutPrefix(a, "secret "); ok {
			last = s
		}
	}
	return last
}

// unreachable says, also to the other process, that the bucket did not answer in time.
func unreachable(err error) bool {
	var store *StoreError
	if !errors.As(err, &store) || store.DiagnosticID() != "state-unreachable" {
		return false
	}
	fmt.Println("unreachable")
	return true
}

// stopAfter stops this process at the n-th step.
func stopAfter(n int64) step {
	var count atomic.Int64
	return func() {
		if count.Add(1) == n {
			syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			// The signal may come a moment later, to another thread: this one does not go on before.
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// writeUntilTold is the writer's side: records, now and then a secret or a compaction, and a word when each is done.
func writeUntilTold(o Options) error {
	name := os.Getenv("STATE_TEST_NAME")
	ttl, err := time.ParseDuration(os.Getenv("STATE_TEST_TTL"))
	if err != nil {
		return err
	}
	o.TTL, o.Wait, o.URL, o.strange = ttl, time.Minute, os.Getenv("STATE_TEST_URL"), os.Getenv("STATE_TEST_STRANGE") == "true"
	if steps, err := strconv.Atoi(os.Getenv("STATE_TEST_STEPS")); err != nil {
		return err
	} else if steps > 0 {
		o.step = stopAfter(int64(steps))
	}
	s, err := Open(context.Background(), o)
	if unreachable(err) {
		return nil
	} else if err != nil {
		return err
	}
	for _, r := range s.Records() {
		fmt.Println("read", r.Address)
	}
	fmt.Println("opened")
	told := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(told)
	}()
	for k := 0; ; k++ {
		select {
		case <-told:
			if err := s.Close(); unreachable(err) {
				return nil
			} else if err != nil {
				return err
			}
			fmt.Println("closed")
			return nil
		default:
		}
		what := fmt.Sprintf("record %s[%d]", name, k)
		switch {
		case k%9 == 5:
			what = fmt.Sprintf("secret %s%d", name, k)
			err = s.SetSecrets(map[string][]byte{"canary": []byte(strings.TrimPrefix(what, "secret "))})
		case k%13 == 7:
			what = "compaction"
			err = s.Compact(func(rs []Record) []Record { return rs })
		default:
			err = s.Append(Record{Type: Note, Address: strings.TrimPrefix(what, "record ")})
		}
		var fenced *FencedError
		if errors.As(err, &fenced) {
			select {
			case <-s.Lost():
			default:
				return errors.New("a write is refused, and the lease does not count as lost")
			}
			if err := s.Append(Record{Type: Note, Address: "after"}); !errors.As(err, &fenced) {
				return fmt.Errorf("after a refusal: %w", err)
			}
			fmt.Println("fenced")
			return s.Close()
		}
		if unreachable(err) {
			return nil
		} else if err != nil {
			return err
		}
		fmt.Println("ok", what)
	}
}
