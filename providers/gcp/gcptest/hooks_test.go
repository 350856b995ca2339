package gcptest

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder are hooks that write down what they were called for.
type recorder struct {
	mu   sync.Mutex
	said []string
	last Balancer
	fail error
}

func (r *recorder) say(format string, args ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
	return r.fail
}

// heard returns what was said since the last time.
func (r *recorder) heard() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := strings.Join(r.said, "; ")
	r.said = nil
	return text
}

func (r *recorder) hooks() Hooks {
	return Hooks{
		MakeNetwork: func(n Network) error { return r.say("make %s/%s %s", n.Network, n.Name, n.Range) },
		DropNetwork: func(n Network) error { return r.say("drop %s", n.Name) },
		Start: func(i Instance) (private, public netip.Addr, err error) {
			err = r.say("start %s in %s at %s, a %s of %d and %d, disk %d, in %s %s: %s %v %v", i.Name, i.Zone, i.Private, i.Type, i.CPUs, i.MemoryMiB, i.DiskGiB, i.Network.Name, i.Hostname, i.Metadata["startup-script"], i.Tags, i.Labels)
			return netip.MustParseAddr("10.20.0.77"), netip.MustParseAddr("192.0.2.7"), err
		},
		Stop:    func(i Instance) error { return r.say("stop %s", i.Name) },
		Delete:  func(i Instance) error { return r.say("delete %s", i.Name) },
		Console: func(i Instance) string { return fmt.Sprintf("console of %s at %s", i.Name, i.Private) },
		Reserve: func(a Reservation) (netip.Addr, error) {
			return netip.MustParseAddr("127.0.0.9"), r.say("reserve %s", a.Name)
		},
		Release:   func(a Reservation) error { return r.say("release %s", a.Address) },
		Forward:   func(b Balancer) error { r.last = b; return r.say("forward %s", b.Name) },
		Unforward: func(b Balancer) error { return r.say("unforward %s", b.Name) },
	}
}

// change makes a change and waits for its end. It returns the code of an operation that failed.
func change(t *testing.T, c *Cloud, verb, path, body string) string {
	t.Helper()
	status, reason, op := ask(t, c, verb, path, body)
	if status != http.StatusOK {
		t.Fatalf("%s %s: %d %s %v", verb, path, status, reason, op)
	}
	where := op["selfLink"].(string)
	for op["status"] != "DONE" {
		_, _, op = ask(t, c, "POST", where[len(base):]+"/wait", "")
	}
	if e, ok := op["error"].(object); ok {
		return e["errors"].([]any)[0].(object)["code"].(string)
	}
	return ""
}

const zone = "zones/" + Region + "-b"

// furnished is a cloud with a network in which there is one instance.
func furnished(t *testing.T, r *recorder) *Cloud {
	c, err := New(Options{Hooks: r.hooks()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	change(t, c, "POST", "global/networks", `{"name":"n","autoCreateSubnetworks":false}`)
	change(t, c, "POST", "regions/"+Region+"/subnetworks", `{"name":"s","network":"global/networks/n","ipCidrRange":"10.20.0.0/24"}`)
	if got := r.heard(); got != "make n/s 10.20.0.0/24" {
		t.Errorf("for a subnetwork: %s", got)
	}
	change(t, c, "POST", zone+"/instances", instance)
	return c
}

const instance = `{"name":"i","hostname":"i.example.internal","machineType":"` + zone + `/machineTypes/e2-small","labels":{"a":"b"},"tags":{"items":["x"]},
	"metadata":{"items":[{"key":"startup-script","value":"#!/bin/sh"}]},
	"networkInterfaces":[{"subnetwork":"regions/` + Region + `/subnetworks/s","accessConfigs":[{"name":"out"}]}],
	"disks":[{"boot":true,"autoDelete":true,"initializeParams":{"diskSizeGb":"33","diskType":"` + zone + `/diskTypes/pd-balanced","sourceImage":"projects/debian-cloud/global/images/debian-13-v20261101"}}]}`

func TestHooksOfInstances(t *testing.T) {
	r := &recorder{}
	c := furnished(t, r)
	if want, got := "start i in "+Region+"-b at 10.20.0.2, a e2-small of 2 and 2048, disk 33, in s i.example.internal: #!/bin/sh [x] map[a:b]", r.heard(); got != want {
		t.Errorf("for an instance: %s\nwant: %s", got, want)
	}
	_, _, i := ask(t, c, "GET", zone+"/instances/i", "")
	nic := i["networkInterfaces"].([]any)[0].(object)
	if nic["networkIP"] != "10.20.0.77" || nic["accessConfigs"].([]any)[0].(object)["natIP"] != "192.0.2.7" || i["status"] != "RUNNING" {
		t.Errorf("the instance has not the addresses of its machine, or does not run: %v", i)
	}
	if _, _, o := ask(t, c, "GET", zone+"/instances/i/serialPort", ""); o["contents"] != "console of i at 10.20.0.77" {
		t.Errorf("the console has %v", o["contents"])
	}
	for _, s := range []struct{ verb, path, want string }{
		{"POST", "/start", ""}, // it runs already
		{"POST", "/stop", "stop i"},
		{"POST", "/start", "start i"},
		{"DELETE", "", "delete i"},
	} {
		change(t, c, s.verb, zone+"/instances/i"+s.path, "")
		if got := r.heard(); s.want == "" && got != "" || !strings.HasPrefix(got, s.want) {
			t.Errorf("for %s %s: %q, want %q", s.verb, s.path, got, s.want)
		}
	}
	r.fail = errors.New("no room")
	if code := change(t, c, "POST", zone+"/instances", instance); code != "INTERNAL_ERROR" {
		t.Errorf("an instance without a machine: %q", code)
	}
	if status, _, _ := ask(t, c, "GET", zone+"/instances/i", ""); status != http.StatusNotFound {
		t.Errorf("an instance without a machine is there: %d", status)
	}
	r.fail = nil
	change(t, c, "DELETE", "regions/"+Region+"/subnetworks/s", "")
	if got := r.heard(); !strings.HasSuffix(got, "drop s") {
		t.Errorf("for the end of a subnetwork: %s", got)
	}
}

func TestHooksOfBalancers(t *testing.T) {
	r := &recorder{}
	c := furnished(t, r)
	r.heard()
	region := "regions/" + Region
	for _, s := range []struct{ verb, path, body, want string }{
		{"POST", region + "/addresses", `{"name":"a"}`, "reserve a"},
		{"POST", region + "/healthChecks", `{"name":"h","type":"TCP","tcpHealthCheck":{"port":6443}}`, ""},
		{"POST", zone + "/networkEndpointGroups", `{"name":"g","networkEndpointType":"GCE_VM_IP","network":"global/networks/n","subnetwork":"` + region + `/subnetworks/s"}`, ""},
		{"POST", region + "/backendServices", `{"name":"b","protocol":"UNSPECIFIED","loadBalancingScheme":"EXTERNAL","healthChecks":["` + region + `/healthChecks/h"],"backends":[{"group":"` + zone + `/networkEndpointGroups/g"}]}`, ""},
		{"POST", "global/firewalls", `{"name":"f","network":"global/networks/n","destinationRanges":["127.0.0.9/32"],"sourceRanges":["0.0.0.0/0"],"allowed":[{"IPProtocol":"tcp","ports":["6443","80-90"]}]}`, ""},
		{"POST", region + "/forwardingRules", `{"name":"r","IPProtocol":"L3_DEFAULT","allPorts":true,"loadBalancingScheme":"EXTERNAL","IPAddress":"` + region + `/addresses/a","backendService":"` + region + `/backendServices/b"}`, "forward r"},
		{"POST", zone + "/networkEndpointGroups/g/attachNetworkEndpoints", `{"networkEndpoints":[{"instance":"` + zone + `/instances/i"}]}`, "forward r"},
		{"POST", "global/networks", `{"name":"other"}`, ""}, // has nothing to do with it
	} {
		change(t, c, s.verb, s.path, s.body)
		if got := r.heard(); got != s.want {
			t.Errorf("for %s %s: %q, want %q", s.verb, s.path, got, s.want)
		}
	}
	want := Balancer{Name: "r", Address: netip.MustParseAddr("127.0.0.9"), Health: Health{Port: 6443},
		Targets: []Target{{Zone: Region + "-b", Name: "i", Address: netip.MustParseAddr("10.20.0.77"), Running: true}}}
	from := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	want.Ports = []Port{{"tcp", 6443, 6443, from}, {"tcp", 80, 90, from}}
	if got := r.last; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the balancer is %+v\nwant %+v", got, want)
	}
	_, _, i := ask(t, c, "GET", zone+"/instances/i", "")
	var id uint64
	fmt.Sscan(i["id"].(string), &id)
	if err := c.Stopped(id); err != nil || r.heard() != "forward r" || slices.ContainsFunc(r.last.Targets, func(t Target) bool { return t.Running }) {
		t.Errorf("after a machine stopped by itself: %+v, %v", r.last.Targets, err)
	}
	change(t, c, "DELETE", region+"/forwardingRules/r", "")
	if got := r.heard(); got != "unforward r" {
		t.Errorf("for the end of a forwarding rule: %s", got)
	}
	change(t, c, "DELETE", region+"/addresses/a", "")
	if got := r.heard(); got != "release 127.0.0.9" {
		t.Errorf("for the end of an address: %s", got)
	}
}
