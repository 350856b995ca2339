package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/provisionhq/provision/providers/all"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this program be provision in the scripts, and be what machines are made of where a test makes one.
func TestMain(m *testing.M) {
	if ran, code := all.Machine(os.Args); ran {
		os.Exit(code)
	}
	testscript.Main(m, map[string]func(){
		"provision": func() {
			a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, stop: make(chan struct{}), environ: os.Environ(), start: time.Now()}
			os.Exit(a.run(context.Background(), os.Args[1:]))
		},
	})
}

// TestScript runs the command as people do, on the vendor that exists only in a file.
func TestScript(t *testing.T) {
	plugins := buildPlugin(t, "fakeplug", "../../providers/remote/fakeplugin")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XDG_STATE_HOME", e.WorkDir+"/.state")
			e.Setenv("XDG_CONFIG_HOME", e.WorkDir+"/.config")
			e.Setenv("XDG_CACHE_HOME", e.WorkDir+"/.cache")
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("PLUGINS", plugins)
			return nil
		},
	})
}
