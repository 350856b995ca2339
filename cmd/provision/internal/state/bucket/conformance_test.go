package bucket_test

import (
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
		})
	}
}
