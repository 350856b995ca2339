package gcptest

// A fault is an error that a method meets.
type fault struct {
	method        string
	late          bool // of the operation, not of the request
	status, after int
	code, message string
	times         int
}

// Fail makes requests of the method ("compute.instances.insert"; "" is every one) fail so many times, with a Retry-After of so many
// seconds unless that is 0.
func (c *Cloud) Fail(method string, times, status int, reason, message string, after int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, &fault{method: method, status: status, code: reason, message: message, times: times, after: after})
}

// FailLate makes operations of the method fail so many times, after they were begun.
func (c *Cloud) FailLate(method string, times, status int, code, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, &fault{method: method, late: true, status: status, code: code, message: message, times: times})
}

// NoCapacity makes so many instances fail because the zone has none left.
func (c *Cloud) NoCapacity(times int) {
	c.FailLate("compute.instances.insert", times, 503, "ZONE_RESOURCE_POOL_EXHAUSTED", "The zone 'projects/"+Project+"/zones/"+Region+"-b' does not have enough resources available to fulfill the request.  Try a different zone, or try again later.")
}

// faulty returns the fault that the method meets now; nil if there is none.
func (c *Cloud) faulty(method string, late bool) *fault {
	for _, f := range c.faults {
		if f.late == late && f.times > 0 && (f.method == method || f.method == "") {
			f.times--
			return f
		}
	}
	return nil
}

// A cut is armed: so many places are passed until it strikes.
type cut struct {
	left   int
	struck bool
}

// Cut arms a cut of the connection at the n-th place from now, counted from 0: before the effect of the first request that changes
// something, after it, before the second, and so on. It strikes once. heal disarms it and says whether it has struck.
func (c *Cloud) Cut(n int) (heal func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := &cut{left: n}
	c.cut = mine
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.cut == mine {
			c.cut = nil
		}
		return mine.struck
	}
}

// struck passes a place, and says whether the cut is there.
func (c *Cloud) struck() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut == nil || c.cut.struck {
		return false
	}
	if c.cut.left > 0 {
		c.cut.left--
		return false
	}
	c.cut.struck = true
	return true
}
