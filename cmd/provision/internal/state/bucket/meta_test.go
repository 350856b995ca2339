package bucket_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket"
	"github.com/provisionhq/provision/cmd/provision/internal/state/bucket/buckettest"
)

// A broken is a Memory with one defect.
type broken struct {
	*bucket.Memory
	defect string
}

// defects are the names of all, each with a case of the suite that must find it.
func defects() map[string]string {
	return map[string]string{
		"ignores the condition of a write":   "Replace",
		"ignores the condition of a create":  "Create",
		"ignores the condition of a removal": "Delete",
		"looks, then writes":                 "Counter",
		"loses the end of large objects":     "Sizes",
		"lists one page":                     "ListPages",
		"lists in any order":                 "Keys",
		"takes any key":                      "BadKeys",
		"tells of a missing object as empty": "Missing",
		"does not hear the context":          "Context",
		"forgets the revision":               "Create",
	}
}

func (b broken) now(key string) bucket.Revision {
	_, at, _ := b.Memory.Get(context.Background(), key)
	return at
}

func (b broken) Put(ctx context.Context, key string, body []byte, was bucket.Revision) (bucket.Revision, error) {
	switch {
	case b.defect == "ignores the condition of a write" && was != "", b.defect == "ignores the condition of a create" && was == "":
		was = b.now(key)
	case b.defect == "looks, then writes" && b.now(key) == was:
		time.Sleep(time.Millisecond)
		was = b.now(key)
	case b.defect == "loses the end of large objects":
		body = body[:min(len(body), 1<<20)]
	case b.defect == "takes any key" && key == "a b":
		return "1", nil
	case b.defect == "does not hear the context":
		ctx = context.WithoutCancel(ctx)
	case b.defect == "forgets the revision":
		_, err := b.Memory.Put(ctx, key, body, was)
		return "", err
	}
	return b.Memory.Put(ctx, key, body, was)
}

func (b broken) Get(ctx context.Context, key string) ([]byte, bucket.Revision, error) {
	body, at, err := b.Memory.Get(ctx, key)
	if b.defect == "tells of a missing object as empty" && errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	return body, at, err
}

func (b broken) Delete(ctx context.Context, key string, was bucket.Revision) error {
	if b.defect == "ignores the condition of a removal" {
		was = b.now(key)
	}
	return b.Memory.Delete(ctx, key, was)
}

func (b broken) List(ctx context.Context, prefix string) ([]string, error) {
	keys, err := b.Memory.List(ctx, prefix)
	switch b.defect {
	case "lists one page":
		keys = keys[:min(len(keys), 1000)]
	case "lists in any order":
		slices.Reverse(keys)
	}
	return keys, err
}

// TestSuiteFindsDefects runs the suite on broken buckets in processes of their own, where it must fail.
func TestSuiteFindsDefects(t *testing.T) {
	const chosen = "PROVISION_TEST_DEFECT"
	if defect := os.Getenv(chosen); defect != "" {
		buckettest.Run(t, func(*testing.T) bucket.Bucket { return broken{bucket.NewMemory(), defect} })
		return
	}
	for defect, finder := range defects() {
		c := exec.Command(os.Args[0], "-test.run=^TestSuiteFindsDefects$", "-test.v")
		c.Env = append(os.Environ(), chosen+"="+defect)
		out, err := c.CombinedOutput()
		if _, failed := errors.AsType[*exec.ExitError](err); !failed || !strings.Contains(string(out), "--- FAIL: TestSuiteFindsDefects/"+finder+" ") {
			t.Errorf("a bucket that %s: the case %s does not find it (%v):\n%.2000s", defect, finder, err, out)
		}
	}
}
