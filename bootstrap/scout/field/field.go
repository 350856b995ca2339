//go:build linux

// Package field is what a scout does on the machine that it was sent to.
//
// A scout is a small static program. It answers requests on its standard input until that ends, and then everything that
// it opened ends too: so nothing is left when the connection breaks. It is not linked with package net/http, TLS or fmt, as
// it is carried to every machine over what may be a slow line.
//
// A request is one line: ID VERB ARGUMENT…, separated by blanks. Answers bear its ID: "ID . WORDS" any number of times,
// then "ID = WORDS" or "ID ! REASON". Requests run side by side. Package scout is the other end.
package field

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
)

// Greeting is the first line that a scout writes.
const Greeting = "scout 1"

// Program is the name of the program's file, before a suffix.
const Program = "node-scout"

// A scout is one run of the program.
type scout struct {
	mu     sync.Mutex // of what follows
	out    io.Writer
	offers map[string]*offer
	heard  map[string]bool // senders of datagrams
	opened []io.Closer
	ended  bool
}

// Main answers the requests that it reads, until there are no more, and returns the exit code. With the argument --vanish
// the program removes its own file first.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	for _, a := range args {
		if a != "--vanish" {
			io.WriteString(errOut, Program+": unknown argument "+a+"; it reads requests from its standard input and is run by provision\n")
			return 2
		}
		if self, err := os.Readlink("/proc/self/exe"); err == nil {
			os.Remove(self)
		}
	}
	s := &scout{out: out, offers: map[string]*offer{}, heard: map[string]bool{}}
	defer s.end()
	s.write(Greeting)
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), 4<<20)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) >= 2 {
			go s.answer(&request{s, words[0]}, words[1], words[2:])
		}
	}
	return 0
}

// answer does what one request asks for.
func (s *scout) answer(r *request, verb string, args []string) {
	verbs := map[string]struct {
		least int // arguments
		do    func(*request, []string) (string, error)
	}{
		"serve":  {2, s.serve},
		"offer":  {3, s.offer},
		"have":   {1, s.have},
		"fetch":  {6, s.fetch},
		"listen": {3, s.listen},
		"heard":  {0, s.listHeard},
		"reach":  {2, reach},
		"mtu":    {5, mtu},
		"disk":   {2, disk},
		"clock":  {0, clock},
		"dns":    {2, dns},
		"links":  {0, links},
		"write":  {1, writable},
	}
	v, ok := verbs[verb]
	words, err := "", errors.New("no request "+verb+" of so many arguments")
	if ok && len(args) >= v.least {
		words, err = v.do(r, args)
	}
	if err != nil {
		s.write(r.id + " ! " + flat(err.Error()))
		return
	}
	s.write(r.id + " = " + words)
}

// A request is one that is being answered.
type request struct {
	s  *scout
	id string
}

// say gives a part of the answer.
func (r *request) say(words ...string) { r.s.write(r.id + " . " + flat(strings.Join(words, " "))) }

// write writes one line at a time.
func (s *scout) write(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	io.WriteString(s.out, line+"\n")
}

// keep closes c when the scout ends; at once if it has ended.
func (s *scout) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		c.Close()
		return
	}
	s.opened = append(s.opened, c)
}

func (s *scout) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, c := range s.opened {
		c.Close()
	}
}

// flat makes one line of words.
func flat(words string) string { return strings.Join(strings.Fields(words), " ") }

// plain is the reason of an error without addresses and calls around it.
func plain(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return flat(err.Error())
}
