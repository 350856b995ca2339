package metal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/provisionhq/provision/bootstrap/ssh"
	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/metal/metaltest"
	"github.com/provisionhq/provision/providers/metal/power"
)

// TestFleet makes machines of real hosts: by SSH only, through a bastion, as a user with sudo. One loses its power and gets
// it back by its BMC; one loses it for good. In the end the hosts are as they were.
func TestFleet(t *testing.T) {
	f := metaltest.New(t, 3, "micro")
	before := map[string]metaltest.Portrait{}
	for _, h := range f.Hosts {
		before[h.Name] = see(t, f, h.Name)
	}
	a := f.Attributes()
	for _, b := range a["host"].([]any) {
		b.(map[string]any)["bmc"] = []any{f.BMC(b.(map[string]any)["name"].(string))}
	}
	a["timeout"] = "4s"
	p, err := Open(a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	n := network1(t, p, "demo")
	if n.CIDR != f.Network.CIDR {
		t.Errorf("the network is %s, the hosts are in %s", n.CIDR, f.Network.CIDR)
	}
	private, line := metaltest.NewKey(t)
	made := map[string]providers.Machine{}
	for _, name := range []string{"demo-cp-0", "demo-workers-0"} {
		s := spec(n, name)
		s.AuthorizedKeys = []string{line}
		m, err := p.Machines().Create(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if m.User != metaltest.User || m.Jump == nil || m.Jump.User != metaltest.User || len(m.Jump.HostKeys) != 1 || m.Jump.Key != f.KeyFile {
			t.Errorf("%s is reached by %+v, %+v", name, m, m.Jump)
		}
		made[name] = m
		if got := as(t, f, m, private, "uname -n; id -un; sudo -n id -u; getent hosts $(uname -n) | cut -d' ' -f1"); got != name+"\nops\n0\n127.0.1.1" {
			t.Errorf("on %s with the cluster's key: %q", name, got)
		}
	}
	first := made["demo-cp-0"]
	host := f.Hosts[slicesIndex(f, first)].Name
	if err := f.Off(host); err != nil {
		t.Fatal(err)
	}
	m, err := p.Machines().Get(t.Context(), first.ID)
	if err != nil || m.State != providers.Stopped || !m.Partial {
		t.Fatalf("a machine without power is %+v, %v", m, err)
	}
	s := spec(n, "demo-cp-0")
	if m, err = p.Machines().Create(t.Context(), s); err != nil || m.ID != first.ID || m.Partial || m.Private != first.Private {
		t.Fatalf("Create of a machine without power: %+v, %v", m, err)
	}
	if got := as(t, f, m, private, "id -un"); got != "ops" {
		t.Errorf("after the power came back: %q", got)
	}
	if st, err := p.Power(t.Context(), "demo", "workers-0", ""); err != nil || st != power.On {
		t.Errorf("the power of workers-0 is %q, %v", st, err)
	}
	// A host that does not answer is fenced: what may be running on it loses its power.
	hang(f, host)
	if err := p.Machines().Delete(t.Context(), first.ID); err != nil {
		t.Fatalf("Delete of a machine whose host hangs: %v", err)
	}
	if on, err := f.Powered(host); err != nil || on {
		t.Errorf("host %s has power, %v: it was not fenced", host, err)
	}
	if err := f.On(host); err != nil {
		t.Fatal(err)
	}
	if err := p.Machines().Delete(t.Context(), made["demo-workers-0"].ID); err != nil {
		t.Fatal(err)
	}
	if err := p.Networks().Delete(t.Context(), n.ID); err != nil { // wipes the host that came back, too
		t.Fatal(err)
	}
	for _, h := range f.Hosts {
		for _, d := range before[h.Name].Compare(see(t, f, h.Name)) {
			t.Errorf("host %s is not as it was: %s", h.Name, d)
		}
	}
}

// hang makes all SSH servers of a host stand still; what asks for it gets no answer.
func hang(f *metaltest.Fleet, host string) {
	go f.Run(host, `(sleep 0.3; for p in /proc/[0-9]*; do read -r c <$p/comm; case $c in sshd*) kill -STOP ${p#/proc/} ;; esac; done) >/dev/null 2>&1 &`)
	time.Sleep(2 * time.Second)
}

func slicesIndex(f *metaltest.Fleet, m providers.Machine) int {
	for i, h := range f.Hosts {
		if h.Private == m.Private {
			return i
		}
	}
	return 0
}

func see(t *testing.T, f *metaltest.Fleet, host string) metaltest.Portrait {
	t.Helper()
	p, err := f.Portray(host)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// as runs a command on a machine as the engine would reach it: through its Jump, with the cluster's key.
func as(t *testing.T, f *metaltest.Fleet, m providers.Machine, private []byte, line string) string {
	t.Helper()
	jumpKeys, err := ssh.NewKeys(ssh.KeyOptions{Files: []string{m.Jump.Key}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := ssh.Dial(t.Context(), ssh.Options{Addr: m.Jump.Address, User: m.Jump.User, HostKeys: m.Jump.HostKeys, Keys: jumpKeys, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	keys, err := ssh.NewKeys(ssh.KeyOptions{PEM: [][]byte{private}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := ssh.Dial(t.Context(), ssh.Options{Addr: m.SSH.String(), User: m.User, HostKeys: m.HostKeys, Keys: keys, Through: j, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	res, err := h.Run(t.Context(), ssh.Command{Line: line, Login: true})
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return strings.TrimSpace(string(res.Stdout))
}

// TestInventoryFiles reads the same hosts from a CSV and from JSON.
func TestInventoryFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"hosts.csv": "# racks\nname,address,port,user,labels,zone,role,bmc_address,bmc_user,bmc_password,bmc_protocol,gone\n" +
			"a, 10.0.0.1,2222,ops,rack=r1;use=work,z1,worker,10.9.0.1,admin,secret,ipmi,\nb,10.0.0.2,,,,,,,,,,true\n",
		"sheet.csv": "\ufeff# racks; and hosts, all\r\nname;address;port;user;labels;zone;role;bmc_address;bmc_user;bmc_password;bmc_protocol;gone\r\n" +
			"a; 10.0.0.1;2222;ops;\"rack=r1;use=work\";z1;worker;10.9.0.1;admin;secret;ipmi;\r\nb;10.0.0.2;;;;;;;;;;true\r\n",
		"hosts.json": `{"hosts": [
			{"name": "a", "address": "10.0.0.1", "port": 2222, "user": "ops", "labels": {"rack": "r1", "use": "work"}, "zone": "z1", "role": "worker",
			 "bmc": {"address": "10.9.0.1", "user": "admin", "password": "secret", "protocol": "ipmi"}},
			{"name": "b", "address": "10.0.0.2", "gone": true}]}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := Parse(map[string]any{"inventory": path, "agent": false})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i := range o.Hosts {
			if !strings.HasPrefix(o.Hosts[i].Where, path) {
				t.Errorf("%s: host %d is at %q", name, i, o.Hosts[i].Where)
			}
			o.Hosts[i].Where = ""
		}
		want := []Host{
			{Name: "a", Address: "10.0.0.1", Port: 2222, User: "ops", Labels: map[string]string{"rack": "r1", "use": "work"}, Zone: "z1", Role: "worker",
				BMC: &power.BMC{Address: "10.9.0.1", User: "admin", Password: "secret", Protocol: "ipmi"}},
			{Name: "b", Address: "10.0.0.2", Gone: true},
		}
		if d := cmp.Diff(want, o.Hosts, cmp.Comparer(func(a, b interface{ String() string }) bool { return a.String() == b.String() })); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// TestInventoryRefused says what is wrong, and where.
func TestInventoryRefused(t *testing.T) {
	host := func(name, address string, more ...any) map[string]any {
		m := map[string]any{"name": name, "address": address, "range": "hosts.hcl:" + name}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	for name, tt := range map[string]struct {
		a     map[string]any
		path  string
		words string
	}{
		"no host":       {map[string]any{}, "", "the inventory has no host"},
		"one name":      {map[string]any{"host": []any{host("a", "10.0.0.1"), host("a", "10.0.0.2")}}, "host[1]", `there are two hosts "a"; the first is at hosts.hcl:a`},
		"one address":   {map[string]any{"host": []any{host("a", "10.0.0.1"), host("b", "10.0.0.1")}}, "host[1].address", `hosts "a" and "b" are the same machine: both have address 10.0.0.1:22; the first is at hosts.hcl:a`},
		"mapped":        {map[string]any{"host": []any{host("a", "10.0.0.1"), host("b", "::ffff:10.0.0.1")}}, "host[1].address", "are the same machine"},
		"resolved":      {map[string]any{"host": []any{host("a", "localhost"), host("b", "127.0.0.1")}}, "host[1].address", "localhost and 127.0.0.1 are both 127.0.0.1:22"},
		"no address":    {map[string]any{"host": []any{host("a", "")}}, "host[0]", `host "a" has no address`},
		"bad address":   {map[string]any{"host": []any{host("a", "10.0.0.1:22")}}, "host[0].address", "the port is an attribute of its own"},
		"bad name":      {map[string]any{"host": []any{host("A_1", "10.0.0.1")}}, "host[0]", "no DNS label"},
		"bad key":       {map[string]any{"host": []any{host("a", "10.0.0.1", "host_key", "rubbish")}}, "host[0].host_key", "no public key"},
		"bad port":      {map[string]any{"host": []any{host("a", "10.0.0.1", "port", "ssh")}}, "host[0].port", "port has to be a whole number"},
		"typo":          {map[string]any{"host": []any{host("a", "10.0.0.1", "adress", "x")}}, "host[0].adress", `there is no attribute "adress"`},
		"typo at top":   {map[string]any{"usr": "x", "host": []any{host("a", "10.0.0.1")}}, "usr", `there is no attribute "usr"`},
		"no sudo":       {map[string]any{"host": []any{host("a", "10.0.0.1", "user", "ops", "sudo", false)}}, "host[0].sudo", "needs sudo without a password"},
		"which bastion": {map[string]any{"host": []any{host("a", "10.0.0.1")}, "jump": []any{map[string]any{"name": "x", "address": "x"}, map[string]any{"name": "y", "address": "y"}}}, "host[0]", `say which with jump = "x"`},
		"no bastion":    {map[string]any{"host": []any{host("a", "10.0.0.1", "jump", "z")}}, "host[0].jump", `there is no bastion "z"`},
		"bmc":           {map[string]any{"host": []any{host("a", "10.0.0.1", "bmc", []any{map[string]any{"address": "x", "protocol": "telnet"}})}}, "host[0].bmc", `protocol is "telnet"`},
		"range":         {map[string]any{"cidr": "10.0.0.1/24", "host": []any{host("a", "10.0.0.1")}}, "cidr", "has host bits; write 10.0.0.0/24"},
		"no file":       {map[string]any{"inventory": "/none.csv"}, "inventory", "no such file"},
		"what file":     {map[string]any{"inventory": "/etc/passwd"}, "inventory", "ends neither in .hcl"},
		"type twice":    {map[string]any{"host": []any{host("a", "10.0.0.1")}, "type": []any{map[string]any{"name": "x"}, map[string]any{"name": "x"}}}, "type[1]", "two machine types"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(tt.a)
			var e *InventoryError
			if providers.KindOf(err) != providers.Invalid {
				t.Fatalf("got %v, want Invalid", err)
			}
			if !asInventory(err, &e) || e.Problems[0].Path != tt.path || !strings.Contains(e.Error(), tt.words) {
				t.Errorf("got %+v, want %q at %q", err, tt.words, tt.path)
			}
		})
	}
}

func asInventory(err error, e **InventoryError) bool {
	got, ok := err.(*InventoryError)
	*e = got
	return ok
}
