package gcptest

import (
	"fmt"
	"maps"
	"time"
)

// An operation is a change that takes time.
type operation struct {
	body object
	at   time.Time                       // when it is done
	real func() (then func(), err error) // what happens outside of the cloud meanwhile; nil: nothing
	end  func()                          // what it does then
	late *fault                          // why it fails
	undo func()                          // what it does if it fails
	own  bool                            // it ends by itself: see carry
}

// base is the beginning of the URLs of things.
const base = "https://www.googleapis.com/compute/v1/projects/" + Project + "/"

func stamp() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// number gives out one that was not used before.
func (c *Cloud) number() uint64 {
	c.last += 1 + c.last%7
	return 4_000_000_000_000_000_000 + c.last
}

// begin starts an operation on a thing.
func (c *Cloud) begin(r *call, place, target string, id any, end, undo func()) object {
	n := c.number()
	name := fmt.Sprintf("operation-%d", n)
	op := &operation{at: time.Now().Add(c.options.Slow), end: end, undo: undo, late: c.faulty(r.id, true), own: c.options.Hooks.some()}
	op.body = object{"kind": "compute#operation", "id": fmt.Sprint(n), "name": name, "operationType": r.verb, "targetLink": base + target, "targetId": id,
		"status": "RUNNING", "progress": 0, "insertTime": stamp(), "startTime": stamp(), "user": "tester@example.com", "selfLink": base + place + "/operations/" + name}
	if r.vars["zone"] != "" {
		op.body["zone"] = base + place
	} else if r.vars["region"] != "" {
		op.body["region"] = base + place
	}
	c.running = append(c.running, op)
	c.things[place+"/operations/"+name] = &thing{place: place, kind: "operations", name: name, body: op.body, ready: true}
	if op.own {
		op.real = c.real(r.verb, c.things[target])
		go c.carry(op)
	} else if c.options.Slow == 0 {
		c.advance()
	}
	return maps.Clone(op.body)
}

// advance ends the operations whose time has come.
func (c *Cloud) advance() {
	now := time.Now()
	for _, op := range c.running {
		if op.body["status"] == "DONE" || op.own || op.at.After(now) {
			continue
		}
		op.take()
		op.done()
	}
}

// take is the operation's effect.
func (op *operation) take() {
	switch {
	case op.late != nil && op.undo != nil:
		op.undo()
	case op.late == nil && op.end != nil:
		op.end()
	}
}

// done says of the operation that it is, and how it ended.
func (op *operation) done() {
	op.body["status"], op.body["progress"], op.body["endTime"] = "DONE", 100, stamp()
	if f := op.late; f != nil {
		op.body["error"] = object{"errors": []any{object{"code": f.code, "message": f.message}}}
		op.body["httpErrorStatusCode"], op.body["httpErrorMessage"] = f.status, "SERVICE UNAVAILABLE"
	}
}

// waited answers when the operation is done, or after two seconds in which it is not: Google takes two minutes.
func (c *Cloud) waited(r *call) (object, *refusal) {
	t := c.things[r.place()+"/operations/"+r.name()]
	if t == nil {
		return nil, missing(r.place() + "/operations/" + r.name())
	}
	for end := time.Now().Add(2 * time.Second); t.body["status"] != "DONE" && time.Now().Before(end); c.advance() {
		c.mu.Unlock()
		time.Sleep(time.Millisecond)
		c.mu.Lock()
	}
	return maps.Clone(t.body), nil
}

func missing(path string) *refusal {
	return refuse(404, "notFound", "The resource 'projects/%s/%s' was not found", Project, path)
}
