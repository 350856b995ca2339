package awstest

import (
	"net/http"
	"strings"
	"time"
)

// A bucket holds tokens: each request takes one.
type bucket struct {
	rate, burst float64
	tokens      float64
	at          time.Time
}

func (b *bucket) take(now time.Time) bool {
	if b.at.IsZero() {
		b.tokens = b.burst
	} else {
		b.tokens = min(b.burst, b.tokens+now.Sub(b.at).Seconds()*b.rate)
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// buckets are those that AWS documents, as of 2026-11-23, by action; "" and its like are for all others.
// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
// https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/elb-api-throttling.html
func buckets() map[string]*bucket {
	return map[string]*bucket{
		"RunInstances":       {rate: 2, burst: 5},
		"TerminateInstances": {rate: 5, burst: 100},
		"StartInstances":     {rate: 2, burst: 5},
		"CreateVolume":       {rate: 5, burst: 100},
		"DeleteVolume":       {rate: 5, burst: 100},
		"CreateSnapshot":     {rate: 5, burst: 100},
		"DeleteSnapshot":     {rate: 5, burst: 100},
		"CreateTags":         {rate: 10, burst: 100},
		"DeleteTags":         {rate: 10, burst: 100},
		"ec2 reads":          {rate: 20, burst: 100},
		"ec2 writes":         {rate: 5, burst: 50},
		"CreateLoadBalancer": {rate: 0.2, burst: 10},
		"RegisterTargets":    {rate: 4, burst: 20},
		"DeregisterTargets":  {rate: 4, burst: 20},
		"elb reads":          {rate: 10, burst: 40},
		"elb writes":         {rate: 3, burst: 20},
	}
}

// throttled refuses what AWS would refuse as too much.
func (c *Cloud) throttled(r *Request) (answer, bool) {
	c.mu.Lock()
	if !c.options.Throttle || r.Service != "ec2" && r.Service != "elasticloadbalancing" {
		c.mu.Unlock()
		return answer{}, false
	}
	b, ok := c.rates[r.Action]
	if !ok {
		name := strings.ReplaceAll(r.Service, "elasticloadbalancing", "elb") + " reads"
		if r.Mutating {
			name = strings.ReplaceAll(name, "reads", "writes")
		}
		b = c.rates[name]
	}
	ok = b.take(c.now())
	c.mu.Unlock()
	switch {
	case ok:
		return answer{}, false
	case r.Service == "ec2":
		return c.refusal(r, http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded."), true
	}
	return c.refusal(r, http.StatusBadRequest, "Throttling", "Rate exceeded"), true
}
