// Command fakeplugin is the fake vendor in another process: a provider plug-in for tests. Build it as
// provision-provider-fakeplug; its provider is called "fakeplug".
//
// Attributes: path and options are those of the built-in provider "fake"; die is a file that says where the plug-in kills
// itself (Death), once; lie is what is wrong with its answers ("owner": machines are another's; "kind": Create of a machine
// fails with an error of no kind); token is a secret that it does not need.
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
	if err := providers.KnownAttributes(name, attributes, "path", "options", "die", "lie", "token"); err != nil {
		return nil, err
	}
	text := map[string]string{}
	for a := range attributes {
		var err error
		if text[a], err = providers.TextAttribute(name, attributes, a); err != nil {
			return nil, err
		}
	}
	var o fake.Options
	if text["options"] != "" {
		var err error
		if o, err = fake.Parse([]byte(text["options"])); err != nil {
			return nil, err
		}
	}
	f := fake.New(o)
	if text["path"] != "" {
		var err error
		if f, err = fake.Open(text["path"], o); err != nil {
			return nil, err
		}
	}
	var p providers.Provider = named{f, text["lie"], text["path"]}
	if text["die"] != "" {
		d, err := read(text["die"])
		if err != nil {
			return nil, fmt.Errorf("attribute die: %w: %w", providers.Invalid, err)
		}
		p = providers.Wrap(p, d.around)
	}
	fmt.Fprintf(os.Stderr, "fakeplug: opened, process %d, token %q\n", os.Getpid(), text["token"])
	return p, nil
}
