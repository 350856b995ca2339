package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// typed returns the side of a new terminal that a program reads from, with what a person types already typed.
func typed(t *testing.T, text string) *os.File {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	if _, err := io.WriteString(person, text); err != nil {
		t.Fatal(err)
	}
	return program
}

// TestHostKeys meets a host whose key nobody has told: on a terminal, and after a yes only, it is written into the inventory, as
// the host shows it; then the host is known. Elsewhere it is shown, and nothing is asked.
func TestHostKeys(t *testing.T) {
	for name, tt := range map[string]struct {
		typed string // empty: no terminal
		kept  bool
	}{"yes": {"yes\n", true}, "no": {"no\n", false}, "no terminal": {"", false}} {
		t.Run(name, func(t *testing.T) {
			hosts := scriptedHosts(t, 2)
			key := hosts[1].key
			hosts[1].key = ""
			file := metalFile(t, hosts)
			before, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := io.Reader(strings.NewReader("yes\n"))
			if tt.typed != "" {
				in = typed(t, tt.typed)
			}
			var out bytes.Buffer
			dir := t.TempDir()
			environ := append(os.Environ(), "XDG_STATE_HOME="+dir, "XDG_CONFIG_HOME="+dir, "NO_COLOR=1", "COLUMNS=1000")
			a := &app{in: in, out: &out, err: &out, stop: make(chan struct{}), environ: environ, start: time.Now()}
			code := a.run(context.Background(), []string{"hosts", "keys", file})
			after, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if code != 0 || !strings.Contains(out.String(), "host-1") || strings.Contains(out.String(), "host-0") || !strings.Contains(out.String(), "SHA256:") {
				t.Errorf("it ends with %d and does not show just the key that is missing:\n%s", code, out.String())
			}
			if shown := strings.Contains(out.String(), key); shown == tt.kept && tt.typed != "no\n" {
				t.Errorf("the line to add is shown: %v, and the key was kept: %v\n%s", shown, tt.kept, out.String())
			}
			if written := strings.Contains(string(after), fmt.Sprintf("host_key = %q", key)); written != tt.kept || !tt.kept && !bytes.Equal(before, after) {
				t.Errorf("the inventory has the key: %v, want %v:\n%s", written, tt.kept, after)
			}
			words, _ := provision(t, "status", file)
			if known := !strings.Contains(words, "SSH host key unknown"); known != tt.kept {
				t.Errorf("the host is known: %v, want %v:\n%s", known, tt.kept, words)
			}
		})
	}
}
