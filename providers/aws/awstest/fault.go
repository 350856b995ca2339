package awstest

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// A fault is an error that an action meets.
type fault struct {
	status        int
	code, message string
	times         int
}

// Fail makes the action fail with the code so many times.
func (c *Cloud) Fail(action string, times, status int, code, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[action] = &fault{status, code, message, times}
}

// NoCapacity makes RunInstances say so many times that there is no machine of that type left.
func (c *Cloud) NoCapacity(times int) {
	c.Fail("RunInstances", times, http.StatusInternalServerError, "InsufficientInstanceCapacity", "We currently do not have sufficient capacity in the Availability Zone you requested.")
}

func (c *Cloud) faulty(r *Request) (answer, bool) {
	c.mu.Lock()
	f := c.faults[r.Action]
	if f == nil || f.times == 0 {
		c.mu.Unlock()
		return answer{}, false
	}
	f.times--
	c.mu.Unlock()
	return c.refusal(r, f.status, f.code, f.message), true
}

// A token is what was answered to a request that may be repeated.
type token struct {
	mu     sync.Mutex // held while the first of them is answered
	input  string
	answer *answer // nil: none had success yet
}

// tokenOf returns under which key the request is one and the same when it is made again; empty if it never is. Elastic Load
// Balancing has names in place of tokens.
func tokenOf(r *Request) string {
	switch {
	case r.Form.Get("ClientToken") != "":
		return r.Action + " " + r.Form.Get("ClientToken")
	case r.Action == "CreateLoadBalancer", r.Action == "CreateTargetGroup":
		return r.Action + " " + r.Form.Get("Name")
	}
	return ""
}

// changed is what AWS calls the same token or name with other input.
func changed(action string) (code, message string) {
	switch action {
	case "CreateLoadBalancer":
		return "DuplicateLoadBalancerName", "A load balancer with the same name exists, but with different settings"
	case "CreateTargetGroup":
		return "DuplicateTargetGroupName", "A target group with the same name exists, but with different settings"
	}
	return "IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
}

// once makes the request, or repeats what was answered to it before.
func (c *Cloud) once(key string, r *Request, ask func() answer) answer {
	c.mu.Lock()
	t := c.tokens[key]
	if t == nil {
		t = &token{}
		c.tokens[key] = t
	}
	c.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if input := digest(r); t.answer == nil {
		t.input = input
	} else if t.input != input {
		code, message := changed(r.Action)
		return c.refusal(r, http.StatusBadRequest, code, message)
	} else {
		return *t.answer
	}
	a := ask()
	if a.code == "" {
		t.answer = &a
	}
	return a
}

func digest(r *Request) string {
	h := sha256.New()
	for _, k := range slices.Sorted(maps.Keys(r.Form)) {
		h.Write([]byte(k + "=" + strings.Join(r.Form[k], "\x00") + "\x01"))
	}
	return hex.EncodeToString(h.Sum(nil))
}
