package etcdapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// scripted is a member that answers from a table, path to status and body.
func scripted(t *testing.T, answers map[string]string) (*Client, *[]string) {
	t.Helper()
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in json.RawMessage
		_ = json.NewDecoder(r.Body).Decode(&in)
		asked = append(asked, r.URL.Path+" "+string(in))
		body, ok := answers[strings.TrimPrefix(r.URL.Path, "/v3/")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if strings.Contains(body, `"code"`) {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return &Client{[]string{s.URL}, s.Client()}, &asked
}

// What etcd 3.7.2 answered.
const (
	listAnswer = `{"header":{"cluster_id":"12101053776118486841","member_id":"15985099378392235387","raft_term":"2"},"members":[` +
		`{"ID":"4943799462107893135","peerURLs":["https://10.0.0.3:2380"],"isLearner":true},` +
		`{"ID":"15985099378392235387","name":"a","peerURLs":["https://10.0.0.2:2380"],"clientURLs":["https://10.0.0.2:2379"]}]}`
	statusAnswer = `{"header":{"cluster_id":"12101053776118486841","member_id":"15985099378392235387","revision":"7","raft_term":"2"},"version":"3.7.2",` +
		`"dbSize":"20480","leader":"15985099378392235387","raftIndex":"4","raftTerm":"2","raftAppliedIndex":"3","dbSizeInUse":"16384","storageVersion":"3.7.0"}`
	lostAnswer = `{"header":{"revision":"9"},"responses":[{"response_range":{"kvs":[{"key":"YQ==","create_revision":"2","mod_revision":"8","version":"1","value":"eA=="}],"count":"1"}}]}`
)

func TestMembers(t *testing.T) {
	c, asked := scripted(t, map[string]string{"cluster/member/list": listAnswer})
	l, err := c.Members(context.Background(), true)
	if err != nil || len(l.Members) != 2 || l.Header.Cluster.String() != "a7efaf2c5e5a3cb9" && l.Header.Cluster == 0 {
		t.Fatalf("got %+v, %v", l, err)
	}
	if m := l.Members[0]; !m.Learner || m.Name != "" || m.Peers[0] != "https://10.0.0.3:2380" {
		t.Errorf("learner: %+v", m)
	}
	id, err := ParseID(l.Members[1].ID.String())
	if m, ok := l.Find(id); err != nil || !ok || m.Name != "a" {
		t.Errorf("find %s: %+v, %v, %v", id, m, ok, err)
	}
	if want := `/v3/cluster/member/list {"linearizable":true}`; (*asked)[0] != want {
		t.Errorf("asked %q, want %q", (*asked)[0], want)
	}
}

func TestStatus(t *testing.T) {
	c, _ := scripted(t, map[string]string{"maintenance/status": statusAnswer})
	s, err := c.Status(context.Background())
	if err != nil || s.Leader != s.Header.Member || s.Index != 4 || s.Applied != 3 || s.Used != 16384 || s.Header.Revision != 7 || s.Learner {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestSwap(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		value  []byte
		key    Key
		ok     bool
		asks   string
	}{
		"written": {`{"header":{"revision":"12"},"succeeded":true,"responses":[{"response_put":{}}]}`, []byte("v"), Key{[]byte("v"), 12}, true, `"requestPut":{"key":"YQ==","value":"dg=="}`},
		"deleted": {`{"header":{"revision":"12"},"succeeded":true}`, nil, Key{}, true, `"requestDeleteRange":{"key":"YQ=="}`},
		"lost":    {lostAnswer, []byte("v"), Key{[]byte("x"), 8}, false, `"modRevision":"5"`},
		"gone":    {`{"responses":[{"response_range":{"header":{}}}]}`, []byte("v"), Key{}, false, `"target":"MOD"`},
	} {
		t.Run(name, func(t *testing.T) {
			cl, asked := scripted(t, map[string]string{"kv/txn": c.answer})
			k, ok, err := cl.Swap(context.Background(), "a", 5, c.value)
			if err != nil || ok != c.ok || k.Revision != c.key.Revision || string(k.Value) != string(c.key.Value) {
				t.Errorf("got %+v, %v, %v; want %+v, %v", k, ok, err, c.key, c.ok)
			}
			if !strings.Contains((*asked)[0], c.asks) {
				t.Errorf("asked %s, want %s in it", (*asked)[0], c.asks)
			}
		})
	}
}

// TestNextMember sees that a member that cannot answer sends the caller to the next, and that a refusal does not.
func TestNextMember(t *testing.T) {
	good := map[string]string{"cluster/member/promote": `{}`}
	for name, c := range map[string]struct {
		first string
		next  bool
	}{
		"no leader":  {`{"code":14,"message":"etcdserver: no leader"}`, true},
		"learner":    {`{"code":9,"message":"etcdserver: rpc not supported for learner"}`, true},
		"not ready":  {`{"code":9,"message":"etcdserver: can only promote a learner member which is in sync with leader"}`, false},
		"not a JSON": {`<html>"code"</html>`, true},
	} {
		t.Run(name, func(t *testing.T) {
			one, _ := scripted(t, map[string]string{"cluster/member/promote": c.first})
			two, asked := scripted(t, good)
			both := one.At(one.endpoints[0], two.endpoints[0])
			err := both.Promote(context.Background(), 7)
			if (err == nil) != c.next || (len(*asked) == 1) != c.next {
				t.Errorf("err %v, second asked %q", err, *asked)
			}
			if !c.next && !Is(err, FailedPrecondition) {
				t.Errorf("got %v", err)
			}
		})
	}
	dead := (&Client{http: http.DefaultClient}).At("http://127.0.0.1:1")
	var refusal *Error
	if err := dead.Remove(context.Background(), 1); err == nil || errors.As(err, &refusal) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("a dead member: %v", err)
	}
	ill, _ := scripted(t, map[string]string{"cluster/member/add": `{"code":14,"message":"etcdserver: unhealthy cluster"}`})
	if _, err := ill.At(ill.endpoints[0], "http://127.0.0.1:1").AddLearner(context.Background(), "https://10.0.0.4:2380"); !Is(err, Unavailable) {
		t.Errorf("one that asks to wait, and then one that is not there: %v, want what the first said", err)
	}
	if err := dead.At().Remove(context.Background(), 1); err == nil {
		t.Error("nobody to ask is no error")
	}
}
