package templates

import (
	"os/exec"
	"strings"
	"testing"
)

// TestInitScripts compares what init systems are given with where things are, and has a shell read the scripts.
func TestInitScripts(t *testing.T) {
	for name, s := range map[string]struct {
		text  []byte
		shell bool
	}{
		"systemd": {RenderUnit(), false}, "OpenRC": {RenderOpenRC(), true}, "runit": {RenderRun(), true},
	} {
		for _, want := range []string{AgentPath, "run", LogDir + "/node-agent.log"} {
			if !strings.Contains(string(s.text), want) {
				t.Errorf("%s: there is no %s in\n%s", name, want, s.text)
			}
		}
		if !s.shell {
			continue
		}
		c := exec.Command("sh", "-n")
		c.Stdin = strings.NewReader(string(s.text))
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
