package templates

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStartersAreTheExamples(t *testing.T) {
	if len(Starters()) == 0 {
		t.Fatal("there is no starter file")
	}
	folders := map[string]string{"aws": "aws-ha"} // of the others their own names
	for _, p := range Starters() {
		folder := p
		if f, ok := folders[p]; ok {
			folder = f
		}
		want, err := os.ReadFile(filepath.Join("..", "examples", folder, "cluster.hcl"))
		if err != nil {
			t.Fatal(err)
		}
		if got := Starter(p); string(got) != string(want) {
			t.Errorf("templates/starter/%s.hcl is not the same as examples/%s/cluster.hcl: copy it", p, folder)
		}
	}
}

func TestNoStarter(t *testing.T) {
	for _, p := range []string{"", "none", "../node", "local.hcl"} {
		if got := Starter(p); got != nil {
			t.Errorf("Starter(%q) = %d bytes, want none", p, len(got))
		}
	}
}
