package remote_test

import (
	"slices"
	"testing"

	"github.com/provisionhq/provision/providers/remote"
)

// TestLastLines: what a plug-in wrote last is shown although it died before it ended the line, and never a secret.
func TestLastLines(t *testing.T) {
	got := remote.LastLines([]string{"hunter22"}, "one\ntw", "o\nno licence for hunt", "er22")
	if want := []string{"one", "two", "no licence for (secret)"}; !slices.Equal(got, want) {
		t.Errorf("the last lines are %q, want %q", got, want)
	}
}
