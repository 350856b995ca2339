package templates

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func invitation() Invitation {
	return Invitation{
		Schema: 1, Cluster: "demo", UID: "u-1", Name: "demo-burst-x7k2q", CA: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", Servers: []string{"10.0.0.1:7444", "[fd00::1]:7444"},
		Token: "abcdef.0123456789abcdef", Expires: time.Unix(1800000000, 0).UTC(), Agent: strings.Repeat("a", 64), Bundle: strings.Repeat("b", 64),
		Labels: map[string]string{"x": "'\"$(reboot)`\nEND\n"}, Taints: []Taint{{Key: "karpenter.sh/unregistered", Effect: "NoExecute"}},
	}
}

// document returns the invitation that the user data holds.
func document(t *testing.T, script []byte) Invitation {
	t.Helper()
	_, rest, _ := strings.Cut(string(script), "cat >invitation.json <<'END'\n")
	doc, _, _ := strings.Cut(rest, "\nEND\n")
	i, err := ParseInvitation([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestUserData(t *testing.T) {
	want := invitation()
	b, err := RenderUserData(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(b), "#!/bin/sh\n") {
		t.Errorf("it begins with %.20q", b)
	}
	if got := document(t, b); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(b) > 12<<10 { // AWS takes 16 KiB, in base64 and with what the vendor's package adds
		t.Errorf("it has %d bytes", len(b))
	}
	for name, change := range map[string]func(*Invitation){
		"a server with a command": func(i *Invitation) { i.Servers = []string{"$(reboot):1"} },
		"no server":               func(i *Invitation) { i.Servers = nil },
		"a token with a quote":    func(i *Invitation) { i.Token = "abcdef.0123456789abcde'" },
		"a short token":           func(i *Invitation) { i.Token = "abcdef" },
		"no sum":                  func(i *Invitation) { i.Agent = "" },
		"a name with a space":     func(i *Invitation) { i.Name = "a b" },
		"no authority":            func(i *Invitation) { i.CA = "x" },
	} {
		i := invitation()
		if change(&i); func() bool { _, err := RenderUserData(i); return err == nil }() {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The script is run as it is, but for its folders, with each of the programs that may be there, against a server of another
// authority, one that sends something else, and one that is right.
func TestUserDataFetches(t *testing.T) {
	agent := []byte("#!/bin/sh\necho joined $1 $(cat $2 | wc -l) > joined\n")
	var asked, wrong atomic.Int32
	serve := func(body []byte, count *atomic.Int32) *httptest.Server {
		return httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			count.Add(1)
			if r.Header.Get("Authorization") != "Bearer abcdef.0123456789abcdef" || r.URL.Path != "/v1/agent" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = w.Write(body)
		}))
	}
	right, liar := serve(agent, &asked), serve([]byte("something else"), &wrong)
	defer right.Close()
	defer liar.Close()
	sum := sha256.Sum256(agent)
	for _, tool := range []string{"curl", "wget", "python3"} {
		t.Run(tool, func(t *testing.T) {
			dir := t.TempDir()
			tools(t, dir, tool)
			i := invitation()
			i.CA = strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: right.Certificate().Raw})))
			i.Servers = []string{strings.TrimPrefix(liar.URL, "https://"), strings.TrimPrefix(right.URL, "https://")}
			i.Agent = hex.EncodeToString(sum[:])
			b, err := RenderUserData(i)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.NewReplacer(JoinDir, dir+"/join", "/usr/local/bin", dir+"/bin").Replace(string(b))
			asked.Store(0)
			c := exec.Command("/bin/sh", "-c", text)
			c.Env = []string{"PATH=" + dir + "/path", "https_proxy=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1"}
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got, err := os.ReadFile(dir + "/join/joined"); err != nil || string(got) != "joined join 1\n" || asked.Load() != 1 {
				t.Errorf("the agent did %q, %v; the server was asked %d times", got, err, asked.Load())
			}
			if info, err := os.Stat(dir + "/join/invitation.json"); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the invitation is %v, %v", info.Mode(), err)
			}
		})
	}
	if wrong.Load() == 0 {
		t.Error("the server that sends something else was not asked")
	}
}

// tools makes a folder path with what the smallest image has, and one of the programs that fetch.
func tools(t *testing.T, dir, fetcher string) {
	t.Helper()
	if err := os.Mkdir(dir+"/path", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "mkdir", "cat", "sha256sum", "touch", "sleep", "chmod", "mv", "wc", fetcher} {
		from, err := exec.LookPath(name)
		if name == "python3" { // a shim that looks for the real one is of no use here
			from = "/usr/bin/python3"
			_, err = os.Stat(from)
		}
		if err != nil {
			t.Fatalf("%v: this test needs it", err)
		}
		if err := os.Symlink(from, filepath.Join(dir, "path", name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBoundToken(t *testing.T) {
	b, err := RenderToken(Token{ID: "abcdef", Secret: "0123456789abcdef", Node: "demo-burst-x", Expires: time.Now(), Bound: true})
	secret := objects(t, b, err)["Secret/bootstrap-token-abcdef"]
	if got, want := at(secret, "stringData", "auth-extra-groups"), InvitedGroup+","+InvitedGroup+":demo-burst-x"; got != want {
		t.Errorf("groups %v, want %s", got, want)
	}
	var rbac []byte
	if rbac, err = RenderRBAC(); err != nil {
		t.Fatal(err)
	}
	all := objects(t, rbac, nil)
	in := func(binding string) bool {
		b, _ := json.Marshal(at(all["ClusterRoleBinding/"+binding], "subjects"))
		return strings.Contains(string(b), `"`+InvitedGroup+`"`)
	}
	if !in("provision:join") || in("provision:join-approval") {
		t.Error("an invited machine may not ask for a certificate, or gets one without a look at its name")
	}
}
