package bucket_test

import (
	"bytes"
	"testing"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket/buckettest"
)

func TestMemory(t *testing.T) {
	buckettest.Run(t, func(*testing.T) bucket.Bucket { return bucket.NewMemory() })
}

func TestHashedMemory(t *testing.T) {
	buckettest.Run(t, func(*testing.T) bucket.Bucket {
		m := bucket.NewMemory()
		m.Hashed = true
		return m
	})
}

func TestServers(t *testing.T) {
	for _, s := range buckettest.Servers(t) {
		t.Run(s.Name, func(t *testing.T) {
			buckettest.Run(t, func(t *testing.T) bucket.Bucket { return s.Open(t) })
			t.Run("Faults", func(t *testing.T) { buckettest.RunFaults(t, s) })
			if s.Name != "azblob" {
				t.Run("Ignored", func(t *testing.T) { testIgnored(t, s) })
			}
			t.Run("Swept", func(t *testing.T) { testSwept(t, s) })
		})
	}
}

// BenchmarkServers tells how long a Put and a Get of 1 KB take on each server, through the proxy.
func BenchmarkServers(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	for _, s := range buckettest.Servers(b) {
		store := s.Open(b)
		at, err := store.Put(b.Context(), "lock.json", body, "")
		if err != nil {
			b.Fatal(err)
		}
		b.Run(s.Name+"/put", func(b *testing.B) {
			for b.Loop() {
				if at, err = store.Put(b.Context(), "lock.json", body, at); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(s.Name+"/get", func(b *testing.B) {
			for b.Loop() {
				if _, _, err = store.Get(b.Context(), "lock.json"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
