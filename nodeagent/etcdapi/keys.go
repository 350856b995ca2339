package etcdapi

import (
	"context"
	"strconv"
)

// A Key is one key of etcd with its value. The zero Key does not exist.
type Key struct {
	Value    []byte
	Revision int64 // of its last change; 0 if it does not exist
}

type rangeAnswer struct {
	Kvs []struct {
		Value    []byte `json:"value"`
		Revision int64  `json:"mod_revision,string"`
	} `json:"kvs"`
}

func (r rangeAnswer) key() Key {
	if len(r.Kvs) == 0 {
		return Key{}
	}
	return Key{r.Kvs[0].Value, r.Kvs[0].Revision}
}

// Read returns a key as the member that answers has it, which may be old: it asks no other.
func (c *Client) Read(ctx context.Context, name string) (Key, error) {
	var out rangeAnswer
	err := c.call(ctx, "kv/range", map[string]any{"key": []byte(name), "serializable": true}, &out)
	return out.key(), err
}

// Swap writes a key, or deletes it if value is nil, provided that its last change is of the given revision, 0 for a key that
// does not exist. It returns the key as it is then, and whether it was changed.
func (c *Client) Swap(ctx context.Context, name string, revision int64, value []byte) (Key, bool, error) {
	type object = map[string]any
	key := []byte(name)
	change := object{"requestPut": object{"key": key, "value": value}}
	if value == nil {
		change = object{"requestDeleteRange": object{"key": key}}
	}
	var out struct {
		Header    Header `json:"header"`
		Succeeded bool   `json:"succeeded"`
		Responses []struct {
			Range rangeAnswer `json:"response_range"`
		} `json:"responses"`
	}
	err := c.call(ctx, "kv/txn", object{
		"compare": []object{{"key": key, "target": "MOD", "result": "EQUAL", "modRevision": strconv.FormatInt(revision, 10)}},
		"success": []object{change},
		"failure": []object{{"requestRange": object{"key": key}}},
	}, &out)
	switch {
	case err != nil:
		return Key{}, false, err
	case out.Succeeded && value == nil:
		return Key{}, true, nil
	case out.Succeeded:
		return Key{value, out.Header.Revision}, true, nil
	case len(out.Responses) == 0:
		return Key{}, false, nil
	}
	return out.Responses[0].Range.key(), false, nil
}
