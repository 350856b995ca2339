package remote

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/provisionhq/provision/providers"
)

// FuzzAnswer reads anything as the answer of every kind of call: it never panics, and what it lets through has an ID.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"alive":true}`, `{}`, `{"result":null}`, `{"result":[]}`, `{"error":{"text":"x","kind":"quota","retry_after_ms":-1}}`,
		`{"result":{"id":"a","owner":"b","name":"c","state":"running","node_id":"x://a","private":"10.0.0.1","host_keys":["a b"]}}`,
		`{"result":{"id":"a","cidr":"10.0.0.0/8","allow":[{"sources":["::/0"]}]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if alive(data) && len(data) > 64 {
			t.Errorf("%q is taken for a heartbeat", data)
		}
		tryAnswer(t, data, checkNetwork)
		tryAnswer(t, data, checkMachine("x"))
		tryAnswer(t, data, checkBalancer)
		tryAnswer(t, data, checkVolume)
		tryAnswer(t, data, checkSnapshot)
	})
}

func tryAnswer[O providers.Identified](t *testing.T, data []byte, check func(O) error) {
	var a answer[O]
	if json.Unmarshal(data, &a) != nil {
		return
	}
	if a.Error != nil {
		_ = a.Error.err("x").Error()
	}
	if a.Result == nil {
		return
	}
	m := (*a.Result).GetMeta()
	if errors.Join(checkMeta(m), check(*a.Result)) == nil && m.ID == "" {
		t.Errorf("%q is an object without an ID", data)
	}
}
