package bundle

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

// What was unpacked and written again is the same bundle, whatever its bytes; what was damaged on the disk is not.
func TestWriteAgain(t *testing.T) {
	first := filepath.Join(t.TempDir(), "first")
	sealed, contents := sample()
	if _, err := Unpack(context.Background(), bytes.NewReader(pack(t, sealed, contents)), first); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := Write(context.Background(), &again, first); err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(t.TempDir(), "second")
	m, err := Unpack(context.Background(), &again, second)
	if err != nil {
		t.Fatal(err)
	}
	if have, _ := Load(first); have.ID != m.ID {
		t.Errorf("the ID is %s, want %s", m.ID, have.ID)
	}
	for _, f := range m.Files {
		a, err1 := os.ReadFile(filepath.Join(first, f.Path))
		b, err2 := os.ReadFile(filepath.Join(second, f.Path))
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v %v", f.Path, err1, err2)
		}
	}
	damaged := filepath.Join(first, m.Files[0].Path)
	b, _ := os.ReadFile(damaged)
	b[0]++
	if err := os.WriteFile(damaged, b, 0o755); err != nil {
		t.Fatal(err)
	}
	again.Reset()
	if err := Write(context.Background(), &again, first); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(context.Background(), &again, filepath.Join(t.TempDir(), "third")); err == nil {
		t.Error("a damaged file was unpacked")
	}
}
