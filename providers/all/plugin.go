package all

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/remote"
	"github.com/provisionhq/provision/providers/remote/plugins"
)

// A Plugin says which provider that is a program to open, and how.
type Plugin struct {
	Name       string
	Attributes map[string]any // of its block, with sha256, environment and inside, which the program does not get
	Sensitive  []string       // the names of those whose values are secret
	Place      plugins.Place
	Environ    []string // of this command; the program gets a part of it (remote.Environ)
	Logs       string   // folder where what the program writes to stderr is kept; empty: nowhere
}

// OpenPlugin opens the provider that is a program; an error that wraps providers.NotFound if there is none of the name.
// Others are a *plugins.Refusal, a *remote.Fault, or of the provider itself. Three attributes are of every such block:
// sha256, which program may run, environment, names of variables that it gets besides, and inside (Inside). Close ends the program; it
// ends with this process at the latest.
func OpenPlugin(ctx context.Context, p Plugin) (providers.Provider, error) {
	found, err := p.Place.Find(p.Name)
	if err != nil {
		return nil, err
	}
	attributes := maps.Clone(p.Attributes)
	pins, err := plugins.Pins(attributes["sha256"])
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", p.Name, err)
	}
	besides, err := variables(attributes["environment"])
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", p.Name, err)
	}
	delete(attributes, "sha256")
	delete(attributes, "environment")
	if _, err := inside(attributes); err != nil {
		return nil, fmt.Errorf("provider %s: %w", p.Name, err)
	}
	delete(attributes, insideAttribute)
	var secrets []string
	for _, a := range p.Sensitive {
		secrets = append(secrets, texts(attributes[a])...)
	}
	log := &logFile{path: p.logPath()}
	r, err := remote.Open(ctx, remote.Options{
		Path: found.Path, Name: p.Name, Attributes: attributes, Secrets: secrets, Log: log,
		Environ: remote.Environ(p.Name, p.Environ, besides...),
		Verify:  func() error { return p.Place.Verify(found, pins) },
	})
	if err != nil {
		log.close()
		return nil, err
	}
	return closing{patient(r), func() error {
		defer log.close()
		return r.Close()
	}}, nil
}

// Close ends what belongs to a provider that this package opened and is of no more use.
func Close(p providers.Provider) error {
	if c, ok := p.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// closing is a provider with something to close.
type closing struct {
	providers.Provider
	close func() error
}

// Close ends it.
func (c closing) Close() error { return c.close() }

// variables returns the names in the attribute environment.
func variables(attribute any) (names []string, err error) {
	if attribute == nil {
		return nil, nil
	}
	list, ok := attribute.([]any)
	for _, e := range list {
		s, text := e.(string)
		ok = ok && text
		if strings.HasPrefix(s, "PROVISION_") {
			return nil, fmt.Errorf("attribute environment: %w: %s is for provision itself", providers.Invalid, s)
		}
		names = append(names, s)
	}
	if !ok {
		return nil, fmt.Errorf("attribute environment: %w: it must be a list of names of variables", providers.Invalid)
	}
	return names, nil
}

// texts returns all texts in a value.
func texts(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, e := range v {
			all = append(all, texts(e)...)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			all = append(all, texts(v[k])...)
		}
	}
	return all
}

func (p Plugin) logPath() string {
	if p.Logs == "" {
		return ""
	}
	return filepath.Join(p.Logs, p.Name+".log")
}

// A logFile keeps what a plug-in writes, from the first line on, each with its time. When it is opened and has become
// large, what it held is put aside. A log that cannot be written is left out.
type logFile struct {
	path string
	mu   sync.Mutex
	file *os.File
	off  bool
}

// largestLog is the size from which a log begins anew, in bytes.
const largestLog = 1 << 20

// Write appends one line.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil && !l.off {
		l.off = !l.open()
	}
	if l.file != nil {
		_, _ = fmt.Fprintf(l.file, "%s %d %s", time.Now().UTC().Format(time.RFC3339), os.Getpid(), line)
	}
	return len(line), nil
}

func (l *logFile) open() bool {
	if l.path == "" || os.MkdirAll(filepath.Dir(l.path), 0o700) != nil {
		return false
	}
	if info, err := os.Stat(l.path); err == nil && info.Size() > largestLog {
		_ = os.Rename(l.path, l.path+".1")
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	l.file = f
	return err == nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.off = nil, true
}
