package bucket_test

import (
	"errors"
	"io/fs"
	"net/http"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket/buckettest"
)

// testIgnored runs the bucket against servers that do not see the conditions of some requests: the first write must be refused.
// Azurite cannot be told such lies: it checks a signature over the conditions.
func testIgnored(t *testing.T, s *buckettest.Server) {
	for what, ignored := range map[string]func(*http.Request) bool{
		"If-None-Match when writing": func(r *http.Request) bool {
			return s.Op(r) == "put" && (r.Header.Get("If-None-Match") != "" || r.URL.Query().Get("ifGenerationMatch") == "0")
		},
		"If-Match when writing": func(r *http.Request) bool {
			return s.Op(r) == "put" && (r.Header.Get("If-Match") != "" || len(r.URL.Query().Get("ifGenerationMatch")) > 1)
		},
		"If-Match when deleting": func(r *http.Request) bool { return s.Op(r) == "delete" },
	} {
		b := s.Open(t)
		s.Proxy.Set(t, func(r *http.Request) buckettest.Fault { return buckettest.Fault{Strip: ignored(r)} })
		for range 2 { // it is asked again, not remembered as good
			_, err := b.Put(t.Context(), "lock.json", []byte("one"), "")
			if e, ok := errors.AsType[*bucket.UnconditionalError](err); !ok || e.What != what || e.URL != b.String() {
				t.Errorf("Put to a store that ignores %s: %v, want an UnconditionalError", what, err)
			}
		}
		if err := b.Delete(t.Context(), "lock.json", "1"); !errors.As(err, new(*bucket.UnconditionalError)) {
			t.Errorf("Delete in a store that ignores %s: %v, want an UnconditionalError", what, err)
		}
		s.Proxy.Set(t, nil)
		if keys, err := b.List(t.Context(), ""); err != nil || len(keys) != 0 {
			t.Errorf("after that the bucket holds %q, %v", keys, err)
		}
	}
}

// testSwept removes what a check left that was killed.
func testSwept(t *testing.T, s *buckettest.Server) {
	b, inside := s.OpenURL(t, s.URL("swept")), s.OpenURL(t, s.URL("swept/.check"))
	if _, err := b.Put(t.Context(), "journal", []byte("one"), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := inside.Put(t.Context(), "LEFT", []byte("two"), ""); err != nil {
		t.Fatal(err)
	}
	if err := bucket.SweepChecks(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if _, _, err := inside.Get(t.Context(), "LEFT"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a check left: %v, want it gone", err)
	}
	if _, _, err := b.Get(t.Context(), "journal"); err != nil {
		t.Errorf("the journal: %v", err)
	}
}
