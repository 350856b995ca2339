package doctor

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/bootstrap/scout"
	"github.com/provisionhq/provision/bootstrap/ssh"
)

// A subject is a host and all that was found out about it.
type subject struct {
	Host
	conn    ssh.Host
	failure error // of the connection, or of the script
	facts   facts
	scout   *scout.Scout
	offset  offset // of its clock

	mu      sync.Mutex
	skipped []string // parts that were not examined, and why

	links      []link
	timekeeper string // "kept", "free" or "unknown"
	disk       *diskTime
	unwritable map[string]string // why, by folder
	dns        map[string]string // why a name server does not answer, by its address
	ports      map[string]string // what became of a listener, by protocol/port
	misses     []miss
	mtus       map[netip.Addr]int  // of paths that carry less than they should, by peer
	heard      map[netip.Addr]bool // peers whose datagrams came
}

// offset is by how much a clock is ahead of ours.
type offset struct {
	by    time.Duration
	error time.Duration // at most
	known bool
}

type link struct {
	name  string
	mtu   int
	mac   string
	addrs []netip.Prefix
}

type diskTime struct{ p50, p99, max time.Duration }

// A miss is a port of a peer that does not answer as it should.
type miss struct {
	peer  netip.Addr
	proto string
	port  int
	how   string
}

type examination struct {
	o        Options
	subjects []*subject
	token    string
}

func newExamination(hosts []Host, o Options) *examination {
	e := &examination{o: o, token: rand.Text()}
	for _, h := range hosts {
		e.subjects = append(e.subjects, &subject{Host: h})
	}
	return e
}

func (e *examination) close() {
	for _, s := range e.subjects {
		if s.scout != nil {
			s.scout.Close()
			<-s.scout.Done() // so that what it wrote with is gone before its connection
		}
		if s.conn != nil && !s.Keep {
			s.conn.Close()
		}
	}
}

// each does something for all subjects that can be talked to, side by side.
func (e *examination) each(ctx context.Context, width int, limit time.Duration, do func(context.Context, *subject)) {
	var all sync.WaitGroup
	slots := make(chan struct{}, width)
	for _, s := range e.subjects {
		if s.failure != nil {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			do(ctx, s)
		})
	}
	all.Wait()
}

func (e *examination) connect(ctx context.Context) {
	e.each(ctx, e.o.Width, e.o.Connect, func(ctx context.Context, s *subject) { s.conn, s.failure = s.Dial(ctx) })
}

// survey runs the script. The moment in which its first line comes tells how late the clock's reading is.
func (e *examination) survey(ctx context.Context) {
	e.each(ctx, len(e.subjects)+1, e.o.Patience, func(ctx context.Context, s *subject) {
		var text strings.Builder
		var come time.Time
		sent := time.Now()
		_, err := s.conn.Run(ctx, ssh.Command{Line: ssh.Quote("sh", "-c", surveyScript, "provision-survey"), Lines: func(l string) {
			if come.IsZero() {
				come = time.Now()
			}
			text.WriteString(l + "\n")
		}})
		if s.failure = err; err != nil {
			return
		}
		if s.facts, s.failure = parseFacts(text.String()); s.failure != nil {
			s.failure = fmt.Errorf("%s: survey: %w", s.Name, s.failure)
			return
		}
		if at, exact, err := moment(s.facts.one("time")); err == nil {
			s.offset = between(sent, come, at)
			if !exact {
				s.offset.error += 500 * time.Millisecond
			}
		}
	})
}

// between is the offset of a clock that showed the time at between two moments of ours. Half of what lies between them is
// taken for the way there.
func between(sent, come, at time.Time) offset {
	half := come.Sub(sent) / 2
	return offset{by: at.Sub(sent.Add(half)), error: half, known: true}
}

// sendScouts starts the program on all machines where a program can be.
func (e *examination) sendScouts(ctx context.Context) {
	e.each(ctx, len(e.subjects)+1, e.o.Patience, func(ctx context.Context, s *subject) {
		switch {
		case s.facts.one("uid") != "0":
			return // found by the survey
		case e.o.Scout == nil:
			s.skip(everything, "the program "+scout.Program+" is not at hand")
			return
		case e.o.Arch != "" && goArch(s.facts.one("arch")) != e.o.Arch:
			s.skip(everything, "the program "+scout.Program+" is for "+e.o.Arch)
			return
		case len(s.facts["exec"]) == 0:
			s.skip(everything, "no folder was found that a program can be run from")
			return
		}
		var err error
		path := s.facts.one("exec") + "/." + scout.Program + "-" + rand.Text()[:8]
		if s.scout, err = scout.Start(ctx, s.conn, s.Name, e.o.Scout, path); err != nil {
			s.scout = nil
			s.skip(everything, strings.TrimPrefix(err.Error(), s.Name+": "))
		}
	})
}
