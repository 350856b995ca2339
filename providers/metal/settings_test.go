package metal

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestKeepsWhatTheAgentSets compares the kernel settings that a host gets back with those that the node agent changes.
func TestKeepsWhatTheAgentSets(t *testing.T) {
	source, err := os.ReadFile("../../nodeagent/host.go")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(hostScript, "settings='")
	list, _, _ = strings.Cut(list, "'")
	kept := strings.Fields(list)
	set := regexp.MustCompile(`"(?:/proc/sys/)?((?:net|fs|vm|kernel)/[a-z0-9_/-]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(set) < 6 {
		t.Fatalf("found only %d settings in the node agent's source: %v", len(set), set)
	}
	for _, s := range set {
		if !slices.Contains(kept, s[1]) {
			t.Errorf("the node agent sets %s, and host.sh does not put it back", s[1])
		}
	}
}
