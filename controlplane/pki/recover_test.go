package pki

import (
	"bytes"
	"maps"
	"strings"
	"testing"
)

func TestRecover(t *testing.T) {
	a := authorities(t)
	files, err := a.Files()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Recover(files)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.Files()
	if err != nil {
		t.Fatal(err)
	}
	for p, b := range files {
		if !bytes.Equal(b, again[p]) {
			t.Errorf("%s is another after it was recovered", p)
		}
	}
	for _, p := range RecoverPaths() {
		for what, content := range map[string][]byte{"missing": nil, "damaged": []byte("x")} {
			spoiled := maps.Clone(files)
			spoiled[p] = content
			if _, err := Recover(spoiled); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(p, ".crt")[:len(Dir)]) {
				t.Errorf("%s %s: %v, want an error that names it", p, what, err)
			}
		}
	}
}
