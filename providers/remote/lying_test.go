package remote_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/remote"
)

const good = `{"name":"liar","caps":{"arch":["amd64"],"load_balancers":true,"volumes":true}}`

// lies are what a plug-in does in place of a call, by name. What begins with { is said as it is.
func lies() map[string]string {
	machine := func(meta, rest string) string {
		return `{"result":{` + meta + `,"network":"n","type":"small","state":"running","node_id":"liar:///m"` + rest + `}}`
	}
	return map[string]string{
		"good":             machine(`"id":"m","owner":"demo","name":"a"`, ``),
		"exists":           strings.TrimSuffix(machine(`"id":"m","owner":"demo","name":"a"`, ``), "}") + `,"error":{"text":"there","kind":"exists"}}`,
		"no json":          `hello`,
		"half json":        `{"result":`,
		"two values":       `{"error":{"text":"x","kind":"quota"}} {}`,
		"a list":           `[]`,
		"nothing":          `{}`,
		"null":             `{"result":null}`,
		"wrong type":       `{"result":{"id":3}}`,
		"wrong address":    machine(`"id":"m","owner":"demo","name":"a"`, `,"private":"10.0.0.256"`),
		"another's":        machine(`"id":"m","owner":"other","name":"a"`, ``),
		"another name":     machine(`"id":"m","owner":"demo","name":"b"`, ``),
		"no id":            machine(`"id":"","owner":"demo","name":"a"`, ``),
		"partial":          machine(`"id":"m","owner":"demo","name":"a","partial":true`, ``),
		"escape":           machine(`"id":"m\u001b[2J","owner":"demo","name":"a"`, ``),
		"name of no label": machine(`"id":"m","owner":"demo","name":"../a"`, ``),
		"state":            `{"result":{"id":"m","owner":"demo","name":"a","state":"flying","node_id":"liar:///m"}}`,
		"node id":          `{"result":{"id":"m","owner":"demo","name":"a","state":"running","node_id":"aws:///m"}}`,
		"exists, no more":  `{"error":{"text":"it is there","kind":"exists"}}`,
		"no kind":          `{"error":{"text":"something odd"}}`,
		"odd kind":         `{"error":{"text":"something odd","kind":"odd"}}`,
		"no words":         `{"error":{"text":" ","kind":"quota"}}`,
		"quota":            `{"error":{"text":"20 of 20 \u001b[2Jare there","kind":"quota"}}`,
		"throttled":        `{"error":{"text":"slow down","kind":"throttled","retry_after_ms":1500}}`,
		"not canceled":     `{"error":{"text":"context canceled","ended":"canceled"}}`,
		"old":              `{"error":{"text":"check account: unsupported: the plug-in was built with an older version of provision","kind":"unsupported"}}`,
		"report":           `{"result":{"identity":"ops","limits":[{"name":"CPUs","max":8,"used":1,"need":2}],"mood":"fine"}}`,
		"escaping report":  `{"result":{"identity":"\u001b[2Jroot"}}`,
		"negative report":  `{"result":{"limits":[{"name":"CPUs","max":-1}]}}`,
		"nameless report":  `{"result":{"limits":[{"max":1}]}}`,
		"empty permission": `{"result":{"missing":[""]}}`,
		"odd problem":      `{"result":{"problems":[{"kind":"odd","noun":"machine","text":"hm"}]}}`,
		"end":              `end`, "status": `status`, "panic": `panic`, "exit": `exit`, "stop": `stop`, "busy": `busy`, "flood": `flood`,
	}
}

// serveForTest is the program of the plug-in "liar", if this process is one.
func serveForTest() bool {
	lie := os.Getenv("LIE")
	switch lie {
	case "":
		return false
	case "no plug-in":
		return true
	case "host":
		host(os.Getenv("PLUGIN"))
	case "says hello":
		fmt.Println("hello")
		time.Sleep(time.Minute)
	case "wrong handshake":
		fmt.Println("1|1|unix|/nowhere|grpc|")
		time.Sleep(time.Minute)
	case "silent":
		time.Sleep(time.Minute)
	case "dies":
		fmt.Fprintln(os.Stderr, "no such rack: sesame-token")
		os.Exit(7)
	}
	r := remote.Raw{Version: 1, Opened: good, Called: func(asked string, say func(string) error) error { return tell(lie, asked, say) }}
	switch lie {
	case "version":
		r.Version = 2
	case "name":
		r.Opened = strings.ReplaceAll(good, "liar", "aws")
	case "open no json":
		r.Opened = "hello"
	case "open no caps":
		r.Opened = `{"name":"liar"}`
	case "open odd caps":
		r.Opened = `{"name":"liar","caps":{"udp":true,"arch":["amd64"]}}`
	case "open odd inside":
		r.Opened = `{"name":"liar","caps":{"arch":["amd64"],"inside":{"blind":true,"attributes":{"a":"b"}}}}`
	case "open no kind":
		r.Opened = `{"name":"liar","error":{"text":"hm"}}`
	case "unknown attribute":
		r.Opened = `{"name":"liar","error":{"text":"hm","kind":"invalid","attribute":{"name":"fodler","known":["folder"]}}}`
	}
	remote.ServeRaw(r)
	return true
}

// tell answers one call.
func tell(lie, asked string, say func(string) error) error {
	if strings.Contains(asked, `"verb":"types"`) && lie != "always exit" {
		return say(`{"result":[]}`)
	}
	switch text := lies()[lie]; text {
	case "end":
		return nil
	case "status":
		return errors.New("I would rather not")
	case "panic":
		panic("out of bananas")
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		time.Sleep(time.Minute)
	case "busy":
		for {
			if err := say(`{"alive":true}`); err != nil {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	case "flood":
		for {
			if _, err := fmt.Fprintln(os.Stderr, strings.Repeat("noise ", 1000)); err != nil {
				return err
			}
			if err := say(`{"alive":true}`); err != nil {
				return err
			}
		}
	case "exit", "":
		os.Stderr.WriteString("cannot go on\n")
		time.Sleep(50 * time.Millisecond)
		os.Exit(3)
	default:
		return say(text)
	}
	return io.EOF
}

// impatient are limits for tests.
var impatient = remote.Limits{Start: 20 * time.Second, Heartbeat: 100 * time.Millisecond, Silence: time.Second, Read: time.Second,
	Write: time.Second, Grace: 100 * time.Millisecond, Deaths: 3}

func lying(t *testing.T, lie string) remote.Options {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return remote.Options{Path: self, Name: "liar", Environ: []string{"LIE=" + lie}, Limits: impatient, Secrets: []string{"sesame-token"},
		Attributes: map[string]any{"token": "sesame-token"}}
}

func TestLiesWhenOpened(t *testing.T) {
	t.Parallel()
	for lie, want := range map[string]struct {
		reason remote.Reason
		text   string
	}{
		"no plug-in":      {remote.Unfit, "ended (exit status 0) before it was ready"},
		"says hello":      {remote.Unfit, "hello"},
		"wrong handshake": {remote.Died, "when it was opened"},
		"silent":          {remote.Hung, "that it is ready"},
		"dies":            {remote.Unfit, "ended (exit status 7) before it was ready"},
		"version":         {remote.Unfit, "another version of the protocol than 1"},
		"name":            {remote.Unfit, `its name is "aws", but it was started as "liar"`},
		"open no json":    {remote.Unfit, "something else than JSON"},
		"open no caps":    {remote.Unfit, "does not say what it can"},
		"open odd caps":   {remote.Bug, "UDP without balancers"},
		"open odd inside": {remote.Bug, "cannot be asked from inside of a cluster, and how"},
		"open no kind":    {remote.Bug, "wraps no kind of error: hm"},
	} {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			o := lying(t, lie)
			if lie == "silent" {
				o.Limits.Start = time.Second
			}
			p, err := remote.Open(t.Context(), o)
			var f *remote.Fault
			if p != nil || !errors.As(err, &f) || f.Reason != want.reason || !strings.Contains(err.Error(), want.text) || !strings.Contains(err.Error(), "plug-in liar") {
				t.Fatalf("Open = %v, %v, want %s and %q", p, err, want.reason, want.text)
			}
			if lie == "dies" && strings.Join(f.Output(), "\n") != "no such rack: (secret)" {
				t.Errorf("its last words are %q", f.Output())
			}
		})
	}
}

func TestUnknownAttributeCrossesThePipe(t *testing.T) {
	t.Parallel()
	_, err := remote.Open(t.Context(), lying(t, "unknown attribute"))
	var unknown *providers.UnknownAttributeError
	if !errors.As(err, &unknown) || !errors.Is(err, providers.Invalid) || unknown.Vendor != "liar" || unknown.Attribute != "fodler" || len(unknown.Known) != 1 {
		t.Errorf("Open = %v, want an UnknownAttributeError", err)
	}
}

func TestLiesInCalls(t *testing.T) {
	t.Parallel()
	for lie, want := range map[string]struct {
		reason remote.Reason
		text   string
	}{
		"no json":          {remote.Bug, "something else than JSON"},
		"half json":        {remote.Bug, "something else than JSON"},
		"two values":       {remote.Bug, "after top-level value"},
		"a list":           {remote.Bug, "something else than JSON of this protocol"},
		"nothing":          {remote.Bug, "there is no result"},
		"null":             {remote.Bug, "there is no result"},
		"wrong type":       {remote.Bug, "something else than JSON"},
		"wrong address":    {remote.Bug, "something else than JSON"},
		"another's":        {remote.Bug, "it is other/a, not demo/a"},
		"another name":     {remote.Bug, "it is demo/b, not demo/a"},
		"no id":            {remote.Bug, "its ID is empty"},
		"partial":          {remote.Bug, "it is not complete"},
		"escape":           {remote.Bug, "cannot be printed"},
		"name of no label": {remote.Bug, "must be a DNS label"},
		"state":            {remote.Bug, `its state is "flying"`},
		"node id":          {remote.Bug, "does not begin with liar://"},
		"exists, no more":  {remote.Bug, "there is no result"},
		"no kind":          {remote.Bug, "wraps no kind of error: something odd"},
		"odd kind":         {remote.Bug, `of kind "odd"`},
		"no words":         {remote.Bug, "without words"},
		"not canceled":     {remote.Bug, "which is not so"},
		"end":              {remote.Bug, "without an answer"},
		"status":           {remote.Bug, "I would rather not"},
		"panic":            {remote.Died, "ended (exit status 2)"},
		"exit":             {remote.Died, "ended (exit status 3)"},
		"stop":             {remote.Hung, "said nothing for 1s"},
		"busy":             {remote.Hung, "did not end the call within 1s"},
		"flood":            {remote.Hung, "did not end the call within 1s"},
	} {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			p, err := remote.Open(t.Context(), lying(t, lie))
			if err != nil {
				t.Fatal(err)
			}
			pid := p.PID()
			defer ended(t, pid)
			defer p.Close()
			m, err := p.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: "a"})
			var f *remote.Fault
			if !errors.As(err, &f) || f.Reason != want.reason || !strings.Contains(err.Error(), want.text) || f.Call != "create machine demo/a" {
				t.Fatalf("Create = %v, want %s and %q", err, want.reason, want.text)
			}
			if m.ID != "" || strings.ContainsRune(err.Error(), '\x1b') {
				t.Errorf("Create returned %+v, %q", m, err)
			}
			if again := errors.Is(err, providers.Unavailable); again != (want.reason != remote.Bug) {
				t.Errorf("Create = %v; Unavailable: %v", err, again)
			}
			if lie == "panic" && !strings.Contains(strings.Join(f.Output(), "\n"), "goroutine") {
				t.Errorf("its last words are %q", f.Output())
			}
			if _, err := p.Machines().Types(t.Context()); err != nil {
				t.Errorf("the next call = %v, want that it goes on", err)
			}
		})
	}
}

// ended fails if there is a process of the ID.
func ended(t *testing.T, pid int) {
	t.Helper()
	for range 100 {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("process %d is left", pid)
}

func TestErrorsCrossThePipe(t *testing.T) {
	t.Parallel()
	create := func(lie string) (providers.Machine, error) {
		p, err := remote.Open(t.Context(), lying(t, lie))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		return p.Machines().Create(t.Context(), providers.MachineSpec{Owner: "demo", Name: "a"})
	}
	if m, err := create("good"); err != nil || m.ID != "m" {
		t.Errorf("good: %+v, %v", m, err)
	}
	if m, err := create("exists"); !errors.Is(err, providers.Exists) || m.ID != "m" {
		t.Errorf("exists: %+v, %v", m, err)
	}
	if _, err := create("quota"); !errors.Is(err, providers.Quota) || err.Error() != "20 of 20 [2Jare there" {
		t.Errorf("quota: %v", err)
	}
	var after providers.RetryAfter
	if _, err := create("throttled"); !errors.Is(err, providers.Throttled) || !errors.As(err, &after) || after.After != 1500*time.Millisecond {
		t.Errorf("throttled: %v", err)
	}
}

// TestDiesAtEveryCall gives a plug-in up that dies again and again, and counts its starts.
func TestDiesAtEveryCall(t *testing.T) {
	t.Parallel()
	starts := 0
	o := lying(t, "always exit")
	o.Limits.Rest = 500 * time.Millisecond
	o.Verify = func() error { starts++; return nil }
	p, err := remote.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := range 10 {
		_, err := p.Machines().Types(t.Context())
		var f *remote.Fault
		if !errors.As(err, &f) || f.Reason != remote.Died || errors.Is(err, providers.Unavailable) != (i < 3) {
			t.Errorf("call %d = %v, Unavailable: %v", i, err, errors.Is(err, providers.Unavailable))
		}
		if i == 9 && !strings.Contains(err.Error(), "3 times in a row") {
			t.Errorf("call %d = %v, want how often", i, err)
		}
	}
	if starts != 3 {
		t.Errorf("it was started %d times, want 3", starts)
	}
	time.Sleep(o.Limits.Rest)
	if _, err := p.Machines().Types(t.Context()); !errors.Is(err, providers.Unavailable) || starts != 4 {
		t.Errorf("after a rest: %v, %d starts; want another try", err, starts)
	}
}

// TestVerifyBeforeEachStart refuses a program that changed while it ran.
func TestVerifyBeforeEachStart(t *testing.T) {
	t.Parallel()
	o := lying(t, "exit")
	var no error
	o.Verify = func() error { return no }
	p, err := remote.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	no = errors.New("not this one")
	if err := p.Machines().Delete(t.Context(), "m"); !errors.Is(err, providers.Unavailable) {
		t.Errorf("Delete = %v", err)
	}
	if err := p.Machines().Delete(t.Context(), "m"); err != no {
		t.Errorf("Delete after the program changed = %v, want what Verify says", err)
	}
	if _, err := remote.Open(t.Context(), o); err != no {
		t.Errorf("Open = %v, want what Verify says", err)
	}
}
