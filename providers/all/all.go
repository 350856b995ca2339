// Package all is the table of the vendors that are built in, and the way to those that are programs.
package all

import (
	"context"
	"fmt"
	"time"

	"github.com/provisionhq/provision/providers"
	"github.com/provisionhq/provision/providers/aws"
	"github.com/provisionhq/provision/providers/azure"
	"github.com/provisionhq/provision/providers/fake"
	"github.com/provisionhq/provision/providers/gcp"
	"github.com/provisionhq/provision/providers/limit"
	"github.com/provisionhq/provision/providers/local"
	"github.com/provisionhq/provision/providers/retry"
)

// A Vendor is a provider that can be named in a file.
type Vendor struct {
	Name    string
	Summary string // one line for a person
	// Open returns the provider that the attributes of its block describe. An attribute it does not know is an error
	// that wraps providers.Invalid.
	Open func(attributes map[string]any) (providers.Provider, error)
	// Inside returns how the provider is opened on one of a cluster's own machines: the attributes there, or that it cannot be asked
	// from there but nodes announce addresses (blind). nil: no cloud agent can serve the vendor. aws.Inside, azure.Inside and gcp.Inside say
	// it for theirs; they are not in the table before a test has an agent work with them.
	Inside func(attributes map[string]any) (there map[string]any, blind bool)
	// Paths are the attributes that are paths: whoever reads them from a file makes them start where the file is.
	Paths []string
	// Offline returns what the attributes lead to as far as it can be said without the vendor, credentials and a network. Its errors are
	// those of Open. nil: opening the provider and asking it for types needs none of them.
	Offline func(attributes map[string]any) (Offer, error)
}

// An Offer is what a vendor has, as far as that can be said without asking it.
type Offer struct {
	Caps     providers.Caps
	Types    []string // names of the machine types; nil: only the vendor knows them
	Unplaced bool     // the attributes name no region, so zones are not known
}

// Vendors returns the vendors that are built in, by name.
func Vendors() []Vendor {
	return []Vendor{
		{"aws", "Amazon Web Services", opener(aws.Open), nil, nil, unasked(aws.Offline)},
		{"azure", "Microsoft Azure", opener(azure.Open), nil, nil, unasked(azure.Offline)},
		{"fake", "machines that exist only in a file: for tests and rehearsals of plans", openFake, nil, []string{"path"}, nil},
		{"gcp", "Google Cloud", opener(gcp.Open), nil, nil, unasked(gcp.Offline)},
		{"local", "machines made of namespaces on this host", openLocal, throughDoor, []string{"folder"}, nil},
		{"metal", "hosts that answer SSH: bare metal, or anything like it", openMetal, blind, []string{"inventory", "key"}, offlineMetal},
	}
}

// blind is how a vendor is reached that cannot be asked from a node.
func blind(map[string]any) (map[string]any, bool) { return nil, true }

// Open returns the provider of that name; an error that wraps providers.NotFound if there is none.
func Open(name string, attributes map[string]any) (providers.Provider, error) {
	for _, v := range Vendors() {
		if v.Name == name {
			return v.Open(attributes)
		}
	}
	return nil, fmt.Errorf("provider %q: %w", name, providers.NotFound)
}

// Offline returns what the provider of that name has, without asking a vendor; an error that wraps providers.NotFound if there is none.
func Offline(ctx context.Context, name string, attributes map[string]any) (Offer, error) {
	for _, v := range Vendors() {
		switch {
		case v.Name != name:
			continue
		case v.Offline != nil:
			return v.Offline(attributes)
		}
		p, err := v.Open(attributes)
		if err != nil {
			return Offer{}, err
		}
		types, err := p.Machines().Types(ctx)
		o := Offer{Caps: p.Caps(), Types: []string{}}
		for _, t := range types {
			o.Types = append(o.Types, t.Name)
		}
		return o, err
	}
	return Offer{}, fmt.Errorf("provider %q: %w", name, providers.NotFound)
}

// unasked is what a vendor of the cloud has by its block alone.
func unasked(caps func(map[string]any) (providers.Caps, error)) func(map[string]any) (Offer, error) {
	return func(attributes map[string]any) (Offer, error) {
		c, err := caps(attributes)
		return Offer{Caps: c, Unplaced: attributes["region"] == nil && attributes["location"] == nil}, err
	}
}

// opener is how a vendor of the cloud is opened.
func opener[P providers.Provider](open func(map[string]any) (P, error)) func(map[string]any) (providers.Provider, error) {
	return func(attributes map[string]any) (providers.Provider, error) {
		p, err := open(attributes)
		if err != nil {
			return nil, err
		}
		return patient(p), nil
	}
}

// openLocal knows the attribute folder, where machines are kept, and instead of it door, the socket in one of those machines
// (local.DoorSocket) behind which the host is.
func openLocal(attributes map[string]any) (providers.Provider, error) {
	if err := providers.KnownAttributes("local", attributes, "folder", "door"); err != nil {
		return nil, err
	}
	door, err := providers.TextAttribute("local", attributes, "door")
	if err != nil {
		return nil, err
	}
	if door != "" {
		return openDoor(door)
	}
	folder, err := providers.TextAttribute("local", attributes, "folder")
	if err != nil {
		return nil, err
	}
	return patient(local.New(local.Options{Folder: folder, Doors: true})), nil
}

// openFake knows the attributes path, the file that the objects are in, and options, how the vendor behaves, as JSON.
func openFake(attributes map[string]any) (providers.Provider, error) {
	if err := providers.KnownAttributes("fake", attributes, "path", "options"); err != nil {
		return nil, err
	}
	path, err := providers.TextAttribute("fake", attributes, "path")
	if err != nil {
		return nil, err
	}
	options, err := providers.TextAttribute("fake", attributes, "options")
	if err != nil {
		return nil, err
	}
	var o fake.Options
	if options != "" {
		if o, err = fake.Parse([]byte(options)); err != nil {
			return nil, err
		}
	}
	if path == "" {
		return patient(fake.New(o)), nil
	}
	f, err := fake.Open(path, o)
	if err != nil {
		return nil, err
	}
	return patient(f), nil
}

// patient keeps to the vendor's documented limits, gives each single call a deadline, and tries again what the vendor says
// may be tried again. The wait for a turn is not part of a call: the last of 2,000 machines waits for a quarter of an hour.
func patient(p providers.Provider, more ...limit.Rate) providers.Provider {
	rates := append(limit.For(p.Name()), more...)
	return retry.Wrap(limit.Wrap(providers.Wrap(p, deadline), limit.Options{Rates: rates}), retry.Options{})
}

// Deadlines of one call of a vendor.
const (
	readTime   = 2 * time.Minute
	changeTime = 20 * time.Minute
)

// deadline ends a call that takes longer than any should.
func deadline(ctx context.Context, c *providers.Call, next func(context.Context) error) error {
	limit := changeTime
	if c.Verb.Reads() {
		limit = readTime
	}
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := next(within)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%s: %w: no answer within %v", c, providers.Unavailable, limit)
	}
	return err
}
