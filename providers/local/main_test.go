//go:build linux

package local

import (
	"os"
	"syscall"
	"testing"

	"github.com/provisionhq/provision/providers/local/keeper"
)

// TestMain lets the test's program be a part of the machines that it makes. Those end by syscall.Exit, because os.Exit waits
// a second in a program built to find races.
func TestMain(m *testing.M) {
	if ran, code := keeper.Part(os.Args, Clear); ran {
		syscall.Exit(code)
	}
	if ran, code := Machine(os.Args); ran {
		syscall.Exit(code)
	}
	if folder := os.Getenv(rehearseEnv); folder != "" {
		syscall.Exit(rehearse(folder))
	}
	if folder := os.Getenv(rehearseVolumesEnv); folder != "" {
		syscall.Exit(rehearseVolumes(folder))
	}
	os.Exit(m.Run())
}
