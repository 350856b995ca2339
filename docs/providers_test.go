package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProvidersTutorial holds every block of Go in providers.md against the example that it is taken from, and the block
// of HCL that uses it.
func TestProvidersTutorial(t *testing.T) {
	text, err := os.ReadFile("providers.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../examples/plugin/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("the example: %v, %v", files, err)
	}
	sources := map[string]string{}
	for lang, paths := range map[string][]string{"go": files, "hcl": {"../examples/plugin/demo/cluster.hcl"}} {
		for _, f := range paths {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			sources[lang] += string(data) + "\n"
		}
	}
	blocks := regexp.MustCompile("(?ms)^```(go|hcl)\n(.*?)^```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 4 {
		t.Fatalf("providers.md has %d blocks of code; the tutorial has more", len(blocks))
	}
	for _, b := range blocks {
		if lang, code := b[1], b[2]; !strings.Contains(sources[lang], code) && (lang == "go" || strings.Contains(code, `provider "rack"`)) {
			t.Errorf("providers.md shows what examples/plugin does not have:\n%s", code)
		}
	}
}
