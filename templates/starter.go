package templates

import (
	"embed"
	"slices"
	"strings"
)

//go:embed starter/*.hcl
var starters embed.FS

// Starter returns a cluster.hcl to start from for a provider; nil if there is none. It is the same file as the provider's
// example.
func Starter(provider string) []byte {
	if !slices.Contains(Starters(), provider) {
		return nil
	}
	b, err := starters.ReadFile("starter/" + provider + ".hcl")
	if err != nil {
		panic(err) // it has just been listed
	}
	return b
}

// Starters returns the providers that there is a starter file for, sorted.
func Starters() []string {
	entries, err := starters.ReadDir("starter")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".hcl"))
	}
	return names
}
