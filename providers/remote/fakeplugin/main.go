// Command fakeplugin is the fake vendor in another process: a provider plug-in for tests. Build it as
// provision-provider-fakeplug; its provider is called "fakeplug".
//
// Attributes: path and options are those of the built-in provider "fake"; die is a file that says where the plug-in kills
// itself (Death), once.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/remote"
)

// name is the provider's. It can be another's where the program lies on request.
const name = "fakeplug"

func main() { remote.Serve(remote.Plugin{Name: name, Open: open}) }

// open opens the fake that the attributes describe.
func open(_ context.Context, attributes map[string]any) (providers.Provider, error) {
	if err := providers.KnownAttributes(name, attributes, "path", "options", "die"); err != nil {
		return nil, err
	}
	var text [3]string
	for i, a := range []string{"path", "options", "die"} {
		var err error
		if text[i], err = providers.TextAttribute(name, attributes, a); err != nil {
			return nil, err
		}
	}
	var o fake.Options
	if text[1] != "" {
		var err error
		if o, err = fake.Parse([]byte(text[1])); err != nil {
			return nil, err
		}
	}
	f := fake.New(o)
	if text[0] != "" {
		var err error
		if f, err = fake.Open(text[0], o); err != nil {
			return nil, err
		}
	}
	var p providers.Provider = named{f}
	if text[2] != "" {
		d, err := read(text[2])
		if err != nil {
			return nil, fmt.Errorf("attribute die: %w: %w", providers.Invalid, err)
		}
		p = providers.Wrap(p, d.around)
	}
	fmt.Fprintf(os.Stderr, "fakeplug: opened, process %d\n", os.Getpid())
	return p, nil
}
