//go:build linux

package local

import (
	"os"
	"testing"
)

// TestMain lets the test's program be a part of the machines that it makes.
func TestMain(m *testing.M) {
	if ran, code := Machine(os.Args); ran {
		os.Exit(code)
	}
	if folder := os.Getenv(rehearseEnv); folder != "" {
		os.Exit(rehearse(folder))
	}
	os.Exit(m.Run())
}
