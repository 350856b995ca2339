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

// TestNameResolvesAllTheTime looks at the order in which a host gets a name and is told its address: whoever becomes root by sudo
// between the two waits for name servers, ten seconds if none answers.
func TestNameResolvesAllTheTime(t *testing.T) {
	function := func(name string) string {
		_, text, _ := strings.Cut(hostScript, "\n"+name+"() {\n")
		text, _, _ = strings.Cut(text, "\n}\n")
		return text
	}
	const named = ">/proc/sys/kernel/hostname"
	if told, named := strings.Index(function("prepare"), "prepend /etc/hosts"), strings.Index(function("prepare"), named); told < 0 || told > named {
		t.Errorf("prepare names the host (at %d) before the name resolves (at %d)", named, told)
	}
	if gone, named := strings.Index(function("restore"), "strip /etc/hosts"), strings.Index(function("restore"), named); named < 0 || gone < named {
		t.Errorf("restore takes the name's address away (at %d) before the host has its own name back (at %d)", gone, named)
	}
}
