package ccm

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestAnnotationsAreDocumented compares the table of docs/services.md with what is understood.
func TestAnnotationsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/services.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, a := range annotations() {
		fmt.Fprintf(&want, "| `%s` | %s |\n", a.name, a.is)
	}
	_, got, ok := strings.Cut(string(b), "| annotation | what it says |\n|---|---|\n")
	got, _, _ = strings.Cut(got, "\n\n")
	if !ok || got+"\n" != want.String() {
		t.Errorf("the table of annotations is\n%s\nwant\n%s", got, want.String())
	}
}
